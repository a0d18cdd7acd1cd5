"""Frees the threads of clients that send or receive too slowly, and limits simultaneous transfers.

::

    [filter:pace]
    use = egg:imsgate#pace

Before the first filter that may read a body. Time limits need the socket of the connection, which
gunicorn provides; behind other servers, their own time limits apply. The timeout of the socket also
limits how long the response waits for the client, after this filter has returned. gunicorn sets
its own timeout before the next request.
"""

import contextlib
import functools
import re
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.filters import base, outgoing
from imsgate.filters.places import Places, Slots, client_of
from imsgate.filters.watchdog import Watchdog
from imsgate.http.body import Tapped
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

#: The minimum number of places for bodies that are not uploads, and for responses that are not
#: downloads. Otherwise it is a quarter of that for image data.
_FEWEST_OTHERS = 4

OPTS = (
    cfg.IntOpt(
        "minimum_rate",
        mutable=True,
        default=4096,
        min=0,
        help="The lowest rate at which a client may send a body or receive a response, in bytes "
        "per second. Each read (64 KiB of an upload), and each 64 KiB of a response, may take 30 "
        "seconds longer than the rate allows. 0 means no limit.",
    ),
    cfg.IntOpt(
        "idle_timeout",
        mutable=True,
        default=60,
        min=0,
        help="Seconds after which the connection is closed if the client sends nothing more of its "
        "body, or receives nothing more of its response (the next MiB, if the store is not local). "
        "0 means never.",
    ),
    cfg.IntOpt(
        "uploads_at_once",
        mutable=True,
        default=96,
        min=1,
        help="The most uploads that one process receives at the same time. Another one ends the "
        "slowest upload below minimum_rate, preferably one of a client (address) that has more "
        "than its share, or gets a 503 response if there is none. Other requests that wait for the "
        "rest of their bodies have a quarter as many places, and at least 4. Set it so low that "
        "both together are fewer than `imsgate serve --threads`, so that threads remain for other "
        "requests.",
    ),
    cfg.IntOpt(
        "downloads_at_once",
        mutable=True,
        default=96,
        min=1,
        help="The most downloads of image data that one process sends at the same time; others "
        "get a 503 response. Other responses of more than 16 KiB have a quarter as many places "
        "(at least 4), where the slowest below minimum_rate gives way. Set it lower than `imsgate "
        "serve --threads`, so that threads remain for other requests.",
    ),
    base.REQUESTS,
    cfg.StrOpt(
        "download_requests",
        default="GET (/v2)?/images/[^/]+/file/?",
        help="Regular expression for the requests whose response is image data, as in requests.",
    ),
)


class PaceSettings(Settings, group="pace", opts=OPTS):
    minimum_rate: int
    idle_timeout: int
    uploads_at_once: int
    downloads_at_once: int
    requests: str
    download_requests: str


class Pace(base.TappingFilter[PaceSettings]):
    NAME = "pace"
    OPTS = OPTS
    SETTINGS = PaceSettings

    def __init__(self, app: WsgiApp, settings: PaceSettings) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings.requests)
        self._downloads = _compiled_downloads(settings)
        self._downloading = Slots(lambda: settings.downloads_at_once, errors.BusyDownloads)

        def rate() -> int:
            return settings.minimum_rate

        self._places = Places(lambda: settings.uploads_at_once, rate)
        self._other_places = Places(
            lambda: max(_FEWEST_OTHERS, settings.uploads_at_once // 4), rate, errors.BusyBodies
        )
        self._response_places = Places(
            lambda: max(_FEWEST_OTHERS, settings.downloads_at_once // 4),
            rate,
            errors.BusyResponses,
        )
        self._watchdog = Watchdog(rate, self._measure)

    def _measure(self, now: float) -> None:
        self._places.measure(now)
        self._other_places.measure(now)
        self._response_places.measure(now)

    def check(self, request: Request) -> None:
        pass

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = request.environ.get("gunicorn.socket")
        if connection is not None:
            connection.settimeout(self.settings.idle_timeout or None)
        is_download = request.is_one_of(self._downloads)
        with contextlib.ExitStack() as until_sent:
            if is_download:
                until_sent.enter_context(self._downloading.slot())
            with contextlib.ExitStack() as until_received:
                self._watch_body(request, connection, until_received)
                chunks = self._call(request, start_response)
            if outgoing.is_buffered(chunks):
                return chunks
            if connection is not None:
                if not is_download:
                    self._take_response_place(request, connection, until_sent, chunks)
                until_sent.enter_context(self._watchdog.watch_response(connection))
            return outgoing.until_sent(chunks, until_sent.pop_all().close)

    def _watch_body(
        self,
        request: Request,
        connection: socket.socket | None,
        until_received: contextlib.ExitStack,
    ) -> None:
        """Takes one of the places for uploads if this is one. Raises Busy if there is none.

        Another request has one of the other places during each read that waits for its client.
        """
        body = _body(request)
        if request.is_one_of(self._images):
            until_received.enter_context(self._places.held(request, body, connection))
        elif body is not None:
            body.turn = functools.partial(self._other_places.held, request, body, connection)
        if connection is not None and body is not None:
            until_received.enter_context(self._watchdog.watch(body, connection))

    def _take_response_place(
        self,
        request: Request,
        connection: socket.socket,
        until_sent: contextlib.ExitStack,
        chunks: Iterable[bytes],
    ) -> None:
        places = self._response_places
        try:
            place = places.take_response(client_of(request), connection, time.monotonic())
        except errors.Busy:
            if hasattr(chunks, "close"):
                chunks.close()
            raise
        if place is not None:
            until_sent.callback(places.leave, place)

    def _call(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ, key = request.environ, "wsgi.file_wrapper"
        if key not in environ:
            return super().forward(request, start_response)
        wrapper = environ[key]
        environ[key] = outgoing.file_wrapper(wrapper)
        try:
            return super().forward(request, start_response)
        finally:
            # The server checks whether the response is an object of its own wrapper.
            environ[key] = wrapper


def _body(request: Request) -> Tapped | None:
    """The body; None if it is empty. Later filters refuse one that cannot be read."""
    with contextlib.suppress(errors.Error):
        body = request.reader()
        return None if body.length == 0 else body
    return None


def _compiled_downloads(settings: PaceSettings) -> re.Pattern[str]:
    try:
        return re.compile(settings.download_requests)
    except re.error as error:
        raise errors.BadConfig("pace.download_requests", str(error)) from error


filter_factory = base.filter_factory(Pace)
