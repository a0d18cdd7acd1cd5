"""Looks at the first bytes of an image as they pass.

::

    [filter:sniff]
    use = egg:imsgate#sniff

Behind ``sizelimit`` and before the application. It detects the format by
content, never by label, refuses what is unsafe as soon as the deciding bytes
are in, and leaves the inspection for the application, which may declare the
format it expects and finds the virtual size there afterwards.
"""

from typing import Any

from imsgate import wsgi
from imsgate.filters import base
from imsgate.formats import gate
from imsgate.wsgi import Request, WsgiApp


class Sniff(base.TappingFilter):
    NAME = "sniff"

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        self._gate = gate.Gate()

    def check(self, request: Request) -> None:
        if request.carries_image:
            inspection = self._gate.begin()
            request.environ[wsgi.INSPECTION] = inspection
            request.tap(inspection)


filter_factory = base.filter_factory(Sniff)
