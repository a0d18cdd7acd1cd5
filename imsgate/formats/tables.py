"""Follows an image's tables while they pass, to determine where its data ends.

Each table is read once, in the order of the stream, and only within a budget, so that no table
can make an inspection slow or its memory large. A table is skipped if it passed before the pointer
to it was known and its bytes were not kept, or if it exceeds the budget. Data that only a skipped
table locates can be cut off unnoticed; nothing else depends on the tables.
"""

from collections import deque
from collections.abc import Callable, Iterable

from imsgate.formats.stream import Reader, read

PIECE_BYTES = 16 * 1024
"""Tables are read in pieces of this size."""

POINTER_TABLE_COST = 4
"""The cost factor of a table whose entries are collected, for :meth:`TableWalker.walk`."""

_BASE_BUDGET_BYTES = 256 * 1024
_IMAGE_BYTES_PER_BUDGET_BYTE = 512
_ZERO_PIECE_DISCOUNT = 16
_MAX_RUNS = 2048


class TableWalker:
    """Reads the tables of one image within a budget.

    The budget is 256 KiB plus one byte for each 512 bytes of image before the table. A piece that
    contains only zeros costs a sixteenth.
    """

    def __init__(self, head: bytes, position: int = 0) -> None:
        """``head`` contains the first bytes of the image, which have passed.

        ``position`` is the offset of the first byte that has not passed, if that is beyond
        ``head``.
        """
        self._head = head
        #: The offset of the first byte that has not passed.
        self.position = max(position, len(head))
        self._spent = 0

    def walk(
        self, offset: int, length: int, use: Callable[[bytes], None], cost: int = 1
    ) -> Reader[None]:
        """Call ``use`` with each piece of a table. Pieces contain whole 64-bit entries.

        ``cost`` is the time that ``use`` takes, relative to finding the largest entry.
        """
        end = offset + length
        if len(self._head) <= offset < self.position:
            return
        while offset < end:
            size = min(PIECE_BYTES, end - offset)
            budget = _BASE_BUDGET_BYTES + offset // _IMAGE_BYTES_PER_BUDGET_BYTE
            if self._spent + size * cost > budget:
                return
            piece = self._head[offset : offset + size]
            if len(piece) < size:
                piece += yield from read(offset + len(piece), size - len(piece))
            offset += size
            self.position = max(self.position, offset)
            if not piece:
                return
            if piece.count(0) == len(piece):
                self._spent += size // _ZERO_PIECE_DISCOUNT
            else:
                self._spent += size * cost
                use(piece)

    def follow(self, tables: "TableLocations", use: Callable[[bytes], None]) -> Reader[None]:
        """Walk all second-level tables, in the order of the stream."""
        length = tables.table_length
        for start, run_length in tables.runs():
            end = start + run_length
            in_head = max(0, min(end, len(self._head)) - start) // length * length
            for offset in range(start, start + in_head, length):
                yield from self.walk(offset, length, use)
            offset = start + in_head
            offset += max(0, -((offset - self.position) // length)) * length
            while offset < end:
                size = min(max(PIECE_BYTES // length, 1) * length, end - offset)
                yield from self.walk(offset, size, use)
                offset += size


class TableLocations:
    """The offsets of second-level tables, collected from the first-level table.

    Adjacent tables form a run. Of more than 2048 runs, the last ones are kept.
    """

    def __init__(self, table_length: int) -> None:
        """Each table is ``table_length`` bytes long."""
        self.table_length = table_length
        self._runs: deque[tuple[int, int]] = deque(maxlen=_MAX_RUNS)

    def add(self, offsets: Iterable[int]) -> int:
        """Add tables; offset 0 means that there is no table.

        Returns the end of the table with the largest offset, 0 if there are no tables.
        """
        used = sorted(set(offsets) - {0})
        if not used:
            return 0
        if used[-1] - used[0] == (len(used) - 1) * self.table_length:
            self._join(used[0], len(used) * self.table_length)
        else:
            for offset in used[-_MAX_RUNS:]:
                self._join(offset, self.table_length)
        return used[-1] + self.table_length

    def _join(self, offset: int, length: int) -> None:
        if self._runs and sum(self._runs[-1]) == offset:
            offset, previous_length = self._runs.pop()
            length += previous_length
        self._runs.append((offset, length))

    def runs(self) -> list[tuple[int, int]]:
        """Offset and length of each run in bytes, sorted by offset."""
        return sorted(self._runs)
