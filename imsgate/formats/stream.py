"""Serve byte ranges of a passing stream to the readers that asked for them.

A reader is a generator. It says what it wants next with ``yield from read(offset,
length)`` or ``yield from ending()`` and is resumed as soon as those bytes have passed.
What nobody wants is not looked at, so a chunk outside every wanted range costs a few
additions, whatever its size.

Readers are resumed in the order in which their ranges end, which depends on the
stream alone and not on how it was cut into chunks.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from operator import attrgetter

TAIL = 4096
"""The most of a stream's end that :func:`ending` can give, in bytes."""

_HELD = 128 * 1024
_NEVER = 1 << 127


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a stream: its size in bytes and its last bytes."""

    size: int
    tail: bytes

    def last(self, length: int) -> bytes:
        """The last ``length`` bytes; empty when the stream is shorter than that."""
        return self.tail[-length:] if length <= len(self.tail) else b""


Want = tuple[int, int]
Reader = Generator[Want, bytes | Ending, None]
Read = Generator[Want, bytes | Ending, bytes]


def read(offset: int, length: int) -> Read:
    """Wait for ``length`` bytes at ``offset``.

    The answer is shorter when the stream ends before, and empty when ``offset`` is
    before the end of this reader's last read. All of it is held in memory: ask for little.
    """
    answer = yield offset, length
    assert isinstance(answer, bytes)
    return answer


def ending(length: int = 0) -> Generator[Want, bytes | Ending, Ending]:
    """Wait for the end of the stream and its last ``length`` bytes, at most ``TAIL``.

    No read may follow.
    """
    answer = yield _NEVER, length
    assert isinstance(answer, Ending)
    return answer


class _Waiting:
    """One reader, the range it wants and what has come of it."""

    __slots__ = ("buffer", "end", "next", "reader")

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.next = self.end = 0
        self.buffer = bytearray()

    def resume(self, answer: bytes | Ending | None) -> bool:
        """Run the reader to its next want; false when it has no more."""
        self.buffer = bytearray()
        try:
            # a generator takes None, and only None, as its first value
            offset, length = self.reader.send(answer)  # type: ignore[arg-type]
            while offset < self.end:
                offset, length = self.reader.send(b"")
        except StopIteration:
            return False
        self.next, self.end = offset, offset + length
        return True

    def take(self, chunk: memoryview, begin: int) -> None:
        """Keep what is wanted of the chunk that begins at offset ``begin``."""
        piece = chunk[max(self.next - begin, 0) : max(self.end - begin, 0)]
        self.buffer += piece
        self.next += len(piece)


class Scan:
    """One stream and its readers.

    ``after_step`` is called whenever a reader has used what it was given; what it
    raises passes through :meth:`feed` and :meth:`finish`.
    """

    def __init__(self, readers: Iterable[Reader], after_step: Callable[[], None]) -> None:
        self.position = 0
        self._tail = b""
        self._after_step = after_step
        self._waiting = [w for w in map(_Waiting, readers) if w.resume(None)]
        self._note_next()

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        begin, length = self.position, len(chunk)
        self.position = end = begin + length
        if end > self._next:
            self._serve(memoryview(chunk), begin, end)
        if keep := self._keep:
            if length < keep:
                chunk = self._tail[-keep:] + bytes(chunk)
            # holding a small chunk is cheaper than a copy of its end
            if length > _HELD or type(chunk) is not bytes:
                chunk = bytes(chunk[-keep:])
            self._tail = chunk

    def finish(self) -> None:
        """The stream has ended: give every reader what there is, then the ending."""
        end = Ending(self.position, self._tail[-TAIL:])
        while self._waiting:
            first = min(self._waiting, key=attrgetter("end"))
            self._step(first, end if first.end >= _NEVER else bytes(first.buffer))

    def _serve(self, chunk: memoryview, begin: int, end: int) -> None:
        while self._waiting:
            first = min(self._waiting, key=attrgetter("end"))
            if first.end > end:
                break
            first.take(chunk, begin)
            self._step(first, bytes(first.buffer))
        for waiting in self._waiting:
            waiting.take(chunk, begin)
        self._note_next()

    def _step(self, waiting: _Waiting, answer: bytes | Ending) -> None:
        if not waiting.resume(answer):
            self._waiting.remove(waiting)
        self._after_step()

    def _note_next(self) -> None:
        """The next byte that somebody wants, and how many of the last ones.

        Who still reads may yet ask for any tail; who waits for the end has said how much.
        """
        self._next = min((w.next for w in self._waiting), default=_NEVER)
        tails = [TAIL if w.end < _NEVER else w.end - _NEVER for w in self._waiting]
        self._keep = max(tails, default=0)
