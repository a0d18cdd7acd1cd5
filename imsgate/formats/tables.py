"""Follow an image's tables while they pass, to learn how far its data reaches.

Each table is looked at once, in the order of the stream, and only within a budget, so
that no table makes an inspection slow or large. What has passed before its pointer was
seen, and what is beyond the budget, is not looked at; it can hide nothing but a cut.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable

from imsgate.formats.stream import Ending, Want, read

PIECE = 16 * 1024
"""Tables are taken in pieces of this many bytes."""

POINTERS = 4
"""The price of a table whose entries are collected."""

_FREE = 256 * 1024
_SHARE = 512
_MOST_RUNS = 2048

Walk = Generator[Want, bytes | Ending, None]


class Tables:
    """The tables of one image; ``head`` are the first bytes of the image, which have passed.

    The budget is 256 KiB and one byte of table for each 512 bytes of image; a piece of
    zeros costs a sixteenth of another.
    """

    def __init__(self, head: bytes, position: int = 0) -> None:
        """``position`` is the first byte that has not passed, if that is beyond ``head``."""
        self._head = head
        self._position = max(position, len(head))
        self._spent = 0

    def walk(self, offset: int, length: int, use: Callable[[bytes], None], price: int = 1) -> Walk:
        """Give a table to ``use`` piece by piece. Pieces hold whole 64-bit entries.

        ``price`` is how many times the time of taking a maximum ``use`` needs.
        """
        end = offset + length
        if len(self._head) <= offset < self._position:
            return
        while offset < end:
            size = min(PIECE, end - offset)
            if self._spent + size * price > _FREE + offset // _SHARE:
                return
            piece = self._head[offset : offset + size]
            if len(piece) < size:
                piece += yield from read(offset + len(piece), size - len(piece))
            offset += size
            self._position = max(self._position, offset)
            if not piece:
                return
            if piece.count(0) == len(piece):
                self._spent += size // 16
            else:
                self._spent += size * price
                use(piece)

    def follow(self, targets: "Targets", use: Callable[[bytes], None]) -> Walk:
        """Walk every table that ``targets`` found, in the order of the stream."""
        for start, length in targets.runs():
            first = start + max(0, -((start - self._position) // targets.length)) * targets.length
            while first < start + length:
                size = min(max(PIECE // targets.length, 1) * targets.length, start + length - first)
                yield from self.walk(first, size, use)
                first += size


class Targets:
    """Places of second-level tables of ``length`` bytes, collected from a first level.

    Neighbours are one run; of more than 2048 runs the ones named last are kept.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._runs: deque[tuple[int, int]] = deque(maxlen=_MOST_RUNS)

    def add(self, offsets: Iterable[int]) -> int:
        """Note tables; returns the largest end, 0 for none. Zero stands for no table."""
        found = sorted(set(offsets) - {0})
        if not found:
            return 0
        if found[-1] - found[0] == (len(found) - 1) * self.length:
            self._join(found[0], len(found) * self.length)
        else:
            for offset in found[-_MOST_RUNS:]:
                self._join(offset, self.length)
        return found[-1] + self.length

    def _join(self, offset: int, length: int) -> None:
        if self._runs and sum(self._runs[-1]) == offset:
            offset, before = self._runs.pop()
            length += before
        self._runs.append((offset, length))

    def runs(self) -> list[tuple[int, int]]:
        """Offset and length of each run, by offset."""
        return sorted(self._runs)
