"""The places for uploads in a process, and who gives one up when all are taken.

Each upload holds a thread, so clients that send next to nothing could shut out all others. This
does not matter while places are free. If a new upload finds none, it takes the place of the
slowest upload below the minimum rate, which is ended. An upload at a normal speed is never ended,
because it would have to begin again. Clients that hold more than an equal share of the places give
way sooner, so that one client that connects again and again cannot keep the others out.
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


def _count(body: Tapped, connection: socket.socket) -> int:
    """The bytes received so far: by the kernel if it says, otherwise by reads that have ended."""
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
        """Record the progress of each upload. Call this regularly."""
        with self._lock:
            for upload in self._uploads:
                upload.seconds_late(now)

    def _slowest(self, newcomer: str, now: float) -> UploadPlace | None:
        """The upload to be ended in favor of one of the client ``newcomer``, or None."""
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
