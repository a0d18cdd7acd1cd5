"""Looks at the bytes of an image as they pass, and ends the body when they are bad.

::

    [filter:sniff]
    use = egg:imsgate#sniff

Behind ``sizelimit`` and before the application; also alone in front of any WSGI
application that takes images (Glance, or with ``requests`` set any other). It
detects the format by content, never by label, and refuses what is unsafe as soon
as the deciding bytes are in: the application's read fails, and the client gets
this filter's answer whatever the application makes of that.

The application finds the inspection in its environ as ``imsgate.inspection``. It
may declare the format it expects there before its first read, and finds format and
virtual size there afterwards. A client may declare it in a header.
"""

from typing import Any

from oslo_config import cfg

from imsgate import inspection
from imsgate.filters import base
from imsgate.http.request import INSPECTION, Request
from imsgate.http.wsgi import WsgiApp


class Sniff(base.TappingFilter):
    NAME = inspection.GROUP
    OPTS = (
        base.REQUESTS,
        cfg.StrOpt(
            "disk_format_header",
            default="X-Image-Meta-Disk-Format",
            help="Request header in which a client may declare the format; empty for none. What "
            "the application declares counts instead.",
        ),
        *inspection.OPTS,
    )

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        self._gate = inspection.shared(settings)
        self._header = settings.disk_format_header
        self._requests = base.image_requests(self.NAME, settings)

    def check(self, request: Request) -> None:
        if request.is_one_of(self._requests):
            declared = request.headers.get(self._header) if self._header else None
            inspection = self._gate.begin(declared)
            request.environ[INSPECTION] = inspection
            request.tap(inspection)


filter_factory = base.filter_factory(Sniff)
