"""Resumable uploads by tus 1.0.0: ``/v2/uploads``.

Source: https://tus.io/protocols/resumable-upload, with the extensions creation,
creation-with-upload, creation-defer-length, expiration, checksum and termination.

``Upload-Metadata`` says what the data is for: ``image_id`` names a queued image; without it, the
other keys are the attributes of a new one (``name``, ``disk_format``, …). With ``stage`` the data
is staged.
"""

import base64
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import webob

from imsgate import errors
from imsgate.api import views
from imsgate.api.dialect import Dialect
from imsgate.api.receiver import Receiver
from imsgate.api.requester import identity
from imsgate.http import headers
from imsgate.http.request import Request
from imsgate.model import Upload, UploadState
from imsgate.records.records import Records

LOG = logging.getLogger(__name__)

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
OFFSET_OCTETS = "application/offset+octet-stream"
#: hashlib's names, which are also tus's.
CHECKSUMS = ("sha1", "sha256", "sha512", "md5")
#: Keys that tus clients in browsers add for the chosen file; they are no attributes of an image.
_NOT_ATTRIBUTES = frozenset(
    {"filename", "filetype", "relativePath", "type", "stage", "store", "image_id"}
)

Handler = Callable[..., webob.Response]


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

    def options(self, request: Request, **_: str) -> webob.Response:
        """Core protocol, OPTIONS: what this server can do."""
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

    @_speaking
    def create(self, request: Request) -> webob.Response:
        """Extensions creation, creation-with-upload, creation-defer-length."""
        if request.headers.get("Upload-Concat"):
            problem = "uploads are not concatenated here: send the image in one upload"
            raise errors.BadHeader(header="Upload-Concat", problem=problem)
        length = _length(request)
        if length is None and request.headers.get("Upload-Defer-Length") != "1":
            problem = "send it, or Upload-Defer-Length: 1"
            raise errors.BadHeader(header="Upload-Length", problem=problem)
        text = request.headers.get("Upload-Metadata")
        metadata = parse_metadata(text)
        has_content = not request.body_is_empty
        if has_content:
            _check_content_type(request)
        checksum = _checksum(request)
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

    @_speaking
    def show(self, request: Request, upload_id: str) -> webob.Response:
        """Core protocol, HEAD: the offset at which the client may continue."""
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

    @_speaking
    def append(self, request: Request, upload_id: str) -> webob.Response:
        """Core protocol, PATCH; extension checksum."""
        _check_content_type(request)
        offset = headers.digits("Upload-Offset", request.headers.get("Upload-Offset"))
        if offset is None:
            raise errors.BadHeader(header="Upload-Offset", problem="it is required")
        length, checksum = _length(request), _checksum(request)
        upload = self._find(request, upload_id)
        if not _repeats_the_end(request, upload, offset):
            upload = self._receive(request, upload, offset, length, checksum)
        response = webob.Response(status=204)
        response.headers.update(_state(upload))
        return response

    @_speaking
    def cancel(self, request: Request, upload_id: str) -> webob.Response:
        """Extension termination."""
        self.receiver.uploads.cancel(self._find(request, upload_id), "it was cancelled")
        return webob.Response(status=204)

    def override(self, request: Request, upload_id: str) -> webob.Response:
        """Core protocol, X-HTTP-Method-Override: for clients that can only send POST."""
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


def parse_metadata(text: str | None) -> dict[str, str]:
    """Upload-Metadata: keys, each with a value in Base64 unless it is empty. Raises BadHeader."""
    metadata: dict[str, str] = {}
    for pair in (text or "").split(","):
        key, _, value = pair.strip().partition(" ")
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except ValueError as error:
            problem = "each value must be text, encoded in Base64"
            raise errors.BadHeader(header="Upload-Metadata", problem=problem) from error
        if key in metadata or (not key and text):
            problem = "each key must be unique and not be empty"
            raise errors.BadHeader(header="Upload-Metadata", problem=problem)
        if key:
            metadata[key] = decoded
    return metadata


def _typed(fields: Mapping[str, str]) -> dict[str, Any]:
    """Attributes with the types that POST /v2/images requires; metadata contains only text."""
    typed: dict[str, Any] = dict(fields)
    for name in ("min_disk", "min_ram"):
        if fields.get(name, "").isdecimal():
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


def _length(request: Request) -> int | None:
    return headers.digits("Upload-Length", request.headers.get("Upload-Length") or None)


def _check_content_type(request: Request) -> None:
    if request.content_type != OFFSET_OCTETS:
        raise errors.UnsupportedMediaType(accepted=OFFSET_OCTETS)


def _checksum(request: Request) -> dict[str, bytes]:
    """The digest of Upload-Checksum by its algorithm. Raises BadHeader."""
    text = request.headers.get("Upload-Checksum")
    if not text:
        return {}
    algorithm, _, value = text.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        problem = f"the algorithm must be one of {', '.join(CHECKSUMS)}"
        raise errors.BadHeader(header="Upload-Checksum", problem=problem)
    try:
        return {algorithm: base64.b64decode(value, validate=True)}
    except ValueError as error:
        problem = "the digest must be encoded in Base64"
        raise errors.BadHeader(header="Upload-Checksum", problem=problem) from error


def _state(upload: Upload) -> dict[str, str]:
    expires = {"Upload-Expires": formatdate(upload.expires, usegmt=True)}
    return {
        "Upload-Offset": str(upload.offset),
        **(expires if upload.state is UploadState.OPEN else {}),
    }
