"""The one wrapper round ``wsgi.input``.

However many filters watch a body, there is one :class:`Tapped` between the
server and the application: a second watcher joins the first one's wrapper.
"""

import io
import time
from typing import Any, Protocol

from imsgate import errors


class Tap(Protocol):
    """Sees every byte of a body, in order, before the application does.

    Both methods may raise an :class:`errors.Error`; the application's read
    then fails with it, now and at every later attempt.
    """

    def feed(self, chunk: bytes, /) -> None: ...

    def finish(self) -> None:
        """The body ended, whole."""


class Limit:
    """A tap that counts real bytes, whatever the headers claim. Raises TooLarge."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0

    def feed(self, chunk: bytes) -> None:
        self._count += len(chunk)
        if self._count > self._limit:
            raise errors.TooLarge(limit=self._limit)

    def finish(self) -> None:
        pass


class Tapped(io.RawIOBase):
    """A request body of ``length`` bytes, or up to the end of the stream when it is None.

    Raises BodyCut when the stream ends or breaks before its length: servers
    (gunicorn, cheroot) end a body that its client abandoned with a silent EOF.
    ``failure`` keeps the first error, so that the filter that caused it can
    answer the client whatever the application made of the failed read.
    """

    def __init__(self, stream: Any, length: int | None) -> None:
        self._stream = stream
        self.length = length
        self._taps: list[Tap] = []
        self._ended = False
        self.received = 0
        self.failure: errors.Error | None = None
        #: Since when (of the monotonic clock) a read has been waiting for its client, and for
        #: how many bytes; None between two reads.
        self.waiting: tuple[float, int] | None = None

    def join(self, tap: Tap) -> None:
        """Let one more tap watch; it must not come after the first read."""
        self._taps.append(tap)

    def fail(self, error: errors.Error) -> None:
        """Have every read from now on raise ``error``, and the one that is waiting once it ends."""
        self.failure = self.failure or error

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(65536), b""))
        if self.failure is not None:
            raise self.failure
        if self._ended or size == 0:
            return b""
        try:
            return self._next(size)
        except errors.Error as error:
            self.fail(error)
            if self.failure is None or self.failure is error:
                raise
            raise self.failure from error

    def _next(self, size: int) -> bytes:
        if self.length is not None:
            size = min(size, self.length - self.received)
        chunk = self._pull(size) if size else b""
        if self.failure is not None:
            raise self.failure
        self.received += len(chunk)
        if chunk:
            for tap in self._taps:
                tap.feed(chunk)
        # A known length ends with its last byte, so that the verdict on the whole
        # body falls even if the application never reads on to the end of file.
        if not chunk or self.received == self.length:
            self._end()
        return chunk

    def _pull(self, size: int) -> bytes:
        self.waiting = time.monotonic(), size
        try:
            return self._stream.read(size)
        except errors.Error:
            raise
        except TimeoutError as error:
            raise errors.TooSlow(received=self.received) from error
        # Each server has exceptions of its own for a broken or badly chunked
        # body, and none of them can be imported here.
        except Exception as error:
            raise errors.BodyCut(received=self.received) from error
        finally:
            self.waiting = None

    def _end(self) -> None:
        self._ended = True
        if self.length is not None and self.received < self.length:
            raise errors.BodyCut(received=self.received)
        for tap in self._taps:
            tap.finish()

    def readinto(self, buffer: Any, /) -> int:
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)
