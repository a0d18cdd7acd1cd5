"""Passes byte ranges of a stream to the readers that asked for them.

A reader is a generator. It asks for bytes with ``yield from read(offset, length)`` or
``yield from end_of_stream()``, and is resumed as soon as they have passed. Other bytes are not
examined, so a chunk outside all requested ranges costs a few additions, whatever its size.

Readers are resumed in the order of the ends of their ranges. This order depends on the stream
only, not on how it is split into chunks.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

MAX_TAIL_BYTES = 4096
"""The largest number of last bytes that :func:`end_of_stream` can return."""

_MAX_KEPT_CHUNK_BYTES = 128 * 1024
_END_OFFSET = 1 << 127
"""Beyond every real offset: a reader with this range waits for the end of the stream."""


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The end of a stream: the size of the stream in bytes, and its last bytes."""

    size: int
    tail: bytes

    def last(self, length: int) -> bytes:
        """The last ``length`` bytes; empty if the stream is shorter."""
        return self.tail[-length:] if length <= len(self.tail) else b""


T = TypeVar("T")

ByteRange = tuple[int, int]
"""Offset and length in bytes. With ``_END_OFFSET``, the length is that of the tail."""

Reader = Generator[ByteRange, bytes | EndOfStream, T]
"""A generator that reads byte ranges, in ascending order, and returns a T."""


def read(offset: int, length: int) -> Reader[bytes]:
    """Wait for ``length`` bytes at ``offset``.

    The result is shorter if the stream ends earlier. It is empty if ``offset`` is before the end
    of this reader's previous range, because those bytes have passed. The whole range is kept in
    memory until it is complete, so ``length`` must be small.
    """
    data = yield offset, length
    assert isinstance(data, bytes)
    return data


def read_after(head: bytes, offset: int, length: int) -> Reader[bytes]:
    """Like :func:`read`, for a range that may begin in ``head``, the first bytes of the stream."""
    data = head[offset : offset + length]
    if len(data) < length:
        data += yield from read(offset + len(data), length - len(data))
    return data


def end_of_stream(length: int = 0) -> Reader[EndOfStream]:
    """Wait for the end of the stream and its last ``length`` bytes, at most MAX_TAIL_BYTES.

    A reader must not read anything afterwards.
    """
    end = yield _END_OFFSET, length
    assert isinstance(end, EndOfStream)
    return end


class _PendingRead:
    """A reader, the range that it waits for, and the bytes of this range that have passed."""

    __slots__ = ("buffer", "end", "next", "reader")

    def __init__(self, reader: Reader[None]) -> None:
        self.reader = reader
        self.next = self.end = 0
        self.buffer = bytearray()

    def resume(self, data: bytes | EndOfStream | None) -> bool:
        """Run the reader to its next request; return False if it has finished."""
        self.buffer = bytearray()
        try:
            # Generator.send(None) starts a generator; the type of `send` does not include it.
            offset, length = self.reader.send(data)  # type: ignore[arg-type]
            while offset < self.end:
                offset, length = self.reader.send(b"")
        except StopIteration:
            return False
        self.next, self.end = offset, offset + length
        return True

    def take(self, chunk: memoryview, chunk_offset: int) -> None:
        """Copy the requested part of a chunk, which begins at ``chunk_offset`` of the stream."""
        piece = chunk[max(self.next - chunk_offset, 0) : max(self.end - chunk_offset, 0)]
        self.buffer += piece
        self.next += len(piece)


class ReaderGroup:
    """All readers of one stream.

    ``after_step`` is called each time after a reader has processed a range. Exceptions from it
    are raised by :meth:`feed` and :meth:`finish`.
    """

    def __init__(self, readers: Iterable[Reader[None]], after_step: Callable[[], None]) -> None:
        self.position = 0
        self._tail = b""
        self._after_step = after_step
        self._pending = [p for p in map(_PendingRead, readers) if p.resume(None)]
        self._update_next()

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Process the next bytes of the stream."""
        begin, length = self.position, len(chunk)
        self.position = end = begin + length
        if end > self._next:
            self._serve(memoryview(chunk), begin, end)
        if tail_length := self._tail_length:
            if length < tail_length:
                chunk = self._tail[-tail_length:] + bytes(chunk)
            # Keeping a small chunk is cheaper than copying its end.
            if length > _MAX_KEPT_CHUNK_BYTES or type(chunk) is not bytes:
                chunk = bytes(chunk[-tail_length:])
            self._tail = chunk

    @property
    def next_offset(self) -> int:
        """The first byte that a reader waits for; beyond every real offset if none does."""
        return max(self._next, self.position)

    def skip(self, length: int) -> None:
        """Pass over bytes that no reader has asked for, up to ``next_offset``.

        At least ``MAX_TAIL_BYTES`` must follow, because a reader may ask for the last ones.
        """
        assert self.position + length <= self.next_offset, "a reader waits for these bytes"
        self.position += length
        self._tail = b""

    def finish(self) -> None:
        """End the stream: give incomplete ranges to their readers, then the end of the stream."""
        end = EndOfStream(self.position, self._tail[-MAX_TAIL_BYTES:])
        while self._pending:
            first = min(self._pending, key=attrgetter("end"))
            self._step(first, end if first.end >= _END_OFFSET else bytes(first.buffer))

    def _serve(self, chunk: memoryview, begin: int, end: int) -> None:
        while self._pending:
            first = min(self._pending, key=attrgetter("end"))
            if first.end > end:
                break
            first.take(chunk, begin)
            self._step(first, bytes(first.buffer))
        for pending in self._pending:
            pending.take(chunk, begin)
        self._update_next()

    def _step(self, pending: _PendingRead, data: bytes | EndOfStream) -> None:
        if not pending.resume(data):
            self._pending.remove(pending)
        self._after_step()

    def _update_next(self) -> None:
        """Update the next requested offset, and how many of the last bytes to keep.

        A reader that waits for the end has requested a tail of a certain length. Any other reader
        may still request the longest tail.
        """
        self._next = min((p.next for p in self._pending), default=_END_OFFSET)
        lengths = [
            MAX_TAIL_BYTES if p.end < _END_OFFSET else p.end - _END_OFFSET for p in self._pending
        ]
        self._tail_length = max(lengths, default=0)
