"""Removes what abandoned uploads left, the data of deleted images, and single copies.

Any process that finds an expired lease cleans up. If several find it at the same time, a
compare-and-set on the lease decides which of them does.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

from imsgate import errors, metrics
from imsgate.model import READABLE, Image, Location, Status
from imsgate.registry.base import Registry
from imsgate.stores.enabled import Stores
from imsgate.transfer import lease, residue
from imsgate.transfer.upload import NO_UPLOAD, STAGE, UPLOAD

LOG = logging.getLogger(__name__)

#: The statuses of an image while an upload is running.
_UPLOADING = frozenset({UPLOAD.during, STAGE.during})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """Removes image data. ``lease`` is the number of seconds until another process may try."""

    registry: Registry
    stores: Stores
    lease: float

    def sweep(self) -> int:
        """Clean up after uploads that were abandoned or left residue, and after deletions; return
        their number."""
        count = 0
        for image in self.registry.expired(time.time()):
            try:
                self._clean_up(image)
                count += 1
            except errors.Error as error:
                LOG.warning("Image %s could not be cleaned up yet: %s", image.id, error)
            except Exception:
                # An image that fails every time must not keep the next ones waiting.
                LOG.exception("Image %s could not be cleaned up", image.id)
        return count + residue.sweep(self.registry, self.stores, self.lease)

    def _clean_up(self, image: Image) -> None:
        if image.upload_key and image.upload_store:
            if image.status in READABLE:
                self._resume_removal(image)
                return
            self._end_upload(image, image.upload_store, image.upload_key)
        if image.status == Status.PENDING_DELETE:
            # Many others may have been cleaned up since the record was read. Its data may have
            # gone by now, and another object may be in the same place.
            current = self.registry.recall(image.id)
            if current.status == Status.PENDING_DELETE:
                self.erase(current)

    def _end_upload(self, image: Image, store_id: str, key: str) -> None:
        """Discard the data of an upload whose lease has run out.

        "killed" fences the attempt off first. If it were still alive, its commit would
        otherwise make the record refer to data that is gone.
        """
        status = Status.KILLED if image.status in _UPLOADING else image.status
        self._take_over(image, status)
        if not residue.discard(self.registry, lambda: self.stores.get(store_id), store_id, key):
            return
        to = {"status": Status.QUEUED} if status == Status.KILLED else {}
        self.registry.change(image.id, {"status": status, "upload_key": key}, **to, **NO_UPLOAD)
        LOG.info("Image %s: an abandoned upload was cleaned up", image.id)

    def _resume_removal(self, image: Image) -> None:
        """Remove the copy whose removal a dead process has begun."""
        image = self._take_over(image, image.status)
        for copy in image.removed:
            self._delete(copy)
        self._forget_copy(image)

    def _take_over(self, image: Image, status: Status) -> Image:
        """Begin a lease on a record whose lease has run out. Raises Conflict when another
        process was faster."""
        taken = self.registry.change(
            image.id,
            {"status": image.status, "upload_expires": image.upload_expires},
            status=status,
            upload_expires=time.time() + self.lease,
        )
        metrics.LEASES_TAKEN_OVER.add("image")
        return taken

    def erase(self, image: Image) -> None:
        """Remove the data of an image in ``pending_delete`` and mark it ``deleted``.

        Raises StoreUnavailable; the image then stays for the next sweep.
        """
        for location in image.locations:
            self._delete(location)
        self.registry.change(
            image.id, {"status": Status.PENDING_DELETE}, status=Status.DELETED, locations=()
        )

    def remove_copy(self, image: Image, copy: Location) -> None:
        """Remove one of the copies of an active image.

        The record names the copy, with a lease, until it has gone: if this process dies, the
        sweep removes it. Raises Conflict when the record has changed since it was read or
        another copy is being removed, and whatever the store raises; the copy then stays.
        """
        image = self.registry.change(
            image.id,
            {"status": image.status, "updated_at": image.updated_at, "upload_key": None},
            upload_store=copy.store,
            upload_key=copy.place,
            upload_expires=time.time() + self.lease,
        )
        try:
            self._delete(copy)
        except BaseException as error:
            # If the image was deleted or a sweep has taken over, the copy goes after all.
            try:
                self.registry.change(image.id, _as_leased(image), **NO_UPLOAD)
            except errors.Unavailable:
                lease.retry_after_sweep(error, self.lease)
            except errors.Error:
                pass
            raise
        self._forget_copy(image)

    def _delete(self, location: Location) -> None:
        """Remove an object, which may be gone already."""
        delete_object(self.stores, location)

    def _forget_copy(self, image: Image) -> None:
        """Remove a copy from the record after it was removed from its store."""
        self.registry.change(image.id, _as_leased(image), locations=image.copies, **NO_UPLOAD)


def _as_leased(image: Image) -> dict[str, Any]:
    """What the holder of an image's lease compares the record with."""
    return {name: getattr(image, name) for name in ("status", "upload_key", "upload_expires")}


def delete_object(stores: Stores, location: Location) -> None:
    """Remove an object, which may be gone already. An object in a read-only store stays.

    Raises StoreUnavailable.
    """
    store = stores.get(location.store)
    if store.read_only:
        LOG.info("An object stays in the read-only store %s: %s", location.store, location.url)
        return
    with contextlib.suppress(errors.ObjectNotFound):
        store.delete(location.url)


def sweep_forever(sweep: Callable[[], object], seconds: float) -> None:
    """Sweep now, and again every ``seconds``. Runs on a daemon thread."""
    while True:
        try:
            sweep()
        except errors.Unavailable as error:
            LOG.warning("The sweep waits: %s", error)
        except Exception:
            LOG.exception("The sweep failed; it will be tried again")
        time.sleep(seconds)
