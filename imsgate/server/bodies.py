"""Long request bodies under gunicorn, as they come from the socket.

gunicorn's own body keeps what comes in buffers and copies each byte two or three times:
eight percent of the CPU of an upload.
"""

import io
from collections.abc import Callable
from typing import Any


class LongBody(io.RawIOBase):
    """A ``wsgi.input`` of pieces.

    A ``read`` returns less than it was asked for only where the body ends, be it before its
    time. gunicorn must not read on behind it: the connection ends with the request.
    """

    def __init__(self, pull: Callable[[int], bytes | None]) -> None:
        """``pull`` returns a piece, best of as many bytes as it is given; None at the end."""
        self._pull = pull
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises what ``pull`` raises: OSError, TimeoutError, gunicorn's errors of parsing."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        pieces: list[bytes | memoryview] = []
        while size and (piece := self._next(size)) is not None:
            pieces.append(piece)
            size -= len(piece)
        # What came in one piece is not copied.
        whole = len(pieces) == 1 and pieces[0]
        return whole if isinstance(whole, bytes) else b"".join(pieces)

    def _next(self, size: int) -> bytes | memoryview | None:
        if not self._rest:
            piece = self._pull(size)
            if piece is None or len(piece) <= size:
                return piece
            self._rest = memoryview(piece)
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def readinto(self, buffer: Any, /) -> int:
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def of_length(reader: Any) -> LongBody:
    """In place of gunicorn's ``reader`` of so many bytes, which may hold the first of them."""
    unreader, left, begun = reader.unreader, reader.length, False

    def pull(size: int) -> bytes | None:
        nonlocal left, begun
        if not left:
            return None
        # Not before the first read: a client may wait for leave to send.
        piece = unreader.sock.recv(min(size, left)) if begun else unreader.read()
        piece, begun = piece[:left], True
        left -= len(piece)
        return piece or None

    return LongBody(pull)


def chunked(reader: Any) -> LongBody:
    """In place of gunicorn's ``reader`` of chunked bodies, which takes it apart still."""
    return LongBody(lambda _: next(reader.parser, None))
