"""The places for uploads in a process, and who gives one up when all are taken.

A place is a thread, so clients that hold one and send next to nothing shut out others. While there
are free places nobody minds. When a new upload finds none, the slowest of those that send less
than the minimum rate is ended in its favour. An upload at a normal speed never is: it would have
to begin again. Clients that hold more than an equal share of the places give way sooner, so that
one client that connects again and again cannot keep the others out.
"""

import collections
import contextlib
import dataclasses
import socket
import threading

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.http.connection import Progress, transferred

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

    def __init__(self, limit: int, rate: int) -> None:
        """``rate`` is the minimum rate in bytes per second; with 0 nobody gives way."""
        self._limit = limit
        self._rate = rate
        self._uploads: set[UploadPlace] = set()
        self._lock = threading.Lock()

    def take(
        self, client: str, body: Tapped | None, connection: socket.socket | None, now: float
    ) -> UploadPlace:
        """A place for a new upload at ``now`` (monotonic clock). Raises Busy if there is none."""
        count = 0 if body is None or connection is None else _count(body, connection)
        upload = UploadPlace(client, body, connection, Progress(self._rate or 1, now, count))
        with self._lock:
            if len(self._uploads) >= self._limit:
                slowest = self._slowest(client, now)
                if slowest is None:
                    raise errors.Busy
                self._uploads.remove(slowest)
                slowest.end()
            self._uploads.add(upload)
        return upload

    def leave(self, upload: UploadPlace) -> None:
        """Free its place, unless another upload has it already."""
        with self._lock:
            self._uploads.discard(upload)

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
