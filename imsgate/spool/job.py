"""Sends a spooled upload to upstream, once all of it has arrived.

Upstream's record decides what to do, so the job may begin again at any moment: an image that is
``queued`` there gets the data; one that is ``active`` must have the same size and MD5, because an
earlier attempt may have succeeded without anybody learning it. The data is inspected again while
it is read, and upstream does not get the last bytes of what is refused.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from imsgate import errors
from imsgate.forward.application import Forward
from imsgate.forward.exchange import LostResponse
from imsgate.forward.fields import Fields
from imsgate.forward.outgoing import OutgoingImage
from imsgate.http import upload_headers
from imsgate.http.body import Tapped
from imsgate.jobs.arguments import SealedCredential, UploadArguments
from imsgate.jobs.context import Context
from imsgate.jobs.progress import ProgressTap
from imsgate.jobs.work import Work
from imsgate.model import Image, Job, Location, Status, Upload, UploadState
from imsgate.sources.base import lost_data_fails_source
from imsgate.sources.stored import StoredSources
from imsgate.spool.seal import CredentialSeal
from imsgate.spool.upstream import (
    DECLARING,
    Record,
    UpstreamImages,
    check_success,
    recorded_digests,
)
from imsgate.transfer.copy import copy
from imsgate.transfer.digests import Digests
from imsgate.transfer.examination import check_digests
from imsgate.transfer.resumable import ResumableUploads
from imsgate.transfer.upload import NO_UPLOAD

LOG = logging.getLogger(__name__)

#: The kind of these jobs.
KIND = "forward"
#: The statuses of an image at upstream that may change by themselves.
_INCOMING = frozenset({"saving", "uploading", "importing"})


class _Check:
    """A tap that ends the job when it must not go on."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check

    def feed(self, chunk: bytes) -> None:
        self._check()

    def finish(self) -> None:
        self._check()


class _Expected:
    """A tap that compares the whole with the Repr-Digest of the upload. Raises DigestMismatch."""

    def __init__(self, digest: str | None) -> None:
        self._expected = upload_headers.digests(digest)
        self._digests = Digests(tuple(self._expected))

    def feed(self, chunk: bytes) -> None:
        self._digests.feed(chunk)

    def finish(self) -> None:
        check_digests(self._digests, self._expected)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForwardUpload(Work):
    """The work of jobs that send uploads to upstream."""

    uploads: ResumableUploads
    sources: StoredSources
    forward: Forward
    seal: CredentialSeal

    def is_transient(self, error: errors.Error) -> bool:
        """Upstream or the spool may be back later."""
        return isinstance(error, errors.Unavailable | errors.StoreUnavailable)

    def run(self, job: Job, context: Context) -> None:
        upload = self.uploads.registry.get_upload(UploadArguments.of(job).upload_id)
        context.check()
        upload = self.uploads.verifying(upload, job.id)
        if upload.state is UploadState.ENDED:
            raise errors.UploadEnded(why=upload.reason)
        if upload.state is UploadState.FINISHING:
            try:
                self._bring(upload, self._sender(job), context)
            except errors.Unauthenticated as error:
                problem = "the credentials of the last request are not valid any more"
                raise errors.UpstreamRefused(status=401, problem=problem) from error
            # Before the job ends: otherwise, if this process died now, nobody would record it.
            self.uploads.close(upload, UploadState.COMPLETE)
        context.succeed(lambda image: _released(image, upload))
        self._clean_up(upload)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """Remove the data. Later requests for the upload are answered with ``error``."""
        upload = self.uploads.registry.get_upload(UploadArguments.of(job).upload_id)
        self.uploads.close(upload, UploadState.ENDED, str(error))
        self.uploads.release(upload)
        context.fail(error)

    def _clean_up(self, upload: Upload) -> None:
        """If this process dies before, a sweep does it: the record has a lease that has run out."""
        if self.uploads.discard(upload):
            was = {"upload_key": upload.key}
            with contextlib.suppress(errors.Conflict):  # a sweep was faster
                self.uploads.registry.change(upload.image_id, was, **NO_UPLOAD)

    def _sender(self, job: Job) -> Fields:
        credential = SealedCredential.of(job)
        return [] if credential is None else self.seal.open(credential.sealed)

    def _bring(self, upload: Upload, sender: Fields, context: Context) -> None:
        """Return once upstream has the image. Raises to refuse it, and transient errors."""
        record = UpstreamImages(self.forward, sender).record(upload.image_id)
        status = record.get("status")
        if status == "queued":
            self._send(upload, record, sender, context)
        elif status in _INCOMING:
            raise errors.UpstreamFailed(problem="is still receiving the image")
        elif not self._is_same(upload, record, context):
            image_id = upload.image_id
            raise errors.WrongStatus(image_id=image_id, status=status, needed=Status.QUEUED)

    def _send(self, upload: Upload, record: Record, sender: Fields, context: Context) -> None:
        store = [("X-Image-Meta-Store", upload.target)] if upload.target else []
        with self._data(upload, record, context) as body:
            body.join(_Expected(upload.digest))
            image = OutgoingImage(body, upload.offset)
            path = f"/v2/images/{upload.image_id}/file"
            try:
                reply = self.forward.client.deliver(path, [*sender, *store], image)
            except LostResponse as lost:
                raise lost.failure from None  # the next attempt looks at the record
        check_success(reply)

    def _is_same(self, upload: Upload, record: Record, context: Context) -> bool:
        """Whether an image that has its data has the data of this upload."""
        if (record.get("status"), record.get("size")) != ("active", upload.offset):
            return False
        for algorithm, expected in recorded_digests(record).items():
            digests = Digests((algorithm,))
            with self._data(upload, record, context) as body:
                copy(body, None, digests, context.check)
            return digests.values()[algorithm] == expected
        return False

    @contextlib.contextmanager
    def _data(self, upload: Upload, record: Record, context: Context) -> Iterator[Tapped]:
        """The data of the upload, inspected as upstream's record declares it now: that may have
        changed since. Raises SourceFailed if the data is lost, and what taps raise."""
        declared: dict[str, Any] = {name: record.get(name) for name in DECLARING}
        image = dataclasses.replace(context.image(), **declared)
        kept = Location(upload.store, "")
        with lost_data_fails_source(kept):
            size, offset = upload.planned_size, upload.offset
            store = self.uploads.store(upload)
            place = store.resume(upload.key, size, offset, upload.epoch).commit()
            kept = Location(upload.store, place)
            with self.sources.open(image, kept, certificate=None) as source:
                if source.size != upload.offset:
                    raise errors.SizeMismatch(announced=upload.offset, received=source.size)
                source.body.join(_Check(context.check))
                source.body.join(ProgressTap(context.report, source.size))
                yield source.body


def _released(image: Image, upload: Upload) -> dict[str, Any]:
    """The fields of the record once upstream has the image: the sweep removes the data, unless
    this process does it now. Raises Conflict."""
    if image.upload_key != upload.key:
        raise errors.Conflict(problem=f"Image {image.id} no longer accepts this upload")
    return {"status": Status.QUEUED, "upload_expires": time.time()}
