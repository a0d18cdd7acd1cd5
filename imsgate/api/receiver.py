"""Receives resumable uploads, whichever protocol the client speaks."""

import dataclasses
import logging
import time
from collections.abc import Mapping

from imsgate import errors, inspection
from imsgate.api.deployment import Deployment
from imsgate.api.job_starter import JobStarter
from imsgate.api.requester import identity
from imsgate.http.request import ENCODED, Request
from imsgate.jobs.arguments import for_upload
from imsgate.jobs.uploads import KIND as VERIFICATION
from imsgate.model import Image, Upload, UploadState
from imsgate.records.access import Access
from imsgate.sources.inspected import SourceInspector
from imsgate.transfer.append import append
from imsgate.transfer.digests import Digests
from imsgate.transfer.examination import Examination
from imsgate.transfer.part import Appended, Part
from imsgate.transfer.repeat import fields_of_uploader
from imsgate.transfer.resumable import ResumableUploads, transition, unchanged

LOG = logging.getLogger(__name__)

#: Seconds for which the last request of an upload waits until the data is verified. Proxies wait
#: for 60 by default.
PATIENCE_SECONDS = 20.0
#: A client that is cut right after it began to send may ask for the offset before the request
#: that was cut has begun here. The response waits, so that such a request can store its data.
_QUIET_SECONDS = 0.1
_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Begins and continues uploads in the name of the user who sent a request.

    ``finishing`` is the kind of the job for an upload that has arrived but is not complete yet.
    """

    access: Access
    uploads: ResumableUploads
    inspector: SourceInspector
    deployment: Deployment
    jobs: JobStarter
    finishing: str = VERIFICATION

    def begin(
        self,
        request: Request,
        image_id: str,
        *,
        staged: bool,
        store_id: str | None,
        length: int | None,
        digest: str | None,
        metadata: str | None = None,
    ) -> Upload:
        """Begin an upload to a queued image. The user's own unfinished upload to it ends.

        Raises what ``ResumableUploads.begin`` raises, FormatsNotSet, NotFound and Forbidden.
        """
        if request.codings or ENCODED in request.environ:
            # Its content would be a part of the compressed image
            # (draft-ietf-httpbis-resumable-upload, section 7), which is not what is stored.
            raise errors.UnsupportedCoding(accepted="identity")
        who = identity(request)
        request.notes.image_id = image_id
        image = self.access.image(who, image_id, _rule(staged=staged))
        if self._ends_own(request, image):
            image = self.access.image(who, image_id, _rule(staged=staged))
        self.deployment.check_formats(image)
        if staged:
            store_id = self.uploads.settings.staging_store
        return self.uploads.begin(
            image,
            store=self.deployment.stores.target(store_id),
            user=who.user_id,
            project=who.project_id,
            staged=staged,
            length=length,
            digest=digest,
            metadata=metadata,
        )

    def _ends_own(self, request: Request, image: Image) -> bool:
        """End the user's own upload: a client that lost its first response starts again."""
        if image.upload_key is None:
            return False
        upload = self.uploads.registry.upload_of(image.id)
        if upload is None or upload.key != image.upload_key or not _owns(request, upload):
            return False
        self.uploads.cancel(upload, "its client started again")
        return True

    def abandon(self, upload: Upload, why: str) -> None:
        """End an upload that its client does not learn of or cannot use, and free its image.

        Does nothing if it is over. If it cannot be ended now, it expires.
        """
        try:
            self.uploads.cancel(upload, why)
        except errors.Error as error:
            LOG.warning("Upload %s was not ended: %s", upload.id, error)

    def abandon_unbegun(self, upload: Upload, error: errors.Error) -> bool:
        """If a store failed before the first request of ``upload`` had stored anything, end the
        upload, so that others need not wait for it; return whether it has been ended."""
        if not isinstance(error, errors.StoreUnavailable | errors.StoreFull):
            return False
        try:
            current = self.uploads.registry.get_upload(upload.id)
        except errors.Error:
            return False
        if current.offset or current.writing or current.epoch != upload.epoch + 1:
            return False
        self.abandon(current, str(error))
        return True

    def of_image(self, request: Request, image_id: str) -> Upload:
        """The newest upload of an image, if the user began it. Raises NotFound, Forbidden."""
        image = self.access.image(identity(request), image_id)
        upload = self.uploads.registry.upload_of(image.id)
        self._check_rule(request, image.id, upload)
        if upload is None:
            raise errors.NotFound(what=f"An upload of image {image.shown_id}")
        if not _owns(request, upload):
            raise errors.Forbidden(action="continue an upload that somebody else began")
        return upload

    def by_id(self, request: Request, upload_id: str) -> Upload:
        """An upload, if the user began it. Raises NotFound, Forbidden."""
        upload = self.uploads.registry.get_upload(upload_id.lower())
        request.notes.image_id = upload.image_id
        if not _owns(request, upload):
            raise errors.NotFound(what=f"Upload {upload_id}")
        if upload.state is UploadState.OPEN:
            self._check_rule(request, upload.image_id, upload)
        return upload

    def _check_rule(self, request: Request, image_id: str, upload: Upload | None) -> None:
        staged = upload is not None and upload.staged
        self.access.image(identity(request), image_id, _rule(staged=staged))

    def settled(self, upload: Upload) -> Upload:
        """The upload, at the offset from which the next request may continue, or complete."""
        time.sleep(_QUIET_SECONDS)
        upload = self.uploads.registry.get_upload(upload.id)
        try:
            return self.uploads.settled(upload)
        except errors.CompletedUpload:  # since it was read
            return self.uploads.registry.get_upload(upload.id)

    def receive(
        self,
        request: Request,
        upload: Upload,
        *,
        offset: int,
        complete: bool | None,
        length: int | None,
        content_digests: Mapping[str, bytes],
    ) -> Appended:
        """Append the request's content, decompressed if a filter does that. Raises what ``append``
        raises, and UnsupportedCoding for content that no filter has decompressed.

        Waits for a while if the data has to be verified. If that takes longer, ``image`` of the
        result is None.
        """
        if request.codings:
            raise errors.UnsupportedCoding(accepted="identity")
        body = request.reader()
        part = Part(
            offset=offset,
            complete=complete,
            length=length,
            content_digests=content_digests,
            content=request.encoded or body,
            examine=lambda digests: self._examine(request, upload, digests),
            reauthorize=lambda: self._reauthorize(request, upload),
        )
        try:
            appended = append(self.uploads, upload, body, part)
        except errors.Error as error:
            if complete and body.has_ended:
                # Otherwise the client might believe that sending more would help.
                error.headers.setdefault("Upload-Complete", "?1")
            raise
        if appended.has_all and appended.image is None:
            return self._verify(request, appended.upload)
        return appended

    def _examine(self, request: Request, upload: Upload, digests: Digests) -> Examination:
        image = self.uploads.registry.get(upload.image_id)
        sniffed = request.inspection
        if sniffed is None:
            sniffed = self.inspector.begin(image)
        else:
            sniffed.declare(inspection.declared_format(image))
        tap = None if upload.staged else self.jobs.signing.tap(request, image)
        return Examination(
            digests=digests,
            taps=(sniffed,) if tap is None else (sniffed, tap),
            content_fields=lambda image: {
                **inspection.fields_from_content(image, sniffed.image_info),
                **fields_of_uploader(identity(request), transition(upload)),
            },
        )

    def _reauthorize(self, request: Request, upload: Upload) -> None:
        self.access.image(request.identify(), upload.image_id, _rule(staged=upload.staged))

    def _verify(self, request: Request, upload: Upload) -> Appended:
        """Have a job verify the data, and wait for it. Raises UploadEnded if it refuses the
        data."""
        image = self.uploads.registry.get(upload.image_id)
        job = self.jobs.start_verification(
            request,
            image,
            self.finishing,
            for_upload(upload.id),
            rule=_rule(staged=upload.staged),
            is_signed=not upload.staged,
            was=unchanged(upload),
        )
        upload = self.uploads.verifying(upload, job.id)
        return Appended(*self._awaited(upload))

    def _awaited(self, upload: Upload) -> tuple[Upload, bool, Image | None]:
        registry, deadline = self.uploads.registry, time.monotonic() + PATIENCE_SECONDS
        pauses = iter(_PAUSES_SECONDS)
        while upload.state is UploadState.FINISHING and time.monotonic() < deadline:
            time.sleep(next(pauses, _PAUSES_SECONDS[-1]))
            upload = registry.get_upload(upload.id)
        if upload.state is UploadState.ENDED:
            raise errors.UploadEnded(why=upload.reason, headers={"Upload-Complete": "?1"})
        image = registry.get(upload.image_id) if upload.state is UploadState.COMPLETE else None
        return upload, True, image


def _rule(*, staged: bool) -> str:
    """The policy rule that allows such an upload."""
    return "modify_image" if staged else "upload_image"


def _owns(request: Request, upload: Upload) -> bool:
    who = identity(request)
    return (who.user_id, who.project_id) == (upload.user, upload.project)
