"""Clients that send or receive slowly or not at all give their thread back; uploads leave some.

::

    [filter:pace]
    use = egg:imsgate#pace

Before the first filter that may read a body. A read waits for its client in the server,
where nobody counts, so one thread of the process looks after all of them. It ends a read
by shutting the connection down for receiving, which needs the server's socket: gunicorn
gives it; behind other servers the limits of time are the server's own. The socket's timeout
stays while the answer goes out, which is after this filter has returned; gunicorn sets its
own before the next request.
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

#: Seconds between two looks at the bodies.
_LOOK = 1.0


class Pace(base.TappingFilter):
    NAME = "pace"
    OPTS = (
        cfg.IntOpt(
            "minimum_rate",
            default=4096,
            min=0,
            help="Bytes per second below which a client is too slow. It has 30 seconds on top for "
            "whatever is read at a time, which is 64 KiB of a slow upload; 0: any rate will do.",
        ),
        cfg.IntOpt(
            "idle_timeout",
            default=60,
            min=0,
            help="Seconds after which a client is given up that sends nothing more of its body, or "
            "takes no more of its answer (the next MiB, where a store is not local); 0: never.",
        ),
        cfg.IntOpt(
            "uploads_at_once",
            default=96,
            min=1,
            help="Uploads that one process receives at a time; more are answered 503. Keep it "
            "below `imsgate serve --threads`, so that other requests find a thread.",
        ),
        base.REQUESTS,
    )

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings)
        self._room = threading.BoundedSemaphore(settings.uploads_at_once)
        self._watch = Watch(settings.minimum_rate)

    def check(self, request: Request) -> None:
        pass

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = request.environ.get("gunicorn.socket")
        if connection is not None:
            connection.settimeout(self.settings.idle_timeout or None)
        with self._counted(request), self._watched(request, connection):
            return super().forward(request, start_response)

    @contextlib.contextmanager
    def _counted(self, request: Request) -> Iterator[None]:
        """Raises Busy."""
        if not request.is_one_of(self._images):
            yield
            return
        if not self._room.acquire(blocking=False):
            raise errors.Busy
        try:
            yield
        finally:
            self._room.release()

    @contextlib.contextmanager
    def _watched(self, request: Request, connection: socket.socket | None) -> Iterator[None]:
        body = _body(request)
        if connection is None or body is None:
            yield
            return
        with self._watch.over(body, connection):
            yield


def _body(request: Request) -> Tapped | None:
    """The body, if there is one that can be read; what cannot be is refused further on."""
    with contextlib.suppress(errors.Error):
        body = request.reader()
        return None if body.length == 0 else body
    return None


class Watch:
    """Ends the reads that have waited too long, on a thread that lives while there are bodies."""

    #: Seconds that a read may take at any rate: for a connection that stalls and recovers.
    GRACE = 30.0

    def __init__(self, rate: int) -> None:
        """``rate`` is in bytes per second; with 0 nothing is ended."""
        self._rate = rate
        self._bodies: dict[Tapped, socket.socket] = {}
        self._lock = threading.Lock()
        self._running = False

    @contextlib.contextmanager
    def over(self, body: Tapped, connection: socket.socket) -> Iterator[None]:
        """Look after ``body``, which comes over ``connection``, for the time of the block."""
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

    def look(self, now: float) -> bool:
        """End what is late at ``now`` (of the monotonic clock); whether to look again."""
        with self._lock:
            for body, connection in self._bodies.items():
                if self._late(body, now):
                    body.fail(errors.TooSlow(received=body.received))
                    with contextlib.suppress(OSError):  # gone already
                        # Not the method of a TLS socket, which would forget its keys.
                        socket.socket.shutdown(connection, socket.SHUT_RD)
            self._running = bool(self._bodies)
            return self._running

    def _late(self, body: Tapped, now: float) -> bool:
        waiting = body.waiting  # which the thread that reads sets and unsets meanwhile
        if waiting is None:
            return False
        since, size = waiting
        return now - since > self.GRACE + size / self._rate

    def _run(self) -> None:
        while self.look(time.monotonic()):
            time.sleep(_LOOK)


filter_factory = base.filter_factory(Pace)
