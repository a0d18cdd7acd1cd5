"""Resumable uploads: an upload that is cut goes on, in any process, from the last stored byte.

The state is a row of the registry (``model.Upload``) and an attempt in a store that is
``Resumable``. Between two requests nothing else exists: no thread, no lease that is renewed. A
request takes the upload over by increasing its epoch, which ends a former request that may
still be running: the registry refuses its changes, and the store its writes.

The image is ``saving`` (or ``uploading``, if the data is staged) all the time, and names the
attempt as for any upload. Its ``upload_expires`` is the time until which the upload is kept;
then ``imsgate.transfer.cleanup`` removes the data and frees the image.
"""

import contextlib
import dataclasses
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from imsgate import errors, metrics, model
from imsgate.model import DELETED, Image, Status, Upload, UploadState
from imsgate.quotas import quota
from imsgate.registry.base import Registry
from imsgate.stores.base import Resumable, Store
from imsgate.stores.enabled import Stores
from imsgate.transfer import residue
from imsgate.transfer.examination import Examinations
from imsgate.transfer.reservation import INITIAL_BYTES
from imsgate.transfer.settings import UploadSettings
from imsgate.transfer.upload import NO_UPLOAD, STAGE, UPLOAD, Transition

LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Attempts to take an upload over while other requests do the same.
_TRIES = 10
#: How long a request that is still writing may go on before the next one takes over.
GRACE_SECONDS = 1.0
_PAUSE_SECONDS = 0.02


def transition(upload: Upload) -> Transition:
    """The status of the image during the upload and after it."""
    return STAGE if upload.staged else UPLOAD


def unchanged(upload: Upload) -> dict[str, Any]:
    """The fields of the image that every change of it compares."""
    return {"status": transition(upload).during, "upload_key": upload.key}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResumableUploads:
    """Begins, takes over and ends resumable uploads. ``limit`` returns the size in bytes of the
    largest image."""

    registry: Registry
    stores: Stores
    settings: UploadSettings
    limit: Callable[[], int]
    quotas: quota.Quotas = quota.NONE
    examinations: Examinations = dataclasses.field(default_factory=Examinations)

    def begin(
        self,
        image: Image,
        *,
        store: Store,
        user: str | None,
        project: str | None,
        staged: bool = False,
        length: int | None = None,
        digest: str | None = None,
        metadata: str | None = None,
    ) -> Upload:
        """Begin an upload of ``length`` bytes, or of unknown length, to a queued image.

        ``digest`` is the Repr-Digest that the complete data must have, ``metadata`` the
        Upload-Metadata that a tus client gets back. If ``store`` cannot suspend an attempt, another
        store keeps the data until it is complete. Raises WrongStatus if the image is not queued,
        NotResumable, TooLarge, OverLimit and Unavailable.
        """
        spool = store if isinstance(store, Resumable) else self._spool(store)
        if length is not None and length > (limit := self.limit()):
            raise errors.TooLarge(limit=limit)
        image.require(Status.QUEUED)
        now = model.now()
        upload = Upload(
            id=str(uuid.uuid4()),
            image_id=image.id,
            user=user,
            project=project,
            staged=staged,
            store=spool.name,
            target=None if spool is store else store.name,
            key=f"{image.id}.{secrets.token_hex(4)}",
            planned_size=length,
            length=length,
            digest=digest,
            metadata=metadata,
            expires=self.expiry(),
            created_at=now,
            updated_at=now,
        )
        self.registry.add_upload(
            upload,
            {"status": image.status, "updated_at": image.updated_at},
            self.quotas.of(image.owner),
            status=transition(upload).during,
            upload_store=upload.store,
            upload_key=upload.key,
            upload_expires=upload.expires,
            upload_reserved=INITIAL_BYTES if length is None else length,
            upload_started=now.timestamp(),
        )
        return upload

    def _spool(self, store: Store) -> Store:
        """The store that keeps an upload until ``store`` can take all of it. Raises
        NotResumable."""
        named = self.settings.spool_store
        for store_id in [named] if named else [self.stores.default, *self.stores.targets()]:
            with contextlib.suppress(errors.StoreUnavailable):
                spool = self.stores.target(store_id)
                if isinstance(spool, Resumable):
                    return spool
        raise errors.NotResumable(store=store.name)

    def expiry(self) -> float:
        """The time until which an upload is kept after a request that uses it now."""
        return time.time() + self.settings.keep_partial

    def store(self, upload: Upload) -> Resumable:
        """Where the upload's data is. Raises StoreUnavailable."""
        return cast(Resumable, self.stores.get(upload.store))

    def settled(self, upload: Upload) -> Upload:
        """The upload at an offset that the next request may rely on.

        If a former request may still be writing, or died, this ends it and asks the store how
        much is durable. Raises UploadEnded and CompletedUpload, and what the store raises.
        """
        upload = self._after_grace(upload)

        def settle(current: Upload) -> Upload:
            if not current.writing:
                return current
            taken = self._taken_over(current)
            metrics.LEASES_TAKEN_OVER.add("resumable_upload")
            return self._record_durable(taken)

        return self.retried(upload, settle)

    def _after_grace(self, upload: Upload) -> Upload:
        """The upload once no request writes any more, or after a while.

        The client of a request that was cut may be faster than its server: data that has
        arrived, but was not read, would be lost and had to be sent again.
        """
        deadline = time.monotonic() + GRACE_SECONDS
        while upload.writing and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
            upload = self.registry.get_upload(upload.id)
        return upload

    def _take_over(self, upload: Upload) -> Upload:
        return self.retried(upload, self._taken_over)

    def _taken_over(self, upload: Upload, **fields: Any) -> Upload:
        """Raises Conflict if another request was faster."""
        epoch = upload.epoch
        return self.registry.change_upload(upload.id, epoch, {"epoch": epoch + 1, **fields})

    def retried(self, upload: Upload, step: Callable[[Upload], T]) -> T:
        """Return what ``step`` returns for the upload; call it again with the current record if
        another request was faster.

        Raises UploadEnded and CompletedUpload, and Conflict if others keep being faster.
        """
        for _ in range(_TRIES):
            self.check_open(upload)
            with contextlib.suppress(errors.Conflict):
                return step(upload)
            upload = self.registry.get_upload(upload.id)
        raise errors.Conflict(problem="Other requests use this upload at the same time")

    def check_open(self, upload: Upload) -> None:
        """Raises CompletedUpload if the upload has all its data, and UploadEnded if it has ended.

        An upload ends without its row being changed when it expires or its image is deleted.
        """
        if upload.state in (UploadState.COMPLETE, UploadState.FINISHING):
            raise errors.CompletedUpload
        if upload.state is UploadState.ENDED:
            raise errors.UploadEnded(why=upload.reason)
        try:
            image = self.registry.get(upload.image_id)
        except errors.NotFound:
            raise errors.UploadEnded(why="the image was deleted") from None
        if image.upload_key != upload.key or upload.expires < time.time():
            current = self.registry.get_upload(upload.id)
            if current.state is not upload.state:  # it was completed after it had been read
                self.check_open(current)
            raise errors.UploadEnded(why="it has expired")

    def _record_durable(self, upload: Upload) -> Upload:
        """Ask the store; record its answer. Raises UploadEnded if data has been lost."""
        durable = self._durable(upload)
        if durable < upload.offset:
            self.end(upload, "its data was lost")
            raise errors.UploadEnded(why="its data was lost")
        return self.registry.change_upload(
            upload.id, upload.epoch, {"offset": durable, "writing": False}
        )

    def _durable(self, upload: Upload) -> int:
        try:
            return self.store(upload).durable(upload.key, upload.planned_size, upload.epoch)
        except errors.ObjectNotFound:
            return 0  # its first request died before the store had received anything

    def cancel(self, upload: Upload, why: str) -> None:
        """End the upload and remove its data. Does nothing if it has ended or is complete."""
        with contextlib.suppress(errors.UploadEnded, errors.CompletedUpload):
            self.end(self._take_over(upload), why)

    def cancel_of(self, image: Image, why: str) -> None:
        """End the upload of an image, if there is one, and remove its data."""
        upload = self.registry.upload_of(image.id)
        if upload is not None and upload.state is UploadState.OPEN:
            taken = self.registry.change_upload(
                upload.id, upload.epoch, {"epoch": upload.epoch + 1}
            )
            self.end(taken, why)

    def end(self, upload: Upload, why: str) -> None:
        """End an upload that this request has taken over: its data is removed, its image is queued
        again, and ``why`` is the reason that later requests get.

        Does nothing if another request has taken it over. If this process dies meanwhile, the
        sweep does the rest.
        """
        ended = {"state": UploadState.ENDED, "reason": why, "writing": False}
        try:
            self.registry.change_upload(upload.id, upload.epoch, ended)
        except errors.Conflict:
            return
        self.release(upload)

    def verifying(self, upload: Upload, job_id: str) -> Upload:
        """Record that a job verifies the data now that it is complete; return the upload.

        The job calls this as well, because it may be faster than the request that started it. This
        ends any request that has taken the upload over since. Does nothing if the upload is over.
        """
        fields = {"state": UploadState.FINISHING, "job_id": job_id, "writing": False}
        upload = self.registry.get_upload(upload.id)
        while upload.state is UploadState.OPEN:
            with contextlib.suppress(errors.Conflict):
                return self._taken_over(upload, **fields)
            upload = self.registry.get_upload(upload.id)
        return upload

    def close(self, upload: Upload, state: UploadState, why: str | None = None) -> None:
        """Record that a job has verified the data, or that it refused the data, and ``why``."""
        fields = {"state": state, "reason": why, "expires": self.expiry()}
        with contextlib.suppress(errors.Conflict):  # this was recorded before
            self.registry.change_upload(upload.id, upload.epoch, fields)

    def discard(self, upload: Upload) -> bool:
        """Remove what the upload wrote, now or later; False if neither is possible now."""

        def store() -> Store:
            return self.stores.get(upload.store)

        return residue.discard(self.registry, store, upload.store, upload.key)

    def discard_if_ended(self, upload: Upload) -> None:
        """Remove what a request has written if others have ended the upload meanwhile.

        They removed its data, perhaps before this request wrote the first byte. Never raises.
        """
        with contextlib.suppress(errors.Error):
            current = self.registry.get_upload(upload.id)
            if current.state is UploadState.ENDED and current.epoch == upload.epoch:
                return  # this request has ended it
            try:
                self.check_open(current)
            except errors.UploadEnded:
                self.discard(upload)

    def release(self, upload: Upload) -> None:
        """Remove the data of an upload that has ended, and free its image."""
        discarded = self.discard(upload)
        to: Mapping[str, Any] = NO_UPLOAD if discarded else {"upload_expires": time.time()}
        steps = ((transition(upload).during, Status.QUEUED), *((s, s) for s in DELETED))
        for was, status in steps:
            with contextlib.suppress(errors.Conflict):
                self.registry.change(
                    upload.image_id,
                    {"status": was, "upload_key": upload.key},
                    status=status if discarded else was,
                    **to,
                )
                return

    def forget(self) -> int:
        """Remove the records of uploads that ended long ago; return their number."""
        return self.registry.forget_uploads(time.time() - self.settings.keep_partial)
