"""Uploads: the steps of one attempt, from ``queued`` to ``active`` or back.

Each step is a compare-and-set on the record: ``queued -> saving`` before the first byte is
read, ``saving -> active`` after the store has committed. A running attempt renews a lease. If
its process dies, ``imsgate.transfer.cleanup`` cleans up once the lease has run out.
"""

import contextlib
import dataclasses
import functools
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from imsgate import errors, metrics
from imsgate.http.body import Tapped
from imsgate.model import DELETED, Image, Limits, Status
from imsgate.quotas import quota
from imsgate.registry.base import Registry
from imsgate.stores.base import Sink, Store
from imsgate.transfer import lease, residue
from imsgate.transfer.copy import write
from imsgate.transfer.reservation import INITIAL_BYTES, ReservationTap
from imsgate.transfer.settings import UploadSettings

LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: The fields of a record without a running upload.
NO_UPLOAD: dict[str, Any] = {
    "upload_store": None,
    "upload_key": None,
    "upload_expires": None,
    "upload_reserved": 0,
    "upload_received": 0,
    "upload_started": None,
}

#: The longest time between two renewals of a lease. An upload to an image that was deleted
#: continues for up to this long.
RENEWAL_SECONDS = 5.0

#: The fields by which data is judged while it comes in. Nobody may change them after a request
#: has read them: the record would describe the data in a way that nothing has checked.
_JUDGED_BY = ("disk_format", "container_format", "properties", "owner")


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """The status of an image while its data comes in, and after that."""

    during: Status
    after: Status


UPLOAD = Transition(Status.SAVING, Status.ACTIVE)
#: Staged data stays in ``locations`` until it is imported.
STAGE = Transition(Status.UPLOADING, Status.UPLOADING)
#: The import of the staged data begins in the step that ends the upload.
UPLOAD_AND_IMPORT = Transition(Status.UPLOADING, Status.IMPORTING)

#: Sets fields of an image as ``Registry.change``: ``(was, to)``.
Recording = Callable[[Mapping[str, Any], Mapping[str, Any]], object]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Receives image data."""

    registry: Registry
    settings: UploadSettings
    quotas: quota.Quotas = quota.NONE

    def receive(
        self,
        image: Image,
        body: Tapped,
        *,
        store: Store,
        size: int | None,
        content_fields: Callable[[], Mapping[str, Any]] = dict,
        reauthorize: Callable[[], object] = lambda: None,
        transition: Transition = UPLOAD,
        record: Recording | None = None,
    ) -> Image:
        """Store the data of a queued image and return its record, which is in the status
        ``transition.after`` then.

        Nothing of ``body`` may have been read; ``size`` is the announced number of bytes, or
        None. ``content_fields`` is called after the last byte and returns further fields of the
        record. ``reauthorize`` is called after the last byte, before the store commits, and
        raises if the request would be refused now, for example with Forbidden. ``record`` makes the
        last change of the record, by default ``Registry.change``; it may start a job in that step.

        Raises WrongStatus when the image is not queued or another upload began, Conflict when
        a field that the data is judged by has changed, SizeMismatch, Gone when the image was
        deleted meanwhile, LeaseLost when another process considered the upload dead, OverLimit
        (before anything is read if ``size`` is known), and whatever reading and storing raise.
        After any error the image is ``queued`` again, or gone, and the store holds nothing of this
        attempt. What a store that cannot be reached keeps is discarded later
        (``imsgate.transfer.residue``), and the image is free at once. Only if the registry cannot
        be reached does the image wait for the sweep, which frees it after the lease has run out;
        the Retry-After of the error then says so.
        """
        with metrics.UPLOADS.ending("stage" if transition is STAGE else "upload"):
            return self._receive(
                image, body, store, size, content_fields, reauthorize, transition, record
            )

    def _receive(
        self,
        image: Image,
        body: Tapped,
        store: Store,
        size: int | None,
        content_fields: Callable[[], Mapping[str, Any]],
        reauthorize: Callable[[], object],
        transition: Transition,
        record: Recording | None,
    ) -> Image:
        limits = self.quotas.of(image.owner)
        image = self._begin(image, store, transition, size, limits)
        attempt = _Attempt(self, image, store, transition, limits, body, record)
        body.join(ReservationTap(size, attempt.reserve))
        with attempt.lease:
            sink = attempt.create_object(size)
            try:
                fields = write(
                    store,
                    sink,
                    body,
                    size=size,
                    algorithms=self.settings.algorithms,
                    check=attempt.check,
                    complete=lambda _: attempt.complete(content_fields, reauthorize),
                )
            except BaseException as error:
                attempt.undo(error)
                raise
            return attempt.finish(fields)

    def _begin(
        self,
        image: Image,
        store: Store,
        transition: Transition,
        size: int | None,
        limits: Limits | None,
    ) -> Image:
        try:
            return self.registry.change(
                image.id,
                {"status": Status.QUEUED, "updated_at": image.updated_at},
                limits,
                status=transition.during,
                upload_store=store.name,
                upload_key=f"{image.id}.{secrets.token_hex(4)}",
                upload_expires=time.time() + self.settings.lease,
                upload_reserved=INITIAL_BYTES if size is None else size,
                upload_started=time.time(),
            )
        except errors.Unavailable as error:
            # It may have been written, and the response was lost.
            lease.retry_after_sweep(error, self.settings.lease)
            raise
        except errors.Conflict:
            current = self.registry.get(image.id)
            current.require(Status.QUEUED)
            judged_alike = all(getattr(current, f) == getattr(image, f) for f in _JUDGED_BY)
            if current.updated_at == image.updated_at or not judged_alike:
                raise
        return self._begin(current, store, transition, size, limits)


class _Attempt:
    """An attempt that has begun: the record contains its key, and its lease must be renewed."""

    def __init__(
        self,
        uploads: Uploads,
        image: Image,
        store: Store,
        transition: Transition,
        limits: Limits | None,
        body: Tapped,
        record: Recording | None,
    ) -> None:
        self._registry = uploads.registry
        self._record = record
        self._lease_seconds = uploads.settings.lease
        self._image = image
        self._store = store
        self._transition = transition
        self._limits = limits
        self._body = body
        self._unchanged = {"status": image.status, "upload_key": image.upload_key}
        self.lease = lease.Lease(
            f"image {image.id}",
            self._renew,
            interval=min(RENEWAL_SECONDS, self._lease_seconds / 3),
            refusals=(errors.Conflict, errors.NotFound),
        )

    def _renew(self) -> None:
        """Renew the lease; the progress is recorded in the same step, for other clients."""
        self._registry.change(
            self._image.id,
            self._unchanged,
            upload_expires=time.time() + self._lease_seconds,
            upload_received=self._body.received,
        )

    def check(self) -> None:
        """Raises LeaseLost after another process has ended this attempt."""
        self.lease.keep()
        if self.lease.lost:
            raise errors.LeaseLost(image_id=self._image.id)

    def retry_while_unavailable(self, step: Callable[[], T]) -> T:
        """Repeat ``step`` during an outage, since all data would have to be sent again, but not
        for longer than the lease: after that, others may have ended the upload."""
        return lease.retry_while_unavailable(
            step,
            subject=f"The upload of image {self._image.id}",
            pauses=lease.RETRY_PAUSES_SECONDS,
            wait=self.lease.wait,
            seconds=self._lease_seconds,
        )

    def reserve(self, total: int) -> None:
        """Reserve ``total`` bytes of the owner's quota. Raises OverLimit, Conflict.

        Without limits nothing is recorded before the data has arrived.
        """
        if self._limits is not None:
            self.retry_while_unavailable(functools.partial(self._reserve, total))

    def _reserve(self, total: int) -> None:
        self._registry.change(self._image.id, self._unchanged, self._limits, upload_reserved=total)

    def create_object(self, size: int | None) -> Sink:
        """The sink. If the store is down and nothing has begun, the image is released."""
        try:
            return self._store.create(str(self._image.upload_key), size)
        except BaseException as error:
            self._explain(error, self._release(error))
            raise

    def complete(
        self, content_fields: Callable[[], Mapping[str, Any]], reauthorize: Callable[[], object]
    ) -> Mapping[str, Any]:
        """The checks between the last byte and the commit; returns ``content_fields()``."""
        fields = content_fields()
        self.check()
        self.retry_while_unavailable(reauthorize)
        return fields

    def undo(self, error: BaseException) -> None:
        """Leave nothing behind after ``error``. Raises Gone if the image was deleted, and LeaseLost
        if another process considered the upload dead.

        Leaving the sink has aborted it. But a store that became unreachable may still hold
        parts, or even the object if its response to the commit was lost. That is no reason to
        keep the image from its user: nothing refers to the key any more.
        """
        store, key = self._store, str(self._image.upload_key)
        if residue.discard(self._registry, lambda: store, store.name, key):
            self._explain(error, self._release(error))
        else:
            self._leave_to_sweep(error)

    def finish(self, fields: Mapping[str, Any]) -> Image:
        """Make the stored object the image's data.

        Only a refusal proves that the record does not refer to the object. After any other
        failure, such as a lost connection, it may: the object then stays, and the sweep decides
        by the record after the lease has run out.
        """
        try:
            return self.retry_while_unavailable(lambda: self._activate(fields))
        except errors.Conflict as error:
            self.undo(error)
            raise
        except errors.Unavailable as error:
            lease.retry_after_sweep(error, self._lease_seconds)
            raise

    def _activate(self, fields: Mapping[str, Any]) -> Image:
        """Point the record at the object; may be repeated. Raises Conflict if the record does not
        refer to the object and never will."""
        to = {"status": self._transition.after, **fields, **NO_UPLOAD}
        try:
            if self._record is None:
                return self._registry.change(self._image.id, self._unchanged, **to)
            self._record(self._unchanged, to)
            return self._registry.get(self._image.id)
        except errors.Conflict:
            # The database may have done it before, and its response was lost.
            with contextlib.suppress(errors.NotFound):
                current = self._registry.get(self._image.id)
                if set(fields["locations"]) <= set(current.locations):  # or more: copies of it
                    return current
            raise

    def _release(self, error: BaseException) -> bool:
        """Return the record to ``queued``, or remove the attempt from a deleted record, if the
        attempt still owns it. Returns False if it does not. ``error`` is what the client will
        be told."""
        steps = ((self._image.status, Status.QUEUED), *((status, status) for status in DELETED))
        for was, to in steps:
            with contextlib.suppress(errors.Conflict):
                try:
                    self._registry.change(
                        self._image.id, {**self._unchanged, "status": was}, status=to, **NO_UPLOAD
                    )
                except errors.Unavailable:
                    self._leave_to_sweep(error)
                return True
        return False

    def _leave_to_sweep(self, error: BaseException) -> None:
        LOG.warning("Image %s stays as it is until its lease runs out", self._image.id)
        lease.retry_after_sweep(error, self._lease_seconds)

    def _explain(self, error: BaseException, owned: bool) -> None:
        """Raise the cause of ``error`` if it only shows that others have ended this attempt: a
        sweep that discards its data makes the store fail, too."""
        ended = errors.Conflict | errors.NotFound | errors.LeaseLost | errors.Unavailable
        if not isinstance(error, ended):
            return
        try:
            self._registry.get(self._image.id)
        except errors.NotFound:
            raise errors.Gone(image_id=self._image.id) from error
        except errors.Unavailable:
            return
        if not owned and not isinstance(error, errors.LeaseLost):
            raise errors.LeaseLost(image_id=self._image.id) from error
