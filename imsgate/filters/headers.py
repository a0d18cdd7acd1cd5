"""Refuses malformed and contradictory headers before a byte of the body is read.

::

    [filter:headers]
    use = egg:imsgate#headers

Before every filter that trusts a header. Framing must be strictly as in RFC 9112 section 6,
because a request that two servers could read differently can be smuggled past one of them.
"""

from oslo_config import cfg

from imsgate import errors
from imsgate.filters import base
from imsgate.http import headers
from imsgate.http.request import Request
from imsgate.http.upload_headers import PARTIAL_UPLOAD
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

OCTET_STREAM = "application/octet-stream"

OPTS = (
    cfg.IntOpt(
        "max_json_size",
        default=1 << 20,
        min=1,
        help="The largest Content-Length of a request whose body is not image data, in bytes.",
    ),
    base.REQUESTS,
)


class HeadersSettings(Settings, group="headers", opts=OPTS):
    max_json_size: int
    requests: str


class Headers(base.TappingFilter[HeadersSettings]):
    NAME = "headers"
    OPTS = OPTS
    SETTINGS = HeadersSettings

    def __init__(self, app: WsgiApp, settings: HeadersSettings) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings.requests)

    def check(self, request: Request) -> None:
        self._check_control_characters(request)
        length = request.body_length
        if request.is_one_of(self._images):
            self._check_image(request, length)
        elif length is not None and length > self.settings.max_json_size:
            # Refused when it is read: a path that does not exist is 404 whatever its body.
            request.reader().refuse(errors.TooLarge(limit=self.settings.max_json_size))
        content_range = request.environ.get("HTTP_CONTENT_RANGE")
        if request.carries_image and content_range and not headers.is_whole(content_range):
            # RFC 9110 section 14.5. Glance would store a part of the image as all of it.
            problem = "an upload has all of the image; begin with Upload-Complete to send parts"
            raise errors.BadHeader(header="Content-Range", problem=problem)

    @staticmethod
    def _check_control_characters(request: Request) -> None:
        for name in ("PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH"):
            if headers.has_control(request.environ.get(name, "")):
                raise errors.BadRequest(
                    problem="the request line or a header contains a control character"
                )
        for name, value in request.environ.items():
            # keystonemiddleware sets None for an attribute that the token does not have.
            if name.startswith("HTTP_") and value is not None and headers.has_control(value):
                field = name[5:].replace("_", "-").title()
                raise errors.BadHeader(header=field, problem="it contains a control character")

    @staticmethod
    def _check_image(request: Request, length: int | None) -> None:
        media_type = request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        accepted = (
            OCTET_STREAM,
            *((PARTIAL_UPLOAD,) if "HTTP_UPLOAD_COMPLETE" in request.environ else ()),
        )
        # Only the application knows the protocol to which a part belongs.
        if request.carries_image and media_type not in accepted:
            raise errors.UnsupportedMediaType(accepted=OCTET_STREAM)
        _ = request.store_id  # raises BadHeader
        announced = request.announced_size
        if request.codings:  # Content-Length is not the size of the image
            return
        if announced is not None and length is not None and announced != length:
            raise errors.SizeMismatch(announced=announced, received=length)


filter_factory = base.filter_factory(Headers)
