"""Orphaned data: what stores hold of uploads that no record knows.

``imsgate.transfer.cleanup`` cleans up after an upload that died, by its record. This finds the
data of records that were lost or restored from a backup, in stores that can search themselves.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

from imsgate import errors
from imsgate.model import UNFINISHED
from imsgate.registry.base import Registry
from imsgate.stores.base import Sweeps, Swept
from imsgate.stores.loader import Backend

LOG = logging.getLogger(__name__)

#: Seconds until an attempt without a record counts as orphaned. That is long, because another
#: installation with records of its own might use the same place.
AGE = 24 * 3600.0


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


def sweep(
    registry: Registry, backends: Iterable[Backend], age: float = AGE
) -> Iterator[tuple[str, Swept | errors.Error]]:
    """Sweep each store that supports it of data older than ``age`` seconds.

    Yields the store's id with what was removed, or with the error that prevented it.
    """
    for backend in backends:
        try:
            store = backend.store
            if isinstance(store, Sweeps):
                yield backend.id, store.sweep(age, living(registry))
        except errors.Error as error:
            yield backend.id, error


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
