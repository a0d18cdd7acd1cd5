"""Chunked request bodies under uWSGI, whose ``wsgi.input`` does not decode them.

uWSGI has a function for them (``uwsgi.chunked_read``, see "Web sockets and chunked input" in
its manual). Each call returns one chunk, an empty one at the end of the body; it raises IOError
if the body is cut.
"""

from collections.abc import Callable


class ChunkedStream:
    """Has only ``read``, because the pipeline wraps it before anything else reads it."""

    def __init__(self, read_chunk: Callable[[], bytes]) -> None:
        self._read_chunk = read_chunk
        self._rest = memoryview(b"")
        self._ended = False

    def read(self, size: int) -> bytes:
        pieces = []
        while size:
            if not self._rest:
                self._rest = memoryview(b"" if self._ended else self._read_chunk())
                if not self._rest:
                    self._ended = True
                    break
            pieces.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(pieces[-1])
        return b"".join(pieces)
