"""Web pages of other origins that may use this service: oslo.middleware's ``CORS`` as a filter of
imsgate.

::

    [filter:cors]
    use = egg:imsgate#cors

After ``faults`` and before every filter that responds. With ``[cors] allowed_origin`` it answers
the preflight request (OPTIONS) of a browser, which never contains a token, and adds the headers to
every other response that let the page read it. By default no origin is allowed, and the filter is
not in the pipeline at all.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import webob
from oslo_config import cfg
from oslo_middleware import cors

from imsgate import config
from imsgate.filters import base
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

#: Names as in oslo.middleware, whose help does not mention that the filter does nothing by default.
#: Defaults as in Glance, and the headers of resumable uploads.
OPTS: Sequence[cfg.Opt] = (
    cfg.ListOpt(
        "allowed_origin",
        help="The origins whose pages may use this service, such as https://horizon.example "
        "without a trailing slash; * allows all. If unset, the filter does nothing.",
    ),
    cfg.BoolOpt(
        "allow_credentials",
        default=True,
        help="Whether browsers may send credentials such as cookies with a request.",
    ),
    cfg.ListOpt(
        "expose_headers",
        default=(
            "X-Image-Meta-Checksum X-Auth-Token X-Subject-Token X-Service-Token "
            "X-OpenStack-Request-ID Location Upload-Offset Upload-Length Upload-Complete "
            "Upload-Limit Upload-Expires Upload-Metadata Upload-Defer-Length Tus-Resumable "
            "Tus-Version Tus-Max-Size Tus-Extension Tus-Checksum-Algorithm Repr-Digest"
        ).split(),
        help="Response headers that a page may read in addition to the safelisted ones.",
    ),
    cfg.IntOpt(
        "max_age",
        default=3600,
        help="Seconds for which a browser may cache the response to a preflight request.",
    ),
    cfg.ListOpt(
        "allow_methods",
        default="GET PUT POST DELETE PATCH HEAD".split(),
        help="Methods that a page may use.",
    ),
    cfg.ListOpt(
        "allow_headers",
        default=(
            "Content-MD5 X-Image-Meta-Checksum X-Storage-Token Accept-Encoding X-Auth-Token "
            "X-Identity-Status X-Roles X-Service-Catalog X-User-Id X-Tenant-Id "
            "X-OpenStack-Request-ID Upload-Offset Upload-Length Upload-Complete Upload-Metadata "
            "Upload-Defer-Length Upload-Checksum Upload-Draft-Interop-Version Tus-Resumable "
            "X-HTTP-Method-Override Content-Digest Repr-Digest Want-Repr-Digest"
        ).split(),
        help="Request headers that a page may send in addition to the safelisted ones.",
    ),
)


class CorsSettings(Settings, group="cors", opts=OPTS):
    allowed_origin: list[str] | None
    allow_credentials: bool
    expose_headers: list[str]
    max_age: int
    allow_methods: list[str]
    allow_headers: list[str]


class Cors(base.Filter[CorsSettings]):
    NAME = "cors"
    OPTS = OPTS
    SETTINGS = CorsSettings

    def __init__(self, app: WsgiApp, settings: CorsSettings) -> None:
        super().__init__(app, settings)
        self._oslo = cors.CORS(app, cfg.ConfigOpts())
        self._oslo.add_origin(**vars(settings))

    def check(self, request: Request) -> None:
        pass

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_ORIGIN" not in request.environ:
            return super().forward(request, start_response)
        if request.method == "OPTIONS":
            preflight = self._oslo.process_response(webob.Response(), request)
            chunks: Iterable[bytes] = preflight(request.environ, start_response)
            return chunks

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            response = webob.Response(status=status, headerlist=[*headers], app_iter=())
            self._oslo.process_response(response, request)
            return start_response(status, response.headerlist, *exc_info)

        return self.app(request.environ, start)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``. Raises BadConfig."""
    settings = config.load(global_conf).read(CorsSettings, local_conf)
    if settings.allowed_origin:
        return lambda app: Cors(app, settings)
    return lambda app: app
