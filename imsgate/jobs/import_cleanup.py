"""Removing what the attempts at an import job have written.

Each attempt writes under one key, ``IMAGE.JOB+EPOCH`` in hexadecimal, in every store. So a worker
that takes a job over knows what earlier attempts may have left. Discarding their keys also ends
what a stale worker may still be writing.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from imsgate import errors
from imsgate.jobs.arguments import HANDED_BACK, ImportArguments
from imsgate.jobs.context import Context, Interrupted
from imsgate.jobs.methods import METHODS
from imsgate.jobs.progress import with_failure, with_progress
from imsgate.model import Image, Job, Location, Status
from imsgate.stores.enabled import Stores
from imsgate.transfer.cleanup import delete_object

LOG = logging.getLogger(__name__)

#: Attempts after which a job no longer waits for a store to clear it. Until then its image stays
#: ``importing``; the default lease makes that ten minutes.
_MAX_RETRIES = 10

#: The fields of a record that describe its data.
DATA_FIELDS = ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
_NO_DATA: dict[str, Any] = {**dict.fromkeys(DATA_FIELDS), "locations": ()}


class ImportCleanup:
    """Removes the data of one job's attempts, which are numbered by epoch."""

    def __init__(
        self, stores: Stores, job: Job, context: Context, *, says_why: bool = True
    ) -> None:
        """``says_why`` is whether the image gets a message when the job fails."""
        self._says_why = says_why
        self._stores = stores
        self._job = job
        self._context = context

    @property
    def key(self) -> str:
        """The key of the running attempt."""
        return self._key(self._job.epoch)

    def _key(self, epoch: int) -> str:
        return f"{self._job.image_id}.{self._job.id[:8]}{epoch:04x}"

    def clear_earlier_attempts(self, store_ids: Sequence[str]) -> None:
        """Raises Interrupted if that is impossible now."""
        with self._interrupting():
            self._discard(range(1, self._job.epoch), store_ids)

    def clear_this_attempt(self, store_id: str) -> bool:
        """Return whether a store that failed holds nothing of this attempt any more."""
        try:
            self._discard([self._job.epoch], [store_id])
        except errors.StoreUnavailable as error:
            LOG.warning(
                "Job %s continues until store %s is clear: %s", self._job.id, store_id, error
            )
            return False
        return True

    def abandon(self, store_ids: Sequence[str]) -> None:
        """Remove the data of this attempt before another worker continues.

        That worker has done so too if it has begun; but a store may not be able to refuse a
        commit that was on its way at that moment.
        """
        for store_id in store_ids:
            try:
                self._discard([self._job.epoch], [store_id])
            except Exception as error:
                # The next worker looks there again, unless it has begun already.
                LOG.warning("Job %s may have left something: %s", self._job.id, error)

    def finish(self, settled: ImportArguments) -> None:
        """Remove the data that an image does not need after its import; then end the job.

        Raises Interrupted if that is impossible now.
        """
        with self._interrupting():
            self._delete(settled.surplus)
            self._discard(range(1, self._job.epoch + 1), settled.left_out)
            self._context.succeed()

    def undo(self, arguments: ImportArguments, error: errors.Error) -> None:
        """Fail the job: no store holds anything of it, and the image has the status that its
        import method names for a failure. Raises Interrupted if that is impossible now."""

        def changes(image: Image) -> dict[str, Any]:
            failed = arguments.store_ids
            if image.status != Status.IMPORTING:
                return {"properties": with_progress(image, failed=failed), "upload_reserved": 0}
            return {
                "properties": with_failure(
                    image, failed=failed, error=error, says_why=self._says_why
                ),
                "upload_reserved": 0,
                **_NO_DATA,
                "status": METHODS[arguments.method["name"]].failed,
            }

        with self._interrupting():
            self._discard(range(1, self._job.epoch + 1), arguments.store_ids)
            try:
                image = self._context.image()
                if image.status == Status.IMPORTING:
                    self._delete(image.locations)
                self._context.fail(error, changes)
            except errors.Cancelled as cancelled:
                self._context.fail(cancelled)

    @contextlib.contextmanager
    def _interrupting(self) -> Iterator[None]:
        """What cannot be removed now is removed by the worker that takes the job over."""
        try:
            yield
        except Interrupted:
            raise
        except errors.Error as error:
            raise Interrupted(str(error)) from error
        except Exception as error:
            LOG.exception("Job %s could not be cleaned up", self._job.id)
            raise Interrupted("it could not be cleaned up") from error

    def _discard(self, epochs: Iterable[int], store_ids: Sequence[str]) -> None:
        """Remove whatever these attempts have written in these stores.

        A store that denies it would deny it again and again, so the job does not wait for it;
        nor, after ``_MAX_RETRIES`` attempts, for one that is unavailable. Then an error is logged,
        and the sweep of the stores removes what is left.
        """
        for epoch in epochs:
            for store_id in store_ids:
                key = self._key(epoch)
                with self._waiting_only_so_long(f"{key} in store {store_id}"):
                    store = self._stores.get(store_id)
                    if not store.read_only:
                        store.discard(key)

    def _delete(self, locations: Iterable[Location]) -> None:
        """Remove these objects, within the limits of :meth:`_discard`."""
        for location in locations:
            with self._waiting_only_so_long(location.url):
                delete_object(self._stores, location)

    @contextlib.contextmanager
    def _waiting_only_so_long(self, place: str) -> Iterator[None]:
        """Raises StoreUnavailable only while the job waits for the store."""
        try:
            yield
        except errors.StoreUnavailable as error:
            denied = isinstance(error, errors.StoreDenied)
            if not denied and self._job.arguments.get(HANDED_BACK, 0) < _MAX_RETRIES:
                raise
            LOG.error("Job %s may have left data at %s: %s", self._job.id, place, error)
