"""What the kernel knows about the other end of a TCP connection (Linux).

It works during ``sendfile`` as well, when nothing else in this process sees the bytes pass.
"""

import fcntl
import socket
import struct
import sys
import termios

#: ``tcpi_bytes_acked`` and ``tcpi_bytes_received`` in the kernel's ``struct tcp_info``, which only
#: ever grows at its end (Linux 4.1).
_BYTES_ACKED_AND_RECEIVED = struct.Struct("=120xQQ")


def transferred(connection: socket.socket) -> tuple[int, int] | None:
    """The bytes that the other end has confirmed, and those that it has sent.

    None if that is unknown: for Unix sockets, closed sockets and systems other than Linux.
    """
    try:
        info = connection.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED_AND_RECEIVED.size
        )
        acked, received = _BYTES_ACKED_AND_RECEIVED.unpack(info)
    except (OSError, AttributeError, struct.error):
        return None
    return acked, received


def readable_bytes(connection: socket.socket) -> int:
    """How many bytes can be received without waiting; 0 if that is unknown."""
    try:
        count = fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4))
    except (OSError, ValueError):
        return 0
    return int.from_bytes(count, sys.byteorder)


def has_unsent(connection: socket.socket) -> bool:
    """Whether there are bytes that the other end has not confirmed yet."""
    try:
        count = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return False
    return any(count)


class Progress:
    """Whether bytes move at a minimum rate while somebody waits for the client.

    Each step of 64 KiB counts by itself: a client that was fast before gets no extra time.
    """

    _STEP_BYTES = 1 << 16

    def __init__(self, rate: int, now: float, count: int) -> None:
        """``rate`` is in bytes per second, ``now`` in seconds, ``count`` in bytes."""
        self._rate = rate
        self._begin(now, count)

    def _begin(self, now: float, count: int) -> None:
        self._since, self._from = now, count

    def seconds_late(self, now: float, count: int, waiting: bool) -> float:
        """How far the client is behind the rate. ``waiting`` is false while it is not its turn."""
        if not waiting or count - self._from >= self._STEP_BYTES:
            self._begin(now, count)
        return now - self._since - (count - self._from) / self._rate
