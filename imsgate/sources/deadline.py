"""A socket whose reads end in time, whatever the other side does."""

import io
import socket
import time
from collections.abc import Callable
from typing import Any

from imsgate.errors import SourceFailed

#: Bytes that an answer may take up to its body, interim answers included.
_HEAD = 1 << 20


class Deadline:
    """When it must be over. ``check`` is asked before each step, and raises to end it sooner."""

    def __init__(self, seconds: float, check: Callable[[], object]) -> None:
        self._end = time.monotonic() + seconds
        self._check = check

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end

    def left(self, timeout: float) -> float:
        """Seconds that the next step may take. Raises TimeoutError when there are none, and
        what ``check`` raises."""
        self._check()
        rest = self._end - time.monotonic()
        if rest <= 0:
            raise TimeoutError("the deadline has passed")
        return min(rest, timeout)


class DeadlineSocket:
    """A connected socket, none of whose reads outlasts the deadline, however it trickles."""

    def __init__(self, plain: socket.socket, timeout: float, deadline: Deadline) -> None:
        self._socket = plain
        self._timeout = timeout
        self._deadline = deadline
        self._handed_over = False
        self._head: int | None = _HEAD

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._deadline.left(self._timeout))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        self._handed_over = True
        return io.BufferedReader(_Reader(self))

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._deadline.left(self._timeout))
        count = self._socket.recv_into(buffer)
        if self._head is not None:
            self._head -= count
            if self._head < 0:
                raise SourceFailed(problem="the head of the server's answer has no end")
        return count

    def begin_body(self) -> None:
        """The head is in; what comes now may be as long as it likes."""
        self._head = None

    def close(self) -> None:
        """Does nothing while a response is read: http.client closes before that."""
        if not self._handed_over:
            self._socket.close()

    def end(self) -> None:
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, timed: DeadlineSocket) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._timed.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._timed.end()
