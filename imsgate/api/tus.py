"""Resumable uploads by tus 1.0.0: ``/v2/uploads``.

Source: https://tus.io/protocols/resumable-upload, with the extensions creation,
creation-with-upload, creation-defer-length, expiration, checksum and termination.

``Upload-Metadata`` says what the data is for: ``image_id`` names a queued image; without it, the
other keys are the attributes of a new one (``name``, ``disk_format``, …). With ``stage`` the data
is staged.
"""

import contextlib
import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import webob

from imsgate import errors
from imsgate.api import tus_headers, views
from imsgate.api.description import (
    NO_CONTENT,
    NUMBER,
    STORE_HEADER,
    TEXT,
    Content,
    described,
)
from imsgate.api.dialect import Dialect
from imsgate.api.receiver import Receiver
from imsgate.api.requester import identity
from imsgate.api.tus_headers import (
    CHECKSUMS,
    EXTENSIONS,
    LENGTH_SCHEMA,
    PART_SCHEMA,
    STATE_SCHEMA,
    VERSION,
    VERSION_SCHEMA,
)
from imsgate.http import headers
from imsgate.http.request import Request
from imsgate.model import Upload, UploadState
from imsgate.records.records import Records

LOG = logging.getLogger(__name__)

OFFSET_OCTETS = "application/offset+octet-stream"
#: Keys that tus clients in browsers add for the chosen file; they are no attributes of an image.
_NOT_ATTRIBUTES = frozenset(
    {"filename", "filetype", "relativePath", "type", "stage", "store", "image_id"}
)

Handler = Callable[..., webob.Response]

_CONTENT: Content = {OFFSET_OCTETS: {}}
#: 460 is tus's own status: the checksum does not match.
_REFUSALS = (409, 410, 412, 460)


def _speaking(handler: Handler) -> Handler:
    """Checks the client's version, and adds the server's to every response, errors included."""

    @functools.wraps(handler)
    def answer(self: "TusUploads", request: Request, **names: str) -> webob.Response:
        try:
            if request.headers.get("Tus-Resumable") != VERSION:
                raise errors.TusVersion(version=VERSION, headers={"Tus-Version": VERSION})
            response = handler(self, request, **names)
        except errors.ContentDigestMismatch as error:
            response = webob.Response(status="460 Checksum Mismatch", body=str(error).encode())
            response.headers["X-Imsgate-Reason"] = error.reason
        except errors.Error as error:
            error.headers["Tus-Resumable"] = VERSION
            raise
        response.headers["Tus-Resumable"] = VERSION
        return response

    return answer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TusUploads:
    """The handlers of clients that speak tus."""

    receiver: Receiver
    records: Records
    dialect: Dialect

    @described(
        answers={204: NO_CONTENT},
        sends={
            **VERSION_SCHEMA,
            "Tus-Version": TEXT,
            "Tus-Max-Size": NUMBER,
            "Tus-Extension": TEXT,
            "Tus-Checksum-Algorithm": TEXT,
        },
    )
    def options(self, request: Request, **_: str) -> webob.Response:
        """tus 1.0.0, core protocol: What this server can do."""
        response = webob.Response(status=204)
        response.headers.update(
            {
                "Tus-Resumable": VERSION,
                "Tus-Version": VERSION,
                "Tus-Max-Size": str(self.receiver.uploads.limit()),
                "Tus-Extension": EXTENSIONS,
                "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
            }
        )
        return response

    @described(
        answers={201: NO_CONTENT},
        body=_CONTENT,
        headers={
            **PART_SCHEMA,
            **STORE_HEADER,
            "Upload-Defer-Length": {"const": "1"},
            "Upload-Metadata": {**TEXT, "description": "Keys and values in Base64"},
        },
        required=("Tus-Resumable",),
        refusals=_REFUSALS,
        has_problems=True,
        sends={"Location": TEXT, **STATE_SCHEMA},
    )
    @_speaking
    def create(self, request: Request) -> webob.Response:
        """tus 1.0.0, extension creation: Begin an upload. Also creation-with-upload and
        creation-defer-length."""
        if request.headers.get("Upload-Concat"):
            problem = "uploads are not concatenated here: send the image in one upload"
            raise errors.BadHeader(header="Upload-Concat", problem=problem)
        length = tus_headers.length(request)
        if length is None and request.headers.get("Upload-Defer-Length") != "1":
            problem = "send it, or Upload-Defer-Length: 1"
            raise errors.BadHeader(header="Upload-Length", problem=problem)
        text = request.headers.get("Upload-Metadata")
        metadata = tus_headers.parse_metadata(text)
        has_content = not request.body_is_empty
        if has_content:
            _check_content_type(request)
        checksum = tus_headers.checksum(request)
        with contextlib.ExitStack() as undoing:
            image_id = metadata.get("image_id")
            if not image_id:
                image_id = self._new_image(request, metadata)
                undoing.callback(self._discard_image, image_id)
            upload = self.receiver.begin(
                request,
                image_id,
                staged="stage" in metadata,
                store_id=metadata.get("store") or request.store_id,
                length=length,
                digest=None,
                metadata=text,
            )
            undoing.callback(self.receiver.abandon, upload, "the request that began it failed")
            if has_content or length == 0:
                upload = self._receive(request, upload, 0, length, checksum)
            undoing.pop_all()
        response = webob.Response(status=201)
        base = views.base_url(request, self.receiver.deployment.public_endpoint)
        response.headers["Location"] = f"{base}/v2/uploads/{upload.id}"
        response.headers.update(_state(upload))
        return response

    def _new_image(self, request: Request, metadata: Mapping[str, str]) -> str:
        """Create the image that the metadata describe; return its id."""
        fields = {name: text for name, text in metadata.items() if name not in _NOT_ATTRIBUTES}
        if "name" not in fields and metadata.get("filename"):
            fields["name"] = metadata["filename"]
        image = self.records.add(identity(request), self.dialect.new_image(_typed(fields)))
        return image.id

    def _discard_image(self, image_id: str) -> None:
        """Remove an image whose id the client does not receive; it will create another one."""
        try:
            self.records.discard(image_id)
        except errors.Error as error:
            LOG.warning("Image %s of a failed upload was not removed: %s", image_id, error)

    @described(
        answers={200: NO_CONTENT},
        headers=VERSION_SCHEMA,
        required=("Tus-Resumable",),
        refusals=(409, 410, 412),
        sends={
            **STATE_SCHEMA,
            **LENGTH_SCHEMA,
            "Upload-Defer-Length": TEXT,
            "Upload-Metadata": TEXT,
        },
    )
    @_speaking
    def show(self, request: Request, upload_id: str) -> webob.Response:
        """tus 1.0.0, core protocol: The offset at which the client may continue."""
        upload = self._find(request, upload_id)
        if upload.state is UploadState.OPEN:
            upload = self.receiver.settled(upload)
        response = webob.Response(status=200)
        response.headers.update(_state(upload))
        response.headers["Cache-Control"] = "no-store"
        if upload.length is None:
            response.headers["Upload-Defer-Length"] = "1"
        else:
            response.headers["Upload-Length"] = str(upload.length)
        if upload.metadata is not None:
            response.headers["Upload-Metadata"] = upload.metadata
        return response

    @described(
        answers={204: NO_CONTENT},
        body=_CONTENT,
        headers={**PART_SCHEMA, "Upload-Offset": NUMBER},
        required=("Tus-Resumable", "Upload-Offset"),
        refusals=_REFUSALS,
        has_problems=True,
        sends=STATE_SCHEMA,
    )
    @_speaking
    def append(self, request: Request, upload_id: str) -> webob.Response:
        """tus 1.0.0, core protocol: Append data. Also the extension checksum."""
        _check_content_type(request)
        offset = headers.digits("Upload-Offset", request.headers.get("Upload-Offset"))
        if offset is None:
            raise errors.BadHeader(header="Upload-Offset", problem="it is required")
        length, checksum = tus_headers.length(request), tus_headers.checksum(request)
        upload = self._find(request, upload_id)
        if not _repeats_the_end(request, upload, offset):
            upload = self._receive(request, upload, offset, length, checksum)
        response = webob.Response(status=204)
        response.headers.update(_state(upload))
        return response

    @described(
        answers={204: NO_CONTENT},
        headers=VERSION_SCHEMA,
        required=("Tus-Resumable",),
        refusals=(409, 410, 412),
        sends=VERSION_SCHEMA,
    )
    @_speaking
    def cancel(self, request: Request, upload_id: str) -> webob.Response:
        """tus 1.0.0, extension termination: End an upload."""
        self.receiver.uploads.cancel(self._find(request, upload_id), "it was cancelled")
        return webob.Response(status=204)

    @described(
        answers=dict.fromkeys((200, 204), NO_CONTENT),
        body=_CONTENT,
        headers={
            **PART_SCHEMA,
            "Upload-Offset": NUMBER,
            "X-HTTP-Method-Override": {"enum": ["PATCH", "DELETE", "HEAD"]},
        },
        required=("Tus-Resumable", "X-HTTP-Method-Override"),
        refusals=(405, *_REFUSALS),
        has_problems=True,
        sends=STATE_SCHEMA,
    )
    def override(self, request: Request, upload_id: str) -> webob.Response:
        """tus 1.0.0, core protocol: Another method in X-HTTP-Method-Override, for clients that can
        only send POST."""
        method = request.headers.get("X-HTTP-Method-Override", "").upper()
        handlers = {"PATCH": self.append, "DELETE": self.cancel, "HEAD": self.show}
        if method not in handlers:
            methods = "HEAD, PATCH, DELETE, OPTIONS"
            raise errors.MethodNotAllowed(allowed=methods, headers={"Allow": methods})
        return handlers[method](request, upload_id=upload_id)

    def _find(self, request: Request, upload_id: str) -> Upload:
        upload = self.receiver.by_id(request, upload_id)
        if upload.state is UploadState.ENDED:
            raise errors.UploadEnded(why=upload.reason)
        return upload

    def _receive(
        self,
        request: Request,
        upload: Upload,
        offset: int,
        length: int | None,
        checksum: Mapping[str, bytes],
    ) -> Upload:
        """The upload is complete when its length is reached."""
        return self.receiver.receive(
            request,
            upload,
            offset=offset,
            complete=None,
            length=length,
            content_digests=checksum,
        ).upload


def _typed(fields: Mapping[str, str]) -> dict[str, Any]:
    """Attributes with the types that POST /v2/images requires; metadata contains only text."""
    typed: dict[str, Any] = dict(fields)
    for name in ("min_disk", "min_ram"):
        # A longer number than any is left as text, which is refused.
        if re.fullmatch("[0-9]{1,19}", fields.get(name, "")):
            typed[name] = int(fields[name])
    for name in ("protected", "os_hidden"):
        if fields.get(name, "").lower() in ("true", "false"):
            typed[name] = fields[name].lower() == "true"
    if "tags" in fields:
        typed["tags"] = [tag for tag in fields["tags"].split(",") if tag]
    return typed


def _repeats_the_end(request: Request, upload: Upload, offset: int) -> bool:
    """Whether a client that did not receive the last response sends the end, now empty, again."""
    has_all = upload.state in (UploadState.COMPLETE, UploadState.FINISHING)
    return has_all and offset == upload.offset and request.body_is_empty


def _check_content_type(request: Request) -> None:
    if request.content_type != OFFSET_OCTETS:
        raise errors.UnsupportedMediaType(accepted=OFFSET_OCTETS)


def _state(upload: Upload) -> dict[str, str]:
    expires = {"Upload-Expires": formatdate(upload.expires, usegmt=True)}
    return {
        "Upload-Offset": str(upload.offset),
        **(expires if upload.state is UploadState.OPEN else {}),
    }
