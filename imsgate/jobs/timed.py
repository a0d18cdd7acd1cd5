"""A socket whose reads end in time, whatever the other side does."""

import io
import socket
import time
from typing import Any


class Timed:
    """A connected socket, none of whose reads outlasts the deadline, however it trickles."""

    def __init__(self, plain: socket.socket, timeout: float, deadline: float) -> None:
        self._socket = plain
        self._timeout = timeout
        self._deadline = deadline
        self._handed_over = False

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(left(self._deadline, self._timeout))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        self._handed_over = True
        return io.BufferedReader(_Reader(self))

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(left(self._deadline, self._timeout))
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        """Does nothing while a response is read: http.client closes before that."""
        if not self._handed_over:
            self._socket.close()

    def end(self) -> None:
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, timed: Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._timed.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._timed.end()


def left(deadline: float, timeout: float) -> float:
    """Seconds that the next step may take. Raises TimeoutError when there are none."""
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise TimeoutError("the deadline has passed")
    return min(rest, timeout)
