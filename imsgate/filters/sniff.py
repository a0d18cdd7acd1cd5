"""Inspects image data while the application reads it, and refuses unsafe images.

::

    [filter:sniff]
    use = egg:imsgate#sniff

After ``sizelimit`` and before the application. It also works alone in front of any WSGI
application that receives images (Glance or, with ``requests`` set, any other). It detects the
format by the content, never by a label, and refuses an unsafe image as soon as it has seen the
bytes that prove it: the application's read fails, and the client gets this filter's response
whatever the application does.

The application finds the inspection in its environ as ``imsgate.inspection``. Before its first
read it may declare the format that it expects there; after the last read it finds the format and
virtual size there. A client may declare the format in a header. For an application that does not
know this filter, such as Glance, ``ask_record`` takes the format from the image's record.
"""

from oslo_config import cfg

from imsgate import inspection
from imsgate.filters import base, record
from imsgate.formats.names import Declaration
from imsgate.http.request import INSPECTION, Request
from imsgate.http.wsgi import WsgiApp

OPTS = (
    base.WHOLE_REQUESTS,
    cfg.StrOpt(
        "disk_format_header",
        default="X-Image-Meta-Disk-Format",
        help="Request header in which a client may declare the format; empty for none. A format "
        "that the application declares takes precedence.",
    ),
    cfg.BoolOpt(
        "ask_record",
        default=False,
        help="Ask the application for the record of the image before each upload (GET "
        "/v2/images/{id}, for the same user) and require the format that it names. For Glance, "
        "which does not declare the format to this filter.",
    ),
    *inspection.OPTS,
)


class SniffSettings(inspection.InspectionSettings, group=inspection.GROUP, opts=OPTS):
    requests: str
    disk_format_header: str
    ask_record: bool


class Sniff(base.TappingFilter[SniffSettings]):
    NAME = inspection.GROUP
    OPTS = OPTS
    SETTINGS = SniffSettings

    def __init__(self, app: WsgiApp, settings: SniffSettings) -> None:
        super().__init__(app, settings)
        self._inspector = inspection.shared(settings)
        self._header = settings.disk_format_header
        self._images = base.image_requests(self.NAME, settings.requests)

    def check(self, request: Request) -> None:
        if request.is_one_of(self._images):
            declared: Declaration | str | None
            declared = request.headers.get(self._header) if self._header else None
            if self.settings.ask_record:
                declared = record.declared_format(self.app, request.environ) or declared
            tap = self._inspector.begin(declared)
            request.environ[INSPECTION] = tap
            request.tap(tap)


filter_factory = base.filter_factory(Sniff)
