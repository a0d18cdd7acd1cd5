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

import re
from typing import Any

from oslo_config import cfg

from imsgate import errors, gating, wsgi
from imsgate.filters import base
from imsgate.wsgi import Request, WsgiApp


class Sniff(base.TappingFilter):
    NAME = gating.GROUP
    OPTS = (
        cfg.StrOpt(
            "requests",
            # Glance takes the version from the header Accept too.
            default="PUT (/v2)?/images/[^/]+/(file|stage)/?",
            help="Regular expression of the requests whose body is an image: method, space, path "
            "(with /v2 for /v2.5, and one slash for several).",
        ),
        cfg.StrOpt(
            "disk_format_header",
            default="X-Image-Meta-Disk-Format",
            help="Request header in which a client may declare the format; empty for none. What "
            "the application declares counts instead.",
        ),
        *gating.OPTS,
    )

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        self._gate = gating.shared(settings)
        self._header = settings.disk_format_header
        try:
            self._requests = re.compile(settings.requests)
        except re.error as error:
            raise errors.BadConfig("sniff.requests", str(error)) from error

    def check(self, request: Request) -> None:
        if self._requests.fullmatch(f"{request.method} {request.route}"):
            declared = request.headers.get(self._header) if self._header else None
            inspection = self._gate.begin(declared)
            request.environ[wsgi.INSPECTION] = inspection
            request.tap(inspection)


filter_factory = base.filter_factory(Sniff)
