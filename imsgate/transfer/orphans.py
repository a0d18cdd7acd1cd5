"""Orphaned data: what stores contain of uploads to which no record refers.

``imsgate.transfer.cleanup`` starts from the record of an abandoned upload. This module starts from
the stores that can list their attempts. It finds data whose record was lost or restored from a
backup, and what a stale process wrote after the cleanup.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from imsgate import errors, metrics
from imsgate.model import UNFINISHED, Location
from imsgate.registry.base import Registry
from imsgate.stores.base import Sweeps, Swept
from imsgate.stores.enabled import Backend

LOG = logging.getLogger(__name__)

#: Seconds until an attempt at an image without a record counts as orphaned. That is long, because
#: another installation with records of its own might use the same place.
AGE = 24 * 3600.0

#: How many keys ``find`` returns.
_EXAMPLES = 5


def living(registry: Registry) -> Callable[[str], bool]:
    """A function from an attempt's key to whether a record or a running job refers to it.

    An attempt is recorded before its store receives anything, and is removed from the record
    only after its data was committed, discarded, or noted as residue, which may go at any time.
    A job discards its own attempts.
    """

    def lives(key: str) -> bool:
        image_id = key.partition(".")[0]
        if any(job.state in UNFINISHED for job in registry.jobs_of(image_id)):
            return True
        try:
            return registry.get(image_id).upload_key == key
        except errors.NotFound:
            return False

    return lives


def _known(registry: Registry, key: str) -> bool:
    """Whether the attempt belongs to this installation: its image has or had a record here."""
    try:
        registry.recall(key.partition(".")[0])
    except errors.NotFound:
        return False
    return True


def _is_referred_to(registry: Registry, store_id: str, key: str) -> bool:
    """Whether a record or a running job refers to this object."""
    place = Location(store_id, key)
    if registry.holds(place) or living(registry)(key):
        return True
    return registry.holds(place)  # again: an attempt that lived before may have ended


def _sweep_store(registry: Registry, store_id: str, store: Sweeps, age: float, full: bool) -> Swept:
    lives = living(registry)

    def lives_or_is_foreign(key: str) -> bool:
        return not _known(registry, key) or lives(key)

    def orphaned(key: str) -> bool:
        return _known(registry, key) and not _is_referred_to(registry, store_id, key)

    found = [store.sweep(0.0, lives_or_is_foreign), store.sweep(age, lives)]
    if full:
        found.append(store.sweep_objects(orphaned))
    attempts = sum(each.attempts for each in found)
    metrics.RESIDUE_REMOVED.add(store_id, amount=attempts)
    return Swept(attempts, sum(each.bytes for each in found))


def sweep(
    registry: Registry, backends: Iterable[Backend], age: float = AGE, *, full: bool = False
) -> Iterator[tuple[str, Swept | errors.Error]]:
    """Remove what dead attempts left in each store that can list them.

    Attempts at images that this registry does not know must be older than ``age`` seconds. With
    ``full``, all objects of each store are listed, and those of attempts at known images are
    removed if no record refers to them.

    Yields the store's id with what was removed, or with the error that prevented it.
    """
    for backend in backends:
        try:
            store = backend.store
            if isinstance(store, Sweeps):
                yield backend.id, _sweep_store(registry, backend.id, store, age, full)
        except errors.Error as error:
            yield backend.id, error


@dataclasses.dataclass(slots=True)
class Orphans:
    """Numbers of what no record refers to, with the keys of the first few objects.

    ``attempts`` are the unfinished ones that ``sweep`` removes, ``objects`` those that it removes
    with ``full``, and ``foreign`` the complete objects of unknown images, which it never removes.
    """

    attempts: int = 0
    objects: int = 0
    foreign: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    def add(self, kind: str, key: str) -> None:
        """Count an object, which is one of ``objects`` or ``foreign``."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(key)


def find(registry: Registry, backend: Backend, age: float = AGE) -> Orphans:
    """Count what ``sweep`` would remove from this store, and remove nothing.

    Raises StoreUnavailable, StoreDenied or Unavailable.
    """
    found, store = Orphans(), backend.store
    if not isinstance(store, Sweeps):
        return found
    dead = _dead_attempts(registry, store, age)
    if dead:  # again: an upload may have ended after it was listed
        found.attempts = len(dead & _dead_attempts(registry, store, age))

    def note(key: str) -> bool:
        # Its image may have been deleted after it was listed.
        if not _is_referred_to(registry, backend.id, key) and _is_there(store, key):
            found.add("objects" if _known(registry, key) else "foreign", key)
        return False

    store.sweep_objects(note)
    return found


def _dead_attempts(registry: Registry, store: Sweeps, age: float) -> set[str]:
    """The keys of the unfinished attempts that ``sweep`` would remove."""
    lives, dead = living(registry), set()

    def note_own(key: str) -> bool:
        if _known(registry, key) and not lives(key):
            dead.add(key)
        return True  # it stays

    def note_foreign(key: str) -> bool:
        if not _known(registry, key):
            dead.add(key)
        return True

    store.sweep(0.0, note_own)
    store.sweep(age, note_foreign)
    return dead


def _is_there(store: Any, key: str) -> bool:
    try:
        store.size(key)
    except errors.ObjectNotFound:
        return False
    return True


def sweep_quietly(registry: Registry, backends: Iterable[Backend]) -> None:
    """Sweep at the start of a process: results and failures go to the log."""
    try:
        for store_id, outcome in sweep(registry, backends):
            if isinstance(outcome, errors.Error):
                LOG.warning("Store %s was not swept: %s", store_id, outcome)
            elif outcome.attempts:
                LOG.info(
                    "Store %s: removed the data of %d orphaned uploads", store_id, outcome.attempts
                )
    except Exception:
        LOG.exception("The stores were not swept; 'imsgate stores sweep' tries again")
