"""The places for uploads in a process, and who gives one up when all are taken.

A place stands for a thread, so clients that hold one and send next to nothing could shut out all
others. This does not matter while places are free. If a new upload finds none, it takes the place
of the slowest upload below the minimum rate, which is ended. An upload at a normal speed is never
ended, because it would have to begin again. Clients that hold more than an equal share of the
places give way sooner, so that one client that connects again and again cannot keep the others out.

Other requests with a body have places of their own, each only while a read waits for its client,
and so have long responses that are no downloads.
"""

import collections
import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.http.connection import Progress, has_unsent, transferred
from imsgate.http.request import Request

#: Seconds that an upload may be behind the minimum rate before it has to give way, for clients
#: within and above their share: a connection may stall, and each one starts slowly.
PATIENCE_SECONDS = 5.0
IMPATIENCE_SECONDS = 1.0


@dataclasses.dataclass(eq=False)
class UploadPlace:
    """One place. ``connection`` is None if the server does not provide it."""

    client: str
    body: Tapped | None
    connection: socket.socket | None
    progress: Progress

    def seconds_late(self, now: float) -> float:
        """Seconds by which the client is behind the minimum rate while the server waits for it."""
        if self.body is None or self.connection is None:
            return 0
        waiting = self.body.waiting is not None
        return self.progress.seconds_late(now, _count(self.body, self.connection), waiting)

    def end(self) -> None:
        """End its read, and with it the upload."""
        if self.body is not None and self.connection is not None:
            self.body.fail(errors.TooSlow(received=self.body.received))
            with contextlib.suppress(OSError):  # closed already
                # Not the method of a TLS socket, which would discard its TLS state.
                socket.socket.shutdown(self.connection, socket.SHUT_RD)


@dataclasses.dataclass(eq=False)
class ResponsePlace:
    """The place of a response that waits for its client to take it."""

    client: str
    connection: socket.socket
    progress: Progress

    def seconds_late(self, now: float) -> float:
        """Seconds by which the client is behind the minimum rate while the server waits for it."""
        acked = (transferred(self.connection) or (0, 0))[0]
        return self.progress.seconds_late(now, acked, has_unsent(self.connection))

    def end(self) -> None:
        """End the connection, and with it the response."""
        with contextlib.suppress(OSError):  # closed already
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)


def _count(body: Tapped, connection: socket.socket) -> int:
    """The bytes received so far: by the kernel if it says, otherwise by reads that have ended."""
    counts = transferred(connection)
    return body.received if counts is None else counts[1]


class Places:
    """As many places as ``limit`` returns, shared by all threads of a process."""

    def __init__(
        self,
        limit: Callable[[], int],
        rate: Callable[[], int],
        busy: type[errors.Busy] = errors.Busy,
    ) -> None:
        """``rate`` returns the minimum rate in bytes per second; with 0 nobody gives way. ``busy``
        is raised when there is no place."""
        self._limit = limit
        self._busy = busy
        self._rate = rate
        self._taken: set[UploadPlace | ResponsePlace] = set()
        self._lock = threading.Lock()

    def take(
        self, client: str, body: Tapped | None, connection: socket.socket | None, now: float
    ) -> UploadPlace:
        """A place for a new upload at ``now`` (monotonic clock).

        Raises ``busy`` if there is none.
        """
        count = 0 if body is None or connection is None else _count(body, connection)
        upload = UploadPlace(client, body, connection, Progress(self._rate() or 1, now, count))
        self._take(upload, now)
        return upload

    def take_response(
        self, client: str, connection: socket.socket, now: float
    ) -> ResponsePlace | None:
        """A place for a new response, as for an upload; None if the kernel does not report how much
        of it the client has received."""
        counts = transferred(connection)
        if counts is None:
            return None
        response = ResponsePlace(client, connection, Progress(self._rate() or 1, now, counts[0]))
        self._take(response, now)
        return response

    def _take(self, place: UploadPlace | ResponsePlace, now: float) -> None:
        with self._lock:
            if len(self._taken) >= self._limit():
                slowest = self._slowest(place.client, now)
                if slowest is None:
                    raise self._busy
                self._taken.remove(slowest)
                slowest.end()
            self._taken.add(place)

    def leave(self, place: UploadPlace | ResponsePlace) -> None:
        """Free a place, unless another one has it already."""
        with self._lock:
            self._taken.discard(place)

    @contextlib.contextmanager
    def held(
        self, request: Request, body: Tapped | None, connection: socket.socket | None
    ) -> Iterator[None]:
        """Holds a place for the body of ``request`` during the block. Raises ``busy``."""
        upload = self.take(client_of(request), body, connection, time.monotonic())
        try:
            yield
        finally:
            self.leave(upload)

    def measure(self, now: float) -> None:
        """Record the progress of each place. Call this regularly."""
        with self._lock:
            for place in self._taken:
                place.seconds_late(now)

    def _slowest(self, newcomer: str, now: float) -> UploadPlace | ResponsePlace | None:
        """The place to be ended in favor of one of the client ``newcomer``, or None."""
        if not self._rate():
            return None
        held = collections.Counter(place.client for place in self._taken)
        share = max(1, self._limit() / len({*held, newcomer}))
        candidates = []
        for place in self._taken:
            above_share = held[place.client] > share
            late = place.seconds_late(now)
            if late > (IMPATIENCE_SECONDS if above_share else PATIENCE_SECONDS):
                candidates.append((above_share, late, place))
        return max(candidates, key=lambda candidate: candidate[:2], default=(0, 0, None))[2]


class Slots:
    """As many slots as ``limit`` returns, shared by all threads of a process. Nobody gives way."""

    def __init__(self, limit: Callable[[], int], busy: type[errors.Error]) -> None:
        """``busy`` is raised when there is no slot."""
        self._limit = limit
        self._busy = busy
        self._taken = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Holds a slot during the block. Raises ``busy``."""
        with self._lock:
            if self._taken >= self._limit():
                raise self._busy
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1


def client_of(request: Request) -> str:
    """The client to whose share of the places a request counts: its project, or its address before
    authentication."""
    identity = request.identity
    return (identity and identity.project_id) or request.remote_addr or ""
