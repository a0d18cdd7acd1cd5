"""Frees the threads of clients that send or receive too slowly, and limits simultaneous transfers.

::

    [filter:pace]
    use = egg:imsgate#pace

Before the first filter that may read a body. A read waits for its client inside the server, and so
does a write, so one thread of the process watches all of them. It ends one by shutting the
connection down. That needs the socket of the connection, which gunicorn provides; behind other
servers, their own time limits apply. How much of a response the client has taken is known by the
kernel alone, because the server may send a file with sendfile. The timeout of the socket also
limits how long the response waits for the client, after this filter has returned. gunicorn sets
its own timeout before the next request.
"""

import contextlib
import functools
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.filters import base
from imsgate.filters.places import Places, client_of
from imsgate.http.body import Tapped
from imsgate.http.connection import Progress, has_unsent, transferred
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

LOG = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKS = 1.0
#: Places for other bodies than uploads, and for other responses than downloads, if a quarter of
#: those for image data is less.
_FEWEST_OTHERS = 4
#: A response of this size fits into the buffers of a connection: no thread waits for its client.
_BUFFERED_BYTES = 1 << 14

OPTS = (
    cfg.IntOpt(
        "minimum_rate",
        default=4096,
        min=0,
        help="The lowest rate at which a client may send a body or receive a response, in bytes "
        "per second. Each read (64 KiB of an upload), and each 64 KiB of a response, may take 30 "
        "seconds longer than the rate allows. 0 means no limit.",
    ),
    cfg.IntOpt(
        "idle_timeout",
        default=60,
        min=0,
        help="Seconds after which the connection is closed if the client sends nothing more of its "
        "body, or receives nothing more of its response (the next MiB, if the store is not local). "
        "0 means never.",
    ),
    cfg.IntOpt(
        "uploads_at_once",
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
        self._download_slots = threading.BoundedSemaphore(settings.downloads_at_once)
        self._places = Places(settings.uploads_at_once, settings.minimum_rate)
        self._other_places = Places(
            max(_FEWEST_OTHERS, settings.uploads_at_once // 4),
            settings.minimum_rate,
            errors.BusyBodies,
        )
        self._response_places = Places(
            max(_FEWEST_OTHERS, settings.downloads_at_once // 4),
            settings.minimum_rate,
            errors.BusyResponses,
        )
        self._watchdog = Watchdog(settings.minimum_rate, self._measure)

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
                self._take_download_slot(until_sent)
            outgoing = Outgoing(until_sent.pop_all())
            try:
                with self._place(request, connection), self._watched(request, connection):
                    chunks = self._call(request, start_response, outgoing)
                if connection is not None and not _is_buffered(chunks):
                    if not is_download:
                        self._take_response_place(request, connection, outgoing, chunks)
                    outgoing.end.enter_context(self._watchdog.watch_response(connection))
            except BaseException:
                outgoing.close()
                raise
            return outgoing.of(chunks)

    def _take_download_slot(self, until_sent: contextlib.ExitStack) -> None:
        if not self._download_slots.acquire(blocking=False):
            raise errors.BusyDownloads
        until_sent.callback(self._download_slots.release)

    def _take_response_place(
        self,
        request: Request,
        connection: socket.socket,
        outgoing: "Outgoing",
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
            outgoing.end.callback(places.leave, place)

    def _call(
        self, request: Request, start_response: Callable[..., Any], outgoing: "Outgoing"
    ) -> Iterable[bytes]:
        environ, key = request.environ, "wsgi.file_wrapper"
        if key not in environ:
            return super().forward(request, start_response)
        wrapper = environ[key]
        environ[key] = outgoing.file_wrapper(wrapper)
        try:
            return super().forward(request, start_response)
        finally:
            # A server compares the response with its own one.
            environ[key] = wrapper

    @contextlib.contextmanager
    def _place(self, request: Request, connection: socket.socket | None) -> Iterator[None]:
        """Holds one of the places for uploads, if this is one. Raises Busy if there is none.

        Another request has one of the other places during each read that waits for its client.
        """
        body = _body(request)
        if request.is_one_of(self._images):
            with self._places.held(request, body, connection):
                yield
            return
        if body is not None:
            body.turn = functools.partial(self._other_places.held, request, body, connection)
        yield

    @contextlib.contextmanager
    def _watched(self, request: Request, connection: socket.socket | None) -> Iterator[None]:
        body = _body(request)
        if connection is None or body is None:
            yield
            return
        with self._watchdog.watch(body, connection):
            yield


def _body(request: Request) -> Tapped | None:
    """The body; None if it is empty. Later filters refuse one that cannot be read."""
    with contextlib.suppress(errors.Error):
        body = request.reader()
        return None if body.length == 0 else body
    return None


def _is_buffered(chunks: Iterable[bytes]) -> bool:
    """Whether nobody waits for the client to take this response."""
    return isinstance(chunks, list | tuple) and sum(map(len, chunks)) <= _BUFFERED_BYTES


def _compiled_downloads(settings: PaceSettings) -> re.Pattern[str]:
    try:
        return re.compile(settings.download_requests)
    except re.error as error:
        raise errors.BadConfig("pace.download_requests", str(error)) from error


class Outgoing:
    """A response while the server sends it; ``end`` is closed when it has been sent, once."""

    def __init__(self, end: contextlib.ExitStack) -> None:
        self.end = end
        self._files: list[Any] = []

    def file_wrapper(self, wrapper: Callable[..., Any]) -> Callable[..., Any]:
        """The server's ``wsgi.file_wrapper``, for a file whose closing ends the response."""

        def wrap(file: Any, *size: int) -> Any:
            self._files.append(wrapper(_ClosingFile(file, self.close), *size))
            return self._files[-1]

        if not isinstance(wrapper, type):
            return wrap
        # An application may tell by its type whether the server sends files (``download``).
        return type(wrapper.__name__, (), {"__new__": lambda _, *args: wrap(*args)})

    def of(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """The response that the server gets: its own file, or ``chunks`` in a wrapper."""
        if any(chunks is file for file in self._files):
            self._files.clear()
            return chunks
        if _is_buffered(chunks):
            self.close()
            return chunks
        return _Chunks(chunks, self.close)

    def close(self) -> None:
        self.end.close()


class _ClosingFile:
    """A file that calls ``closed`` when it is closed, or forgotten."""

    def __init__(self, file: Any, closed: Callable[[], None]) -> None:
        self._file = file
        self._closed = closed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        try:
            if hasattr(self._file, "close"):
                self._file.close()
        finally:
            self._closed()

    def __del__(self) -> None:
        self._closed()


class _Chunks:
    """An iterable response that calls ``closed`` when it is closed, or forgotten."""

    def __init__(self, chunks: Iterable[bytes], closed: Callable[[], None]) -> None:
        self._chunks = chunks
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        try:
            if hasattr(self._chunks, "close"):
                self._chunks.close()
        finally:
            self._closed()

    def __del__(self) -> None:
        self._closed()


class Watchdog:
    """Ends reads and responses that wait too long for their clients, on a thread of its own that
    runs while there are any to watch."""

    #: Extra time for each read, for a connection that stalls and recovers.
    GRACE_SECONDS = 30.0

    def __init__(self, rate: int, measure: Callable[[float], None] = lambda now: None) -> None:
        """``rate`` is in bytes per second; with 0 no read is ended. ``measure`` gets the time
        (monotonic clock) at each check."""
        self._rate = rate
        self._measure = measure
        self._bodies: dict[Tapped, socket.socket] = {}
        self._responses: dict[socket.socket, Progress] = {}
        self._lock = threading.Lock()
        self._running = False

    @contextlib.contextmanager
    def watch(self, body: Tapped, connection: socket.socket) -> Iterator[None]:
        """Watch ``body``, which ``connection`` delivers, during the block."""
        if not self._rate:
            yield
            return
        with self._lock:
            self._bodies[body] = connection
            self._start()
        try:
            yield
        finally:
            with self._lock:
                del self._bodies[body]

    @contextlib.contextmanager
    def watch_response(self, connection: socket.socket) -> Iterator[None]:
        """Watch the response that ``connection`` sends during the block."""
        counts = transferred(connection)
        if not self._rate or counts is None:
            yield
            return
        with self._lock:
            self._responses[connection] = Progress(self._rate, time.monotonic(), counts[0])
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._responses.pop(connection, None)

    def _start(self) -> None:
        if not self._running:
            threading.Thread(target=self._run, name="pace", daemon=True).start()
            self._running = True

    def end_late_responses(self, now: float) -> bool:
        """End the responses that are late at ``now`` (monotonic clock).

        Returns whether there are responses left to watch.
        """
        with self._lock:
            for connection, progress in list(self._responses.items()):
                if self._is_late_response(connection, progress, now):
                    LOG.warning("A client was too slow to receive its response")
                    del self._responses[connection]
                    with contextlib.suppress(OSError):  # closed already
                        socket.socket.shutdown(connection, socket.SHUT_RDWR)
            return bool(self._responses)

    def _is_late_response(self, connection: socket.socket, progress: Progress, now: float) -> bool:
        counts = transferred(connection)
        if counts is None:
            return False
        late = progress.seconds_late(now, counts[0], has_unsent(connection))
        return late > self.GRACE_SECONDS

    def end_late_reads(self, now: float) -> bool:
        """End the reads that are late at ``now`` (monotonic clock).

        Returns whether there are bodies left to watch.
        """
        with self._lock:
            for body, connection in self._bodies.items():
                if self._is_late(body, now):
                    body.fail(errors.TooSlow(received=body.received))
                    with contextlib.suppress(OSError):  # closed already
                        # Not the method of a TLS socket, which would discard its TLS state.
                        socket.socket.shutdown(connection, socket.SHUT_RD)
            return bool(self._bodies)

    def _is_late(self, body: Tapped, now: float) -> bool:
        waiting = body.waiting  # read once: the reading thread changes it at any time
        if waiting is None:
            return False
        since, size = waiting
        return now - since > self.GRACE_SECONDS + size / self._rate

    def _run(self) -> None:
        while self._is_needed():
            now = time.monotonic()
            self.end_late_reads(now)
            self.end_late_responses(now)
            self._measure(now)
            time.sleep(_SECONDS_BETWEEN_CHECKS)

    def _is_needed(self) -> bool:
        with self._lock:
            self._running = bool(self._bodies or self._responses)
            return self._running


filter_factory = base.filter_factory(Pace)
