"""Long request bodies under gunicorn, read from the socket as they are.

gunicorn's own reader keeps what comes in buffers and copies each byte twice: eight percent
of the CPU of an upload.
"""

import io
from typing import Any


class LongBody(io.RawIOBase):
    """The ``wsgi.input`` of a request whose body has ``length`` bytes.

    A ``read`` returns less than it was asked for only where the body ends, be it before its
    time. gunicorn must not read on behind it: the connection ends with the request.
    """

    def __init__(self, unreader: Any, length: int) -> None:
        """``unreader`` is gunicorn's source; it may hold the beginning of the body."""
        self._unreader = unreader
        self._held: memoryview | None = None
        self._left = length

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises OSError, and TimeoutError where the socket has a timeout."""
        size = self._left if size is None or size < 0 else min(size, self._left)
        pieces: list[bytes] = []
        while size and (piece := self._receive(size)):
            pieces.append(piece)
            size -= len(piece)
            self._left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _receive(self, size: int) -> bytes:
        if self._held is None:
            # not before the first read: a client may wait for leave to send
            self._held = memoryview(self._unreader.read())
        if not self._held:
            received: bytes = self._unreader.sock.recv(size)
            return received
        piece, self._held = bytes(self._held[:size]), self._held[size:]
        return piece

    def readinto(self, buffer: Any, /) -> int:
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)
