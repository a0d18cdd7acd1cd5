"""Request heads, received without a thread that waits for them.

Threads are for requests. A client that has connected but has not sent the whole head yet, or never
will, must not occupy one.
"""

import enum
import socket

#: Longest request line and header field accepted, in bytes. Horizon asks for 219 images by their
#: ids in one line of 8.6 kB; a token may hold a whole service catalog.
MAX_LINE_BYTES = 16 << 10
#: Longest head accepted, in bytes.
MAX_BYTES = 128 << 10
#: Bytes received at a time.
_STEP = 16 << 10

_END = b"\r\n\r\n"


class HeadState(enum.Enum):
    """How far a head is."""

    INCOMPLETE = enum.auto()
    #: The parser needs no more bytes: the head is complete, its request line is longer than
    #: allowed, or the client has closed its side.
    READY = enum.auto()
    TOO_LONG = enum.auto()


class Head:
    """The bytes of one request head so far, perhaps with the beginning of its body."""

    def __init__(self, received: bytes = b"") -> None:
        """``received`` is what came with the previous request on this connection."""
        self._bytes = bytearray(received)

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def state(self) -> HeadState:
        if _END in self._bytes or self._line_is_too_long():
            return HeadState.READY
        return HeadState.TOO_LONG if len(self._bytes) > MAX_BYTES else HeadState.INCOMPLETE

    def _line_is_too_long(self) -> bool:
        longest = MAX_LINE_BYTES + len(b"\r\n")
        return len(self._bytes) > longest and self._bytes.find(b"\r\n", 0, longest) < 0

    def receive(self, connection: socket.socket) -> HeadState:
        """Take what a non-blocking connection has now. Raises OSError if it is broken."""
        while (state := self.state) is HeadState.INCOMPLETE:
            try:
                chunk = connection.recv(_STEP)
            except BlockingIOError:
                return state
            if not chunk:
                return HeadState.READY
            self._bytes += chunk
        return state

    def target(self) -> bytes:
        """The request target (RFC 9112 section 3), or nothing for a malformed request line."""
        words = self._bytes.partition(b"\r\n")[0].split(b" ")
        return bytes(words[1]) if len(words) == 3 else b""

    def take(self) -> bytes:
        """Everything received; the next request on this connection begins a new head."""
        received, self._bytes = bytes(self._bytes), bytearray()
        return received
