"""Decompresses image data that comes with a Content-Encoding: gzip, or zstd.

A whole image may be compressed, or the content of each request that continues a resumable
upload.

::

    [filter:encoding]
    use = egg:imsgate#encoding

After ``headers`` and before ``sizelimit`` and ``sniff``, so that these and the application get
the image itself: its bytes in ``wsgi.input``, up to the end of the stream
(``wsgi.input_terminated``), and neither Content-Encoding nor Content-Length. Filters before this
one see what the client sends. ``sizelimit`` limits both.

Without backports.zstd (``imsgate[zstd]``) only gzip is accepted. The response to OPTIONS names
the codings, and so does the refusal of another one (RFC 9110 section 15.5.16).
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.compression import Compression, DecompressedStream, compression
from imsgate.filters import base
from imsgate.http.body import Tapped
from imsgate.http.request import ENCODED, IMAGE_REQUESTS, Request
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

OPTS = (
    cfg.IntOpt(
        "max_ratio",
        mutable=True,
        default=0,
        min=0,
        help="The largest allowed ratio of decompressed to compressed size, beyond the first "
        "64 MiB of decompressed data. 0 means no limit except that of [sizelimit] and quotas: "
        "an empty disk compresses to a 1000th with gzip and to a 32000th with zstd.",
    ),
    cfg.StrOpt(
        "requests",
        default=f"{IMAGE_REQUESTS}|PATCH (/v2)?/images/[^/]+/upload/?",
        help="Regular expression for the requests whose body is decompressed. It must match the "
        "whole of method, space and path. In the path, /v2.5 is replaced by /v2, and several "
        "slashes in a row by one.",
    ),
)

#: The largest window that a sender of zstd may use (RFC 9659), and all that a decoder keeps.
_MEMORY_BYTES = 8 << 20
#: RFC 9110 section 8.4.1.3: a recipient should treat it as gzip.
_ALIASES = {"x-gzip": "gzip"}
#: Methods that ``requests`` may name.
_METHODS = ("PUT", "POST", "PATCH")
_REMOVED = ("HTTP_CONTENT_ENCODING", "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")


class EncodingSettings(Settings, group="encoding", opts=OPTS):
    max_ratio: int
    requests: str


class Encoding(base.TappingFilter[EncodingSettings]):
    NAME = "encoding"
    OPTS = OPTS
    SETTINGS = EncodingSettings

    def __init__(self, app: WsgiApp, settings: EncodingSettings) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings.requests)
        self._codings = _codings()
        self._accepted = ", ".join(self._codings)

    def check(self, request: Request) -> None:
        pass

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_CONTENT_ENCODING" in request.environ and request.is_one_of(self._images):
            coding = self._coding(request)
            if coding is not None:
                return super().forward(self._decoded(request, coding), start_response)
        elif request.method == "OPTIONS" and self._takes_images(request):
            start_response = self._announcing(start_response)
        return self.app(request.environ, start_response)

    def _coding(self, request: Request) -> Compression | None:
        """Raises UnsupportedCoding for an unknown coding, and for several."""
        names = [_ALIASES.get(name, name) for name in request.codings]
        if not names:
            return None
        if len(names) > 1 or names[0] not in self._codings:
            raise errors.UnsupportedCoding(accepted=self._accepted)
        return self._codings[names[0]]

    def _decoded(self, request: Request, coding: Compression) -> Request:
        """The request without its coding, with an environ of its own."""
        encoded = request.reader()
        stream = DecompressedStream(
            coding,
            encoded.read,
            lambda problem, _: errors.BadCoding(coding=coding.name, problem=problem),
            max_ratio=self.settings.max_ratio,
            padding=False,
        )
        environ = {key: value for key, value in request.environ.items() if key not in _REMOVED}
        environ[ENCODED] = encoded
        environ["wsgi.input"] = Tapped(stream, None)
        environ["wsgi.input_terminated"] = True
        return Request(environ)

    def _takes_images(self, request: Request) -> bool:
        return any(self._images.fullmatch(f"{method} {request.route}") for method in _METHODS)

    def _announcing(self, start_response: Callable[..., Any]) -> Callable[..., Any]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(
                status, [*headers, ("Accept-Encoding", self._accepted)], *exc_info
            )

        return start


def _codings() -> dict[str, Compression]:
    """Those whose libraries are installed."""
    codings = {"gzip": compression("gzip", _MEMORY_BYTES)}
    with contextlib.suppress(ImportError):
        codings["zstd"] = compression("zstd", _MEMORY_BYTES)
    return codings


filter_factory = base.filter_factory(Encoding)
