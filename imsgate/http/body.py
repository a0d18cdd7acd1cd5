"""The wrapper of ``wsgi.input``.

However many filters watch a body, there is one :class:`Tapped` between the server and the
application. Every further tap joins it. A body that a filter decompresses has one before and one
after that filter.
"""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from imsgate import errors

#: The most that is read, and given to the taps, at a time. An application that asks for a whole
#: image (WSGI proxies do) must not have it in memory before the first tap can refuse it.
STEP_BYTES = 1 << 20
#: The same for an application that reads line by line.
LINE_STEP_BYTES = 1 << 16


class Tap(Protocol):
    """Gets every byte of a body, in order, before the application does.

    Both methods may raise an :class:`errors.Error`. The application's read then fails with this
    error, and so does every later read.
    """

    def feed(self, chunk: bytes, /) -> None: ...

    def finish(self) -> None:
        """The body is complete."""


class Limit:
    """A tap that limits the bytes received, whatever the headers announce. Raises TooLarge."""

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes."""
        self._limit = limit
        self._count = 0

    def feed(self, chunk: bytes) -> None:
        self._count += len(chunk)
        if self._count > self._limit:
            raise errors.TooLarge(limit=self._limit)

    def finish(self) -> None:
        pass


class Tapped(io.RawIOBase):
    """A request body of ``length`` bytes, or up to the end of the stream if that is None.

    Raises BodyCut if the stream ends or fails before its length: if the client disconnects,
    servers (gunicorn, cheroot) just report the end of file. Raises TooSlow if the read times out.

    Whatever the application asks for, the taps get at most ``STEP_BYTES`` at a time, and nothing
    more is received once one of them refuses the body.
    """

    def __init__(self, stream: Any, length: int | None) -> None:
        self._stream = stream
        self.length = length
        self._may_wait: Callable[[], bool] = getattr(stream, "may_wait", lambda: False)
        self._taps: list[Tap] = []
        self._is_part = False
        self._ended = False
        #: What was received behind a line, and the taps have accepted.
        self._rest = b""
        #: Bytes that have been received so far.
        self.received = 0
        #: The first error, with which the filter can respond whatever the application does.
        self.failure: errors.Error | None = None
        self._refusal: errors.Error | None = None
        #: While a read waits for the client: when it began (monotonic clock) and its size in
        #: bytes. None between two reads.
        self.waiting: tuple[float, int] | None = None
        #: The context of each read that waits for the client, as far as the server can tell
        #: (``wsgi.input.may_wait``). A filter sets it to limit how many reads wait at the same
        #: time; it may raise an :class:`errors.Error`.
        self.turn: Callable[[], contextlib.AbstractContextManager[object]] | None = None

    def join(self, tap: Tap, *, first: bool = False) -> None:
        """Add a tap, behind the others or as the ``first``, unless it has joined before.

        Call it before the first read.
        """
        if tap not in self._taps:
            self._taps.insert(0 if first else len(self._taps), tap)

    def mark_as_part(self) -> None:
        """The body is a part of what its taps watch: its end is not the end for them."""
        self._is_part = True

    @property
    def has_ended(self) -> bool:
        """Whether all of the body has been received."""
        return self._ended and not isinstance(self.failure, errors.BodyCut)

    def refuse(self, error: errors.Error) -> None:
        """Make the first read raise ``error``, before anything is received.

        For a body that no part of the application may have. An application that responds without
        reading it (404, 405) stays right.
        """
        self._refusal = self._refusal or error

    def fail(self, error: errors.Error) -> None:
        """Make every later read raise ``error``, and a waiting one when it ends."""
        self.failure = self.failure or error

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and 0 <= size <= STEP_BYTES:
            return self._step(size)
        # Grows with the bytes that arrive. Nothing is allocated for those that are only asked for,
        # and there is no second copy at the end, as there would be with b"".join.
        whole = io.BytesIO()
        for chunk in self._steps(None if size is None or size < 0 else size):
            whole.write(chunk)
        return whole.getvalue()

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        view, count = memoryview(buffer).cast("B"), 0
        for chunk in self._steps(len(view)):
            view[count : count + len(chunk)] = chunk
            count += len(chunk)
            if len(view) <= STEP_BYTES:
                break
        return count

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line, or up to ``size`` bytes of it. Iteration and ``readlines`` use it.

        ``io`` would read byte by byte, and give each of them to the taps.
        """
        line, left = io.BytesIO(), sys.maxsize if size is None or size < 0 else size
        while chunk := self._step(min(LINE_STEP_BYTES, left)):
            end = chunk.find(b"\n") + 1
            line.write(chunk[: end or None])
            left -= len(chunk)
            if end:
                self._rest = chunk[end:] + self._rest
                break
        return line.getvalue()

    def _steps(self, size: int | None) -> Iterator[bytes]:
        """The next ``size`` bytes, or all if that is None, in steps."""
        remaining = STEP_BYTES if size is None else size
        while chunk := self._step(min(remaining, STEP_BYTES)):
            yield chunk
            if size is not None:
                remaining -= len(chunk)

    def _step(self, size: int) -> bytes:
        if self.failure is not None:
            raise self.failure
        if self._rest:
            chunk, self._rest = self._rest[:size], self._rest[size:]
            return chunk
        if self._ended or size == 0:
            return b""
        try:
            if self._refusal is not None:
                raise self._refusal
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
        # A body of known length ends with its last byte, so that the taps decide about the whole
        # body even if the application never reads up to the end of file.
        if not chunk or self.received == self.length:
            self._end()
        return chunk

    def _pull(self, size: int) -> bytes:
        try:
            turn = self.turn if self.turn and self._may_wait() else contextlib.nullcontext
            with turn():
                self.waiting = time.monotonic(), size
                return cast(bytes, self._stream.read(size))
        except errors.Error:
            raise
        except TimeoutError as error:
            raise errors.TooSlow(received=self.received) from error
        # Each server raises its own exceptions for a broken connection or invalid chunks. They
        # cannot be imported here.
        except Exception as error:
            raise errors.BodyCut(received=self.received) from error
        finally:
            self.waiting = None

    def _end(self) -> None:
        self._ended = True
        if self.length is not None and self.received < self.length:
            raise errors.BodyCut(received=self.received)
        if not self._is_part:
            for tap in self._taps:
                tap.finish()
