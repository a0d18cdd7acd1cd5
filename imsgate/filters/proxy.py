"""The client's address, host and scheme behind a reverse proxy: oslo.middleware's
``HTTPProxyToWSGI`` as a filter of imsgate.

::

    [filter:proxy]
    use = egg:imsgate#proxy

After ``faults`` and before all others. With ``[oslo_middleware] enable_proxy_headers_parsing`` it
takes the client's address, the host and the scheme from ``Forwarded`` or ``X-Forwarded-For``,
``-Host`` and ``-Proto``, and prepends ``X-Forwarded-Prefix`` to ``SCRIPT_NAME``. By default the
option is false, and the filter is not in the pipeline at all.
"""

from collections.abc import Callable, Sequence

from oslo_config import cfg
from oslo_middleware import http_proxy_to_wsgi

from imsgate import config
from imsgate.config import Section
from imsgate.filters import base
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp

GROUP = "oslo_middleware"
#: Those of the installed oslo.middleware, whose releases may add some: hence no typed record.
OPTS: Sequence[cfg.Opt] = http_proxy_to_wsgi.OPTS
_SWITCH = "enable_proxy_headers_parsing"


class Proxy(base.Filter[Section]):
    NAME = "proxy"

    def __init__(self, app: WsgiApp, settings: Section) -> None:
        super().__init__(app, settings)
        own_conf = cfg.ConfigOpts()
        self._oslo = http_proxy_to_wsgi.HTTPProxyToWSGI(app, own_conf)
        own_conf.set_override(_SWITCH, True, group=GROUP)

    def check(self, request: Request) -> None:
        self._oslo.process_request(request)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``. Raises BadConfig."""
    settings = config.load(global_conf).section(GROUP, OPTS, local_conf)
    if getattr(settings, _SWITCH):
        return lambda app: Proxy(app, settings)
    return lambda app: app
