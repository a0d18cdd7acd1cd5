"""Puts chunked image data under uWSGI where both filters and Glance find it.

::

    [filter:chunked]
    use = egg:imsgate#chunked

The first filter in a pipeline of Glance that has ``sniff``, ``sizelimit`` or ``pace``. uWSGI does
not decode chunked bodies in ``wsgi.input``. Glance 33 therefore takes them from
``uwsgi.chunked_read``, past all filters, if the request has the header Transfer-Encoding. This
filter puts the decoded body into ``wsgi.input`` and removes the header from what follows, so that
Glance reads ``wsgi.input`` as well. Under other servers, and for other requests, it does nothing.
"""

import importlib
from collections.abc import Callable
from typing import Any

from imsgate.filters import base
from imsgate.http.request import Request
from imsgate.http.uwsgi import ChunkedStream
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

OPTS = (base.REQUESTS,)


class ChunkedSettings(Settings, group="chunked", opts=OPTS):
    requests: str


class Chunked(base.Filter[ChunkedSettings]):
    NAME = "chunked"
    OPTS = OPTS
    SETTINGS = ChunkedSettings

    def __init__(self, app: WsgiApp, settings: ChunkedSettings) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings.requests)
        self._read_chunk = _chunked_read()

    def check(self, request: Request) -> None:
        environ = request.environ
        if (
            self._read_chunk is not None
            and request.is_one_of(self._images)
            and environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
            and not environ.get("CONTENT_LENGTH")  # with both, "headers" refuses the request
            and not environ.get("wsgi.input_terminated")
        ):
            del environ["HTTP_TRANSFER_ENCODING"]
            environ["wsgi.input"] = ChunkedStream(self._read_chunk)
            environ["wsgi.input_terminated"] = True


def _chunked_read() -> Callable[[], bytes] | None:
    """uWSGI's function; None under any other server."""
    try:
        uwsgi: Any = importlib.import_module("uwsgi")
    except ImportError:  # it exists only inside that server
        return None
    read: Callable[[], bytes] | None = getattr(uwsgi, "chunked_read", None)
    return read


filter_factory = base.filter_factory(Chunked)
