"""A socket whose reads end by a deadline, whatever the other side does."""

import io
import socket
import time
from collections.abc import Callable
from typing import Any

from imsgate.errors import SourceFailed, SourceUnavailable
from imsgate.http.rate import Rate

#: The largest head of a response in bytes, interim responses included.
_MAX_HEAD_BYTES = 1 << 20


class Deadline:
    """When a download must end. ``check`` is called before each step and may end it sooner."""

    def __init__(self, seconds: float, check: Callable[[], object]) -> None:
        self._end = time.monotonic() + seconds
        self._check = check

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end

    def left(self, timeout: float) -> float:
        """Seconds that the next step may take, at most ``timeout``. Raises TimeoutError after the
        deadline, and whatever ``check`` raises."""
        self._check()
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the deadline has passed")
        return min(remaining, timeout)


class DeadlineSocket:
    """A connected socket. No read takes longer than the deadline, even from a server that sends a
    byte now and then."""

    def __init__(
        self, plain: socket.socket, timeout: float, deadline: Deadline, minimum_rate: int = 0
    ) -> None:
        self._socket = plain
        self._timeout = timeout
        self._deadline = deadline
        self._rate = Rate(minimum_rate)
        self._handed_over = False
        self._head_bytes_left: int | None = _MAX_HEAD_BYTES

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._deadline.left(self._timeout))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        self._handed_over = True
        return io.BufferedReader(_Reader(self))

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._deadline.left(self._timeout))
        began = time.monotonic()
        count = self._socket.recv_into(buffer)
        if count and self._rate.is_too_low(time.monotonic() - began, count):
            raise SourceUnavailable(problem="the server sends too slowly")
        if self._head_bytes_left is not None:
            self._head_bytes_left -= count
            if self._head_bytes_left < 0:
                raise SourceFailed(problem="the header of the server's response has no end")
        return count

    def begin_body(self) -> None:
        """The head was received; the size of the body is not limited here."""
        self._head_bytes_left = None
        self._rate.begin()

    def close(self) -> None:
        """Does nothing while a response is read: http.client calls this before that."""
        if not self._handed_over:
            self._socket.close()

    def end(self) -> None:
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, source: DeadlineSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._source.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._source.end()
