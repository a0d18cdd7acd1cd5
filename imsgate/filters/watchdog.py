"""Ends reads and responses that wait too long for their clients.

A read waits for its client inside the server, and so does a write, so one thread of the process
watches all of them. It ends one by shutting the connection down. Only the kernel knows how much of
a response the client has received, because the server may send a file with sendfile.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.http.connection import Progress, has_unsent, transferred

LOG = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKS = 1.0


class Watchdog:
    """Ends reads and responses that wait too long for their clients, on a thread of its own that
    runs while there are any to watch."""

    #: Extra time for each read, for a connection that stalls and recovers.
    GRACE_SECONDS = 30.0

    def __init__(
        self, rate: Callable[[], int], measure: Callable[[float], None] = lambda now: None
    ) -> None:
        """``rate`` returns bytes per second; with 0 no read is ended. ``measure`` gets the time
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
        if not self._rate():
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
        if not self._rate() or counts is None:
            yield
            return
        with self._lock:
            self._responses[connection] = Progress(self._rate() or 1, time.monotonic(), counts[0])
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
        rate = self._rate()
        if waiting is None or not rate:
            return False
        since, size = waiting
        return now - since > self.GRACE_SECONDS + size / rate

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
