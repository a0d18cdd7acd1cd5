"""Who the client is, behind a reverse proxy: oslo.middleware's ``HTTPProxyToWSGI``, at home here.

::

    [filter:proxy]
    use = egg:imsgate#proxy

Behind ``faults`` and before all others. With ``[oslo_middleware] enable_proxy_headers_parsing``
it takes scheme, host and address from ``Forwarded`` or ``X-Forwarded-*``; without, which is the
default, it is not there at all.
"""

from collections.abc import Callable, Sequence
from typing import Any

from oslo_config import cfg
from oslo_middleware import http_proxy_to_wsgi

from imsgate import config
from imsgate.filters import base
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp

GROUP = "oslo_middleware"
OPTS: Sequence[cfg.Opt] = http_proxy_to_wsgi.OPTS
_SWITCH = "enable_proxy_headers_parsing"


class Proxy(base.Filter):
    NAME = "proxy"

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        own = cfg.ConfigOpts()
        self._oslo = http_proxy_to_wsgi.HTTPProxyToWSGI(app, own)
        own.set_override(_SWITCH, True, group=GROUP)

    def check(self, request: Request) -> None:
        self._oslo.process_request(request)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``."""
    settings = config.load(global_conf).section(GROUP, OPTS, local_conf)
    if getattr(settings, _SWITCH):
        return lambda app: Proxy(app, settings)
    return lambda app: app
