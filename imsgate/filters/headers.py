"""Malformed and contradictory headers are refused before a byte of the body is read.

::

    [filter:headers]
    use = egg:imsgate#headers

Before everything that believes a header. The rules about framing are those of
RFC 9112 section 6, strictly: what two servers could read in two ways is how
requests are smuggled past one of them.
"""

from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.filters import base
from imsgate.http import headers
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp

OCTET_STREAM = "application/octet-stream"


class Headers(base.Filter):
    NAME = "headers"
    OPTS = (
        cfg.IntOpt(
            "max_json_size",
            default=1 << 20,
            min=1,
            help="The longest JSON document a metadata call may announce, in bytes.",
        ),
        base.REQUESTS,
    )

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings)

    def check(self, request: Request) -> None:
        self._control_characters(request)
        length = request.body_length
        if request.is_one_of(self._images):
            self._image(request, length)
        elif length is not None and length > self.settings.max_json_size:
            raise errors.TooLarge(limit=self.settings.max_json_size)
        headers.byte_range(
            request.environ.get("HTTP_RANGE"), request.environ.get("HTTP_CONTENT_RANGE")
        )

    @staticmethod
    def _control_characters(request: Request) -> None:
        for name in ("PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH"):
            if headers.has_control(request.environ.get(name, "")):
                raise errors.BadRequest(
                    problem="the request line or a header holds a control character"
                )
        for name, value in request.environ.items():
            # keystonemiddleware leaves None where a token has no such attribute.
            if name.startswith("HTTP_") and value is not None and headers.has_control(value):
                field = name[5:].replace("_", "-").title()
                raise errors.BadHeader(header=field, problem="it holds a control character")

    @staticmethod
    def _image(request: Request, length: int | None) -> None:
        kind = request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if kind != OCTET_STREAM:
            raise errors.UnsupportedMediaType(accepted=OCTET_STREAM)
        _ = request.store_id  # raises for an invalid one
        announced = request.announced_size
        if announced is not None and length is not None and announced != length:
            raise errors.SizeMismatch(announced=announced, received=length)


filter_factory = base.filter_factory(Headers)
