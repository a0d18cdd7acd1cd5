"""Frees the threads of clients that send or receive too slowly, and limits simultaneous uploads.

::

    [filter:pace]
    use = egg:imsgate#pace

Before the first filter that may read a body. A read waits for its client inside the server, so
one thread of the process watches all waiting reads. It ends a read by shutting the connection
down for receiving. That needs the socket of the connection, which gunicorn provides; behind other
servers, their own time limits apply. The timeout of the socket also limits how long the response
waits for the client, after this filter has returned. gunicorn sets its own timeout before the
next request.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.filters import base
from imsgate.http.body import Tapped
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

_SECONDS_BETWEEN_CHECKS = 1.0

OPTS = (
    cfg.IntOpt(
        "minimum_rate",
        default=4096,
        min=0,
        help="The lowest rate at which a client may send a body, in bytes per second. Each read "
        "(64 KiB of an upload) may take 30 seconds longer than the rate allows. 0 means no limit.",
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
        help="The most uploads that one process receives at the same time; others get a 503 "
        "response. Set it lower than `imsgate serve --threads`, so that threads remain for other "
        "requests.",
    ),
    base.REQUESTS,
)


class PaceSettings(Settings, group="pace", opts=OPTS):
    minimum_rate: int
    idle_timeout: int
    uploads_at_once: int
    requests: str


class Pace(base.TappingFilter[PaceSettings]):
    NAME = "pace"
    OPTS = OPTS
    SETTINGS = PaceSettings

    def __init__(self, app: WsgiApp, settings: PaceSettings) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings.requests)
        self._slots = threading.BoundedSemaphore(settings.uploads_at_once)
        self._watchdog = Watchdog(settings.minimum_rate)

    def check(self, request: Request) -> None:
        pass

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = request.environ.get("gunicorn.socket")
        if connection is not None:
            connection.settimeout(self.settings.idle_timeout or None)
        with self._slot(request), self._watched(request, connection):
            return super().forward(request, start_response)

    @contextlib.contextmanager
    def _slot(self, request: Request) -> Iterator[None]:
        """Holds one of the slots for uploads, if this is one. Raises Busy if all are taken."""
        if not request.is_one_of(self._images):
            yield
            return
        if not self._slots.acquire(blocking=False):
            raise errors.Busy
        try:
            yield
        finally:
            self._slots.release()

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


class Watchdog:
    """Ends reads that wait too long, on a thread that runs while there are bodies to watch."""

    #: Extra time for each read, for a connection that stalls and recovers.
    GRACE_SECONDS = 30.0

    def __init__(self, rate: int) -> None:
        """``rate`` is in bytes per second; with 0 no read is ended."""
        self._rate = rate
        self._bodies: dict[Tapped, socket.socket] = {}
        self._lock = threading.Lock()
        self._running = False

    @contextlib.contextmanager
    def watch(self, body: Tapped, connection: socket.socket) -> Iterator[None]:
        """Watch ``body``, which ``connection`` delivers, during the block."""
        if not self._rate:
            yield
            return
        with self._lock:
            if not self._running:
                threading.Thread(target=self._run, name="pace", daemon=True).start()
                self._running = True
            self._bodies[body] = connection
        try:
            yield
        finally:
            with self._lock:
                del self._bodies[body]

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
            self._running = bool(self._bodies)
            return self._running

    def _is_late(self, body: Tapped, now: float) -> bool:
        waiting = body.waiting  # read once: the reading thread changes it at any time
        if waiting is None:
            return False
        since, size = waiting
        return now - since > self.GRACE_SECONDS + size / self._rate

    def _run(self) -> None:
        while self.end_late_reads(time.monotonic()):
            time.sleep(_SECONDS_BETWEEN_CHECKS)


filter_factory = base.filter_factory(Pace)
