"""Resumable uploads as the IETF draft defines them: ``/v2/images/{id}/upload``.

Source: draft-ietf-httpbis-resumable-upload-12. For what is served here, interop versions 6 to 9 are
the same; version 5 (draft 03) has no content type for PATCH. An upload begins with
``Upload-Complete`` in ``PUT …/file`` or ``…/stage``.
"""

import dataclasses
import time
from collections.abc import Mapping

import webob

from imsgate import errors
from imsgate.api import views
from imsgate.api.description import (
    BINARY,
    NO_CONTENT,
    NUMBER,
    STORE_HEADER,
    TEXT,
    Content,
    Description,
    Schema,
    described,
    json_content,
)
from imsgate.api.progress import SCHEMA, progress
from imsgate.api.receiver import Receiver
from imsgate.api.requester import identity
from imsgate.http import interim, responses
from imsgate.http import upload_headers as fields
from imsgate.http.request import Request
from imsgate.model import Image, Upload, UploadState
from imsgate.transfer.part import Appended

_BOOLEAN: Schema = {"enum": ["?0", "?1"]}
_COMPLETE: Schema = {**_BOOLEAN, "description": "Whether the content is the end of the data"}
#: Headers of a request that begins an upload; all are optional, and malformed ones are ignored.
CREATION: Mapping[str, Schema] = {
    "Upload-Complete": _COMPLETE,
    "Upload-Length": {**NUMBER, "description": "Bytes of all the data"},
    "Repr-Digest": {**TEXT, "description": "Digests of all the data (RFC 9530)"},
    "Content-Digest": {**TEXT, "description": "Digests of this content (RFC 9530)"},
    "Want-Repr-Digest": {**TEXT, "description": "Which digest the response should have"},
}
#: 201 and 202 mean that the upload is not complete yet.
CREATION_ANSWERS: Mapping[int, Content] = dict.fromkeys((204, 201, 202), NO_CONTENT)
_STATE: Mapping[str, Schema] = {
    "Upload-Offset": NUMBER,
    "Upload-Complete": _BOOLEAN,
    "Upload-Length": NUMBER,
    "Upload-Limit": TEXT,
}


def is_resumable(request: Request) -> bool:
    """Whether a request begins a resumable upload."""
    return fields.boolean(request.headers.get("Upload-Complete")) is not None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadResource:
    """The handlers of uploads that can continue after an interruption."""

    receiver: Receiver

    def create(self, request: Request, image_id: str, *, staged: bool) -> webob.Response:
        """Section 4.2, Upload Creation: the content is the whole, or its beginning."""
        complete = fields.boolean(request.headers.get("Upload-Complete"))
        try:
            length = _announced_length(request, complete, self.receiver.uploads.limit())
            upload = self.receiver.begin(
                request,
                image_id,
                staged=staged,
                store_id=request.store_id,
                length=length,
                digest=request.headers.get("Repr-Digest"),
            )
        except errors.TooLarge as error:
            error.headers["Upload-Limit"] = self._limits()
            raise
        location = {"Location": self._location(request, image_id)}
        if self.receiver.uploads.settings.interim_responses:
            interim.send_upload_resumption(
                request.environ, {**location, "Upload-Limit": self._limits(upload)}
            )
        try:
            appended = self._receive(request, upload, offset=0, complete=complete, length=length)
        except errors.Error as error:
            if not self.receiver.abandon_unbegun(upload, error):
                error.headers.update({**location, **error.headers})
            raise
        response = self._response(request, appended, status=201)
        response.headers.update(location)
        return response

    @described(
        answers=CREATION_ANSWERS,
        body=BINARY,
        headers={**STORE_HEADER, **CREATION},
        required=("Upload-Complete",),
        refusals=(405, 409, 410),
        has_problems=True,
        sends=_STATE,
    )
    def post(self, request: Request, image_id: str) -> webob.Response:
        """Resumable uploads: Upload Creation by POST, which some clients send to any resource."""
        if not is_resumable(request):
            methods = "GET, PUT"
            raise errors.MethodNotAllowed(allowed=methods, headers={"Allow": methods})
        return self.create(request, image_id, staged=False)

    @described(
        answers=dict.fromkeys((204, 202), NO_CONTENT),
        body={fields.PARTIAL_UPLOAD: {}},
        headers={"Upload-Offset": NUMBER, **CREATION},
        required=("Upload-Offset", "Upload-Complete"),
        refusals=(409, 410),
        has_problems=True,
        sends=_STATE,
    )
    def append(self, request: Request, image_id: str) -> webob.Response:
        """Resumable uploads: Upload Append (section 4.4)."""
        upload = self.receiver.of_image(request, image_id)
        if not _is_partial(request):
            raise errors.UnsupportedMediaType(
                accepted=fields.PARTIAL_UPLOAD, headers={"Accept-Patch": fields.PARTIAL_UPLOAD}
            )
        complete = fields.boolean(_required(request, "Upload-Complete", "?0 or ?1"))
        offset = fields.integer(_required(request, "Upload-Offset", "a number of bytes"))
        if complete is None or offset is None:
            header = "Upload-Complete" if complete is None else "Upload-Offset"
            raise errors.BadHeader(
                header=header, problem="it is not a structured field of the required type"
            )
        _check_incomplete(request, upload)
        length = fields.integer(request.headers.get("Upload-Length"))
        appended = self._receive(request, upload, offset=offset, complete=complete, length=length)
        return self._response(request, appended, status=204)

    @described(
        answers={200: json_content(SCHEMA)},
        head=Description(answers={204: NO_CONTENT}, refusals=(410,), sends=_STATE),
    )
    def show(self, request: Request, image_id: str) -> webob.Response:
        """Resumable uploads: Offset Retrieval by HEAD (section 4.3), any upload's progress by GET.

        HEAD ends a request that is still writing; GET never does.
        """
        if request.method != "HEAD":
            return self._progress(request, image_id)
        upload = self.receiver.of_image(request, image_id)
        if upload.state is UploadState.OPEN:
            upload = self.receiver.settled(upload)
        elif upload.state is UploadState.ENDED:
            raise errors.UploadEnded(why=upload.reason)
        response = webob.Response(status=204)
        response.headers.update(self._state(upload))
        return response

    @described(answers={204: NO_CONTENT}, refusals=(409, 410))
    def cancel(self, request: Request, image_id: str) -> webob.Response:
        """Resumable uploads: Upload Cancellation (section 4.5). All data is removed."""
        upload = self.receiver.of_image(request, image_id)
        if upload.state is UploadState.ENDED:
            raise errors.UploadEnded(why=upload.reason)
        self.receiver.uploads.cancel(upload, "it was cancelled")
        return webob.Response(status=204)

    @described(answers={204: NO_CONTENT}, sends={"Accept-Patch": TEXT, "Upload-Limit": TEXT})
    def options(self, request: Request, **_: str) -> webob.Response:
        """Resumable uploads: Limits of an upload that begins here (section 4.1.4)."""
        response = webob.Response(status=204)
        response.headers["Accept-Patch"] = fields.PARTIAL_UPLOAD
        response.headers["Upload-Limit"] = self._limits()
        return response

    def _receive(
        self,
        request: Request,
        upload: Upload,
        *,
        offset: int,
        complete: bool | None,
        length: int | None,
    ) -> Appended:
        try:
            return self.receiver.receive(
                request,
                upload,
                offset=offset,
                complete=complete,
                length=length,
                content_digests=fields.digests(request.headers.get("Content-Digest")),
            )
        except errors.TooLarge as error:
            error.headers["Upload-Limit"] = self._limits(upload)
            raise

    def _response(self, request: Request, appended: Appended, *, status: int) -> webob.Response:
        """``status`` is that of the response if the request has not completed the upload."""
        if appended.has_all:
            status = 204 if appended.image else 202
        response = webob.Response(status=status)
        response.headers.update(self._state(appended.upload))
        response.headers["Upload-Complete"] = fields.boolean_field(appended.has_all)
        if appended.image is not None:
            response.headers.update(_wanted_digest(request, appended.image))
        return response

    def _state(self, upload: Upload) -> dict[str, str]:
        """The headers that show an upload's state."""
        complete = upload.state is not UploadState.OPEN
        length = {} if upload.length is None else {"Upload-Length": str(upload.length)}
        return {
            "Upload-Offset": str(upload.offset),
            "Upload-Complete": fields.boolean_field(complete),
            **length,
            **({} if complete else {"Upload-Limit": self._limits(upload)}),
            "Cache-Control": "no-store",
        }

    def _limits(self, upload: Upload | None = None) -> str:
        """Upload-Limit of an upload, or of one that is yet to begin."""
        uploads = self.receiver.uploads
        age: float = uploads.settings.keep_partial
        if upload is not None:
            age = max(0.0, upload.expires - time.time())
        return fields.limits_field({"max-size": uploads.limit(), "max-age": int(age)})

    def _location(self, request: Request, image_id: str) -> str:
        base = views.base_url(request, self.receiver.deployment.public_endpoint)
        return f"{base}/v2/images/{image_id}/upload"

    def _progress(self, request: Request, image_id: str) -> webob.Response:
        who, access = identity(request), self.receiver.access
        image = access.image(who, image_id)
        registry = self.receiver.uploads.registry
        upload = registry.upload_of(image.id)
        jobs = registry.jobs_of(image.id)
        view = progress(image, upload, jobs[-1] if jobs else None)
        if view is None:
            raise errors.NotFound(what=f"An upload of image {image.shown_id}")
        if not access.owns(who, image):
            view["user_id"] = None
        response = responses.json_response(view)
        response.headers["Cache-Control"] = "no-store"
        if upload is not None and upload.state is not UploadState.ENDED and not upload.writing:
            response.headers.update(self._state(upload))
        return response


def _is_partial(request: Request) -> bool:
    """Whether the type of the content says that it is to be appended."""
    is_draft_3 = request.headers.get("Upload-Draft-Interop-Version") == "5"
    return request.content_type == fields.PARTIAL_UPLOAD or (
        is_draft_3 and not request.content_type
    )


def _announced_length(request: Request, complete: bool | None, limit: int) -> int | None:
    """The length of the complete upload: ``Upload-Length`` or, if this is all of it, its own
    length.

    Raises InconsistentLength if the two differ, and TooLarge.
    """
    length = fields.integer(request.headers.get("Upload-Length"))
    content = request.reader().length if complete else None
    if length is not None and length > limit:
        raise errors.TooLarge(limit=limit)
    if length is not None and content is not None and length != content:
        raise errors.InconsistentLength(length=length, given=content)
    return content if length is None else length


def _required(request: Request, header: str, what: str) -> str:
    text: str | None = request.headers.get(header)
    if text is None:
        raise errors.BadHeader(header=header, problem=f"it is required, and must be {what}")
    return text


def _check_incomplete(request: Request, upload: Upload) -> None:
    """Raises InconsistentLength for more data after the last byte, and CompletedUpload."""
    if upload.state not in (UploadState.COMPLETE, UploadState.FINISHING):
        return
    if not request.body_is_empty:
        given = upload.offset + (request.body_length or 1)
        error = errors.InconsistentLength(length=upload.offset, given=given)
        error.headers["Upload-Complete"] = "?1"
        raise error
    raise errors.CompletedUpload


def _wanted_digest(request: Request, image: Image) -> dict[str, str]:
    """Repr-Digest of the whole, if the client wants one that the record has."""
    wanted = fields.wanted_digest(request.headers.get("Want-Repr-Digest"))
    if wanted is None:
        return {}
    known = {"md5": image.checksum, str(image.os_hash_algo): image.os_hash_value}
    found = known.get(wanted)
    if found is None:
        return {}
    return {"Repr-Digest": fields.digest_field({wanted: bytes.fromhex(found)})}
