"""Counts the bytes of a response, also those that a server sends from a file by itself."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class SentBytes:
    """``sent`` bytes of one response so far. ``end`` reports them, once."""

    def __init__(self, on_end: Callable[[int, int], None], expected: int) -> None:
        """``on_end`` is called with the bytes sent and those expected."""
        self._on_end = on_end
        self._expected = expected
        self._has_ended = False
        self.sent = 0

    def end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end(self.sent, self._expected)


class CountedChunks:
    """A response body that counts the chunks that the server has taken.

    A chunk counts once the server asks for the next one, which it does after it sent the chunk.
    """

    def __init__(self, chunks: Iterable[bytes], counter: SentBytes) -> None:
        self._chunks = chunks
        self._counter = counter

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield chunk
            self._counter.sent += len(chunk)

    def close(self) -> None:
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        finally:
            self._counter.end()


class CountedFile:
    """A file that a server sends, by sendfile or by reading it.

    After sendfile, ``socket.sendfile`` of Python moves the file to the first byte that was not
    sent. gunicorn then moves the descriptor back, past this object.
    """

    def __init__(self, file: Any, start: int, counter: SentBytes) -> None:
        """``start`` is the file's position."""
        self._file = file
        self._start = start
        self._counter = counter

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size)
        self._counter.sent += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        position: int = self._file.seek(offset, whence)
        self._counter.sent = position - self._start
        return position

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            self._counter.end()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
