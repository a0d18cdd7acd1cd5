"""Which requests are passed on, and with what body.

An image must not reach upstream in a form that the filters do not inspect: in parts, by an older
API, or at a path that only upstream understands.
"""

import re

from imsgate import errors
from imsgate.http.body import Limit
from imsgate.http.request import UPLOAD_REQUESTS, Request

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_JSON = re.compile(r"application/([\w.+-]+[+-])?json(-patch)?", re.IGNORECASE)
_MAX_DOCUMENT_BYTES = 1 << 20


def carries_image(request: Request, images: re.Pattern[str]) -> bool:
    """Whether the body is a whole image. Raises an error for requests that are not passed on."""
    if request.method not in METHODS:
        allowed = ", ".join(METHODS)
        raise errors.MethodNotAllowed(allowed=allowed, headers={"Allow": allowed})
    if request.codings and _has_body(request):
        # The filters would inspect the compressed data, and upstream decompress it.
        raise errors.UnsupportedCoding(accepted="identity")
    if request.is_one_of(images):
        if request.environ.get("HTTP_UPLOAD_COMPLETE", "?1").strip() != "?1":
            problem = "this service accepts an image in one request only"
            raise errors.BadHeader(header="Upload-Complete", problem=problem)
        return _has_body(request)
    if request.is_one_of(UPLOAD_REQUESTS):
        raise errors.NoRoute(what="The resource")
    return False


def document(request: Request) -> bytes:
    """The body of any other request.

    Raises UnsupportedMediaType unless it is JSON, TooLarge, and what reading raises.
    """
    if not _has_body(request):
        return b""
    media_type = request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip()
    if not _JSON.fullmatch(media_type):
        raise errors.UnsupportedMediaType(accepted="application/json")
    request.tap(Limit(_MAX_DOCUMENT_BYTES))
    return request.reader().read()


def image_length(request: Request, chunked: bool) -> int | None:
    """The size of the image in bytes; None if its body has to be chunked.

    Raises LengthRequiredUpstream unless that is allowed.
    """
    length = request.body_length
    if length is None or request.encoded is not None:
        length = request.announced_size
    if length is None and not chunked:
        raise errors.LengthRequiredUpstream
    return length


def _has_body(request: Request) -> bool:
    return not request.body_is_empty or request.encoded is not None
