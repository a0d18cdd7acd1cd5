"""Follows an image's tables while they pass, to determine where its data ends.

Each table is read once, in the order of the stream. A table is skipped if it passed before the
pointer to it was known and its bytes were not kept. Data that only a skipped table locates can be
cut off unnoticed; nothing else depends on the tables.

A table has no limit but its format's: a byte of it costs a few times as much as its digests, and
only once it has been sent.
"""

import heapq
from array import array
from collections.abc import Callable, Iterator

from imsgate.formats.stream import Reader, read

PIECE_BYTES = 16 * 1024
"""Tables are read in pieces of this size."""

_MAX_SCATTERED = 8192
_MAX_RUNS = 1024


class TableWalker:
    """Reads the tables of one image."""

    def __init__(self, head: bytes, position: int = 0) -> None:
        """``head`` contains the first bytes of the image, which have passed.

        ``position`` is the offset of the first byte that has not passed, if that is beyond
        ``head``.
        """
        self._head = head
        #: The offset of the first byte that has not passed.
        self.position = max(position, len(head))

    def walk(self, offset: int, length: int, use: Callable[[bytes], None]) -> Reader[None]:
        """Call ``use`` with the pieces of a table. Pieces contain whole 64-bit entries.

        Pieces of zeros and pieces that repeat the one before them are left out: the tables of a
        large disk contain little else.
        """
        end, previous = offset + length, b""
        if len(self._head) <= offset < self.position:
            return
        while offset < end:
            size = min(PIECE_BYTES, end - offset)
            piece = self._head[offset : offset + size]
            if len(piece) < size:
                piece += yield from read(offset + len(piece), size - len(piece))
            offset += size
            self.position = max(self.position, offset)
            if not piece:
                return
            if piece != previous and piece.count(0) < len(piece):
                use(piece)
            previous = piece

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

    A piece of the first-level table whose entries are adjacent tables in ascending order takes the
    place of a single table. Of more than 8192 other tables, the last ones are kept.
    """

    def __init__(self, table_length: int) -> None:
        """Each table is ``table_length`` bytes long."""
        self.table_length = table_length
        self._scattered = array("Q")
        self._runs: list[tuple[int, int]] = []

    def add(self, offsets: "array[int]") -> int:
        """Add tables; offset 0 means that there is no table.

        Returns the end of the table with the largest offset, 0 if there are no tables.
        """
        used = array("Q", filter(None, offsets))
        if not used:
            return 0
        run_length = len(used) * self.table_length
        run = range(used[0], used[0] + run_length, self.table_length)
        if used[-1] == run[-1] and used == array("Q", run):
            self._add_run(used[0], run_length)
            return used[-1] + self.table_length
        self._scattered.extend(used)
        del self._scattered[:-_MAX_SCATTERED]
        return max(used) + self.table_length

    def _add_run(self, offset: int, length: int) -> None:
        if self._runs and sum(self._runs[-1]) == offset:
            offset, previous_length = self._runs.pop()
            length += previous_length
        self._runs.append((offset, length))
        del self._runs[:-_MAX_RUNS]

    def runs(self) -> Iterator[tuple[int, int]]:
        """Offset and length of each run of adjacent tables in bytes, sorted by offset.

        A table that several entries name may be in several runs.
        """
        single = ((offset, self.table_length) for offset in sorted(set(self._scattered)))
        start, length = 0, 0
        for offset, size in heapq.merge(sorted(self._runs), single):
            if length and offset == start + length:
                length += size
                continue
            if length:
                yield start, length
            start, length = offset, size
        if length:
            yield start, length
