"""What one request of a resumable upload writes, and how that ends."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from imsgate import errors, metrics
from imsgate.http import upload_headers
from imsgate.http.body import Tapped
from imsgate.model import Image, Limits, Location, Upload, UploadState
from imsgate.stores.base import ResumableSink
from imsgate.transfer import lease
from imsgate.transfer.copy import copy
from imsgate.transfer.digests import Digests
from imsgate.transfer.examination import Examination
from imsgate.transfer.part import Appended, DigestTap, LengthTap, Part
from imsgate.transfer.reservation import ReservationTap
from imsgate.transfer.resumable import ResumableUploads, transition, unchanged
from imsgate.transfer.upload import NO_UPLOAD, RENEWAL_SECONDS

T = TypeVar("T")

#: The client is gone, or too slow. Everything that has arrived was examined and stored.
_CUT = (errors.BodyCut, errors.TooSlow)
#: The content did not arrive as the client sent it: nothing of it is kept.
_DAMAGED = (errors.ContentDigestMismatch, errors.BadCoding)
#: Failures after which the client may continue from the bytes that have arrived. Any other failure
#: refuses the data and ends the upload.
_PASSING = (
    *_CUT,
    errors.OverLimit,
    errors.StoreFull,
    errors.StoreDenied,
    errors.Unavailable,
    *_DAMAGED,
    errors.InconsistentLength,
    errors.UploadTakenOver,
    errors.Gone,
)


class PartWriter:
    """A request that has taken the upload over with a new epoch, and appends its content."""

    def __init__(
        self, uploads: ResumableUploads, upload: Upload, part: Part, warm: Examination | None
    ) -> None:
        self._uploads = uploads
        self._registry = uploads.registry
        self._upload = upload
        self._part = part
        self._image = self._registry.get(upload.image_id)
        self._examination = warm
        self._content = Digests(tuple(part.content_digests))
        self._unchanged = unchanged(upload)
        #: Bytes of the whole that have been stored, durably or not.
        self._received = upload.offset
        self._lease = lease.Lease(
            f"upload {upload.id}",
            self._renew,
            interval=RENEWAL_SECONDS,
            refusals=(errors.Conflict, errors.NotFound),
        )

    def _begin_examination(self) -> Examination:
        expected = upload_headers.digests(self._upload.digest)
        algorithms = dict.fromkeys((*self._uploads.settings.algorithms.names(), *expected))
        return self._part.examine(Digests(tuple(algorithms)))

    def receive(self, body: Tapped) -> Appended:
        """See ``imsgate.transfer.append.append``."""
        body.mark_as_part()
        with metrics.UPLOADS.ending("part"), self._lease:
            try:
                if self._upload.offset == 0:
                    self._examination = self._begin_examination()
                self._tap(body)
                sink = self._open()
            except errors.Error as error:
                self._let_go(error, self._upload.offset)
                raise
            try:
                return self._write(body, sink)
            except BaseException:
                self._uploads.discard_if_ended(self._upload)
                raise

    def _write(self, body: Tapped, sink: ResumableSink) -> Appended:
        try:
            self._copy(body, sink)
            complete = self._is_complete()
            inline = complete and self._upload.target is None
            fields = self._judged() if inline and self._examination else None
        except BaseException as error:
            self._interrupt(sink, error)
            self._explain(error)
            raise
        if fields is not None:
            return Appended(*self._complete(sink, fields))
        return Appended(self._suspend(sink, has_all=complete), complete, None)

    def _tap(self, body: Tapped) -> None:
        upload = self._upload
        body.join(LengthTap(upload.offset, upload.length, self._uploads.limit()))
        if (limits := self._uploads.quotas.of(self._image.owner)) is not None:
            body.join(
                ReservationTap(
                    upload.length,
                    functools.partial(self._reserve, limits),
                    received=upload.offset,
                    reserved=self._image.upload_reserved,
                )
            )
        if self._examination is not None:
            self._examination.watch(body)
        if self._part.content_digests:
            self._part.content.join(DigestTap(self._content))

    def _reserve(self, limits: Limits, total: int) -> None:
        image_id, to = self._upload.image_id, {"upload_reserved": total}
        self._retry(lambda: self._registry.change(image_id, self._unchanged, limits, **to))

    def _open(self) -> ResumableSink:
        upload, store = self._upload, self._uploads.store(self._upload)
        first = upload.epoch == 1
        if not first:
            try:
                return store.resume(upload.key, upload.planned_size, upload.offset, upload.epoch)
            except errors.ObjectNotFound:
                if upload.offset:
                    raise errors.UploadEnded(why="its data was lost") from None
        return store.begin(upload.key, upload.planned_size, upload.epoch)

    def _copy(self, body: Tapped, sink: ResumableSink) -> None:
        """Raises ContentDigestMismatch, and what reading and storing raise."""
        digests = Digests(()) if self._examination is None else self._examination.digests
        copy(body, sink, digests, functools.partial(self._check, body))
        for algorithm, found in self._content.values().items():
            expected = self._part.content_digests[algorithm].hex()
            if found != expected:
                raise errors.ContentDigestMismatch(
                    algorithm=algorithm, found=found, expected=expected
                )

    def _check(self, body: Tapped) -> None:
        """Raises UploadTakenOver, and Gone when the image was deleted."""
        self._received = self._upload.offset + body.received
        self._lease.keep()
        if self._lease.lost:
            raise self._loss()

    def _explain(self, error: BaseException) -> None:
        """Raise the cause of ``error`` if the store has failed only because another request has
        taken the upload over and fenced this one off."""
        if not isinstance(error, errors.StoreUnavailable):
            return
        try:
            current = self._registry.get_upload(self._upload.id)
        except errors.Error:
            return
        if current.epoch != self._upload.epoch:
            raise self._loss() from error

    def _loss(self) -> errors.Error:
        """Why this request may not go on."""
        try:
            self._registry.get(self._upload.image_id)
        except errors.NotFound:
            return errors.Gone(image_id=self._image.shown_id)
        return errors.UploadTakenOver()

    def _is_complete(self) -> bool:
        """Raises InconsistentLength if the content ends the upload before its length."""
        length = self._upload.length
        complete = self._part.completes(self._received, length)
        if complete and length is not None and self._received != length:
            raise errors.InconsistentLength(length=length, given=self._received)
        return complete

    def _judged(self) -> Mapping[str, Any]:
        """The fields of a record that has the data. Raises to refuse it."""
        assert self._examination is not None
        fields = self._examination.fields(
            self._image,
            self._received,
            self._uploads.settings.algorithms,
            upload_headers.digests(self._upload.digest),
        )
        self._renew()
        self._retry(self._part.reauthorize)
        return fields

    # How it ends

    def _suspend(self, sink: ResumableSink, *, has_all: bool = False) -> Upload:
        """Make what has arrived durable, so that another request can continue from there.

        ``has_all`` is true if no more data will come.
        """
        received = self._received
        offset = sink.suspend()
        upload = self._record(offset, has_all=has_all)
        if self._examination is not None and offset == received:
            self._uploads.examinations.keep(upload.id, upload.epoch, offset, self._examination)
        return upload

    def _record(self, offset: int, *, has_all: bool) -> Upload:
        fields: dict[str, Any] = {"offset": offset, "writing": False}
        if has_all:
            fields["length"] = offset
        return self._retry(lambda: self._change(fields, upload_received=offset))

    def _interrupt(self, sink: ResumableSink, error: BaseException) -> None:
        """After a temporary failure, keep what has arrived; after a refusal, end the upload.

        The sink is never aborted: the attempt may belong to another request by now.
        """
        if isinstance(error, _CUT):
            with contextlib.suppress(errors.Error):
                self._suspend(sink)
            return
        offset = None
        with contextlib.suppress(errors.Error):
            offset = sink.suspend()
        if offset is not None and isinstance(error, _DAMAGED):
            offset = self._upload.offset
        self._let_go(error, offset)

    def _let_go(self, error: BaseException, offset: int | None) -> None:
        """End the upload if ``error`` refuses its data. Otherwise record ``offset``, from which the
        next request continues; if it is None, ask the store.

        Never raises, so that the client receives ``error``. If the registry is unavailable, the
        upload stays, and its data is refused again when it is complete.
        """
        refused = isinstance(error, errors.Error) and not isinstance(error, _PASSING)
        with contextlib.suppress(errors.Error):
            if refused:
                self._uploads.end(self._upload, str(error))
            elif offset is not None:
                self._change({"offset": offset, "writing": False}, upload_received=offset)

    def _complete(
        self, sink: ResumableSink, fields: Mapping[str, Any]
    ) -> tuple[Upload, bool, Image]:
        """Make the data the image's. If this is cut off, the upload stays with all its data."""
        with metrics.PHASE_SECONDS.time("commit"):
            location = Location(self._upload.store, sink.commit())
        done = {
            "state": UploadState.COMPLETE,
            "offset": self._received,
            "length": self._received,
            "writing": False,
        }
        to = {
            **fields,
            "status": transition(self._upload).after,
            "locations": (location,),
            **NO_UPLOAD,
        }
        try:
            self._retry(lambda: self._change(done, **to))
        except errors.Conflict:
            # The database may have done it before, and its response was lost.
            current = self._registry.get_upload(self._upload.id)
            if (current.epoch, current.state) != (self._upload.epoch, UploadState.COMPLETE):
                loss = self._loss()
                self._uploads.end(self._upload, str(loss))
                raise loss from None
        upload = self._registry.get_upload(self._upload.id)
        return upload, True, self._registry.get(upload.image_id)

    def _renew(self) -> None:
        self._change({}, upload_received=self._received)

    def _change(self, fields: Mapping[str, Any], **to: Any) -> Upload:
        return self._registry.change_upload(
            self._upload.id, self._upload.epoch, fields, self._unchanged, None, **to
        )

    def _retry(self, step: Callable[[], T]) -> T:
        """Repeat ``step`` during a short outage."""
        return lease.retry_while_unavailable(
            step,
            subject=f"Upload {self._upload.id}",
            pauses=lease.RETRY_PAUSES_SECONDS,
            wait=self._lease.wait,
        )
