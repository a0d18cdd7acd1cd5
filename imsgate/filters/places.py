"""The places for uploads in a process, and who gives one up when all are taken.

A place is a thread, so clients that hold one and send next to nothing shut out others. While there
are free places nobody minds. When a new upload finds none, the slowest of those that send less
than the minimum rate is ended in its favour. An upload at a normal speed never is: it would have
to begin again. Clients that hold more than an equal share of the places give way sooner, so that
one client that connects again and again cannot keep the others out.

Other requests with a body have places of their own, each only while a read waits for its client.
"""

import collections
import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Iterator

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.http.connection import Progress, transferred
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
        """How far its client is behind the minimum rate while it is waited for."""
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


def _count(body: Tapped, connection: socket.socket) -> int:
    """The bytes received so far; at best as they arrive, not only when a whole read is done."""
    counts = transferred(connection)
    return body.received if counts is None else counts[1]


class Places:
    """``limit`` places, shared by all threads of a process."""

    def __init__(self, limit: int, rate: int, busy: type[errors.Busy] = errors.Busy) -> None:
        """``rate`` is the minimum rate in bytes per second; with 0 nobody gives way. ``busy`` is
        raised when there is no place."""
        self._limit = limit
        self._busy = busy
        self._rate = rate
        self._uploads: set[UploadPlace] = set()
        self._lock = threading.Lock()

    def take(
        self, client: str, body: Tapped | None, connection: socket.socket | None, now: float
    ) -> UploadPlace:
        """A place for a new upload at ``now`` (monotonic clock).

        Raises ``busy`` if there is none.
        """
        count = 0 if body is None or connection is None else _count(body, connection)
        upload = UploadPlace(client, body, connection, Progress(self._rate or 1, now, count))
        with self._lock:
            if len(self._uploads) >= self._limit:
                slowest = self._slowest(client, now)
                if slowest is None:
                    raise self._busy
                self._uploads.remove(slowest)
                slowest.end()
            self._uploads.add(upload)
        return upload

    def leave(self, upload: UploadPlace) -> None:
        """Free its place, unless another upload has it already."""
        with self._lock:
            self._uploads.discard(upload)

    @contextlib.contextmanager
    def held(
        self, request: Request, body: Tapped | None, connection: socket.socket | None
    ) -> Iterator[None]:
        """Holds a place for the body of ``request`` during the block. Raises ``busy``."""
        upload = self.take(_client(request), body, connection, time.monotonic())
        try:
            yield
        finally:
            self.leave(upload)

    def measure(self, now: float) -> None:
        """Note how far each upload is. Call it regularly."""
        with self._lock:
            for upload in self._uploads:
                upload.seconds_late(now)

    def _slowest(self, newcomer: str, now: float) -> UploadPlace | None:
        """The upload that has to give way, if any."""
        if not self._rate:
            return None
        held = collections.Counter(upload.client for upload in self._uploads)
        share = max(1, self._limit / len({*held, newcomer}))
        candidates = []
        for upload in self._uploads:
            above_share = held[upload.client] > share
            late = upload.seconds_late(now)
            if late > (IMPATIENCE_SECONDS if above_share else PATIENCE_SECONDS):
                candidates.append((above_share, late, upload))
        return max(candidates, key=lambda candidate: candidate[:2], default=(0, 0, None))[2]


def _client(request: Request) -> str:
    """Whose share of the places an upload takes: its project's, or its address's before
    authentication."""
    identity = request.identity
    return (identity and identity.project_id) or request.remote_addr or ""
