"""Pages of other origins that may use this service: oslo.middleware's ``CORS``, at home here.

::

    [filter:cors]
    use = egg:imsgate#cors

Behind ``faults`` and before all that answer. With ``[cors] allowed_origin`` it answers the
question that a browser asks before a request (OPTIONS), for which nobody has a token, and tells
the browser of every other answer that the page may read it; without, which is the default, it is
not there at all.
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

#: Names as in oslo.middleware, whose help does not say that nothing is done by default; defaults as
#: in Glance.
OPTS: Sequence[cfg.Opt] = (
    cfg.ListOpt(
        "allowed_origin",
        help="The origins whose pages may use this service, each as https://horizon.example "
        "without a slash at its end; * for all. Without any the filter does nothing.",
    ),
    cfg.BoolOpt(
        "allow_credentials",
        default=True,
        help="Whether browsers may send cookies and the like with a request.",
    ),
    cfg.ListOpt(
        "expose_headers",
        default=(
            "X-Image-Meta-Checksum X-Auth-Token X-Subject-Token X-Service-Token "
            "X-OpenStack-Request-ID"
        ).split(),
        help="Response headers that a page may read, other than the simple ones.",
    ),
    cfg.IntOpt(
        "max_age",
        default=3600,
        help="Seconds for which a browser need not ask again.",
    ),
    cfg.ListOpt(
        "allow_methods",
        default="GET PUT POST DELETE PATCH".split(),
        help="Methods that a page may use.",
    ),
    cfg.ListOpt(
        "allow_headers",
        default=(
            "Content-MD5 X-Image-Meta-Checksum X-Storage-Token Accept-Encoding X-Auth-Token "
            "X-Identity-Status X-Roles X-Service-Catalog X-User-Id X-Tenant-Id "
            "X-OpenStack-Request-ID"
        ).split(),
        help="Request headers that a page may send, other than the simple ones.",
    ),
)


class Cors(base.Filter):
    NAME = "cors"
    OPTS = OPTS

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        self._oslo = cors.CORS(app, cfg.ConfigOpts())
        self._oslo.add_origin(**vars(settings))

    def check(self, request: Request) -> None:
        pass

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_ORIGIN" not in request.environ:
            return super().forward(request, start_response)
        if request.method == "OPTIONS":
            permission = self._oslo.process_response(webob.Response(), request)
            answer: Iterable[bytes] = permission(request.environ, start_response)
            return answer

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            told = webob.Response(status=status, headerlist=[*headers], app_iter=())
            self._oslo.process_response(told, request)
            return start_response(status, told.headerlist, *exc_info)

        return self.app(request.environ, start)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``."""
    settings = config.load(global_conf).section(Cors.NAME, OPTS, local_conf)
    if settings.allowed_origin:
        return lambda app: Cors(app, settings)
    return lambda app: app
