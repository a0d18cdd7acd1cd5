"""Residue that no record leads to: what stores with that ability find by themselves.

An upload that died is cleared up by its record (``upload.Uploads.sweep``). What
is left is that of records lost or restored from a backup.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

from imsgate import errors
from imsgate.model import UNFINISHED
from imsgate.registry.base import Registry
from imsgate.stores.base import Sweeps, Swept
from imsgate.stores.loader import Backend

LOG = logging.getLogger(__name__)

#: Seconds after which an attempt without a record is residue even if another
#: installation, with records of its own, should use the same place.
AGE = 24 * 3600.0


def living(registry: Registry) -> Callable[[str], bool]:
    """Whether the record of its image, or a job of it, still knows the attempt of a key.

    An attempt is recorded before its store hears of it, and is forgotten only
    when its data is committed or discarded. A job discards its own by itself.
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


def sweep(
    registry: Registry, backends: Iterable[Backend], age: float = AGE
) -> Iterator[tuple[str, Swept | errors.Error]]:
    """Sweep each of these stores that can; its id with what was removed, or what prevented it."""
    for backend in backends:
        try:
            store = backend.store
            if isinstance(store, Sweeps):
                yield backend.id, store.sweep(age, living(registry))
        except errors.Error as error:
            yield backend.id, error


def sweep_quietly(registry: Registry, backends: Iterable[Backend]) -> None:
    """``sweep`` at the start of a process: what it does and meets goes to the log."""
    try:
        for store_id, outcome in sweep(registry, backends):
            if isinstance(outcome, errors.Error):
                LOG.warning("Store %s was not swept: %s", store_id, outcome)
            elif outcome.attempts:
                LOG.info("Store %s: removed what %d uploads left", store_id, outcome.attempts)
    except Exception:
        LOG.exception("The stores were not swept; 'imsgate stores sweep' tries again")
