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
"""Bytes of the end of a stream that are kept for :func:`ending`."""

_NEVER = 1 << 127


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a stream: its size in bytes and its last bytes (``TAIL`` at most)."""

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


def ending() -> Generator[Want, bytes | Ending, Ending]:
    """Wait for the end of the stream. No read may follow."""
    answer = yield _NEVER, 0
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
        """Take the next bytes of the stream. Nothing of ``chunk`` itself is kept."""
        begin, length = self.position, len(chunk)
        self.position = end = begin + length
        if end > self._next:
            self._serve(memoryview(chunk), begin, end)
        if length >= TAIL:
            self._tail = bytes(chunk[-TAIL:])
        else:
            self._tail = (self._tail + bytes(chunk))[-TAIL:]

    def finish(self) -> None:
        """The stream has ended: give every reader what there is, then the ending."""
        end = Ending(self.position, self._tail)
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
        """The offset of the next byte that somebody wants."""
        self._next = min((w.next for w in self._waiting), default=_NEVER)
