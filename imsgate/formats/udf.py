"""The end of a UDF volume.

On disk: after the volume recognition sequence (see :mod:`iso`) come descriptors of one sector (512
to 4096 bytes). Each begins with a tag: its identifier, a checksum of the tag, and its own sector
number. The anchor at sector 256 locates the volume descriptor sequence and its copy; both
contain the descriptors of the partitions. The sequence usually precedes the anchor, its copy is
usually at the end of the volume. All integers are little-endian.

The anchor is in two of three sectors: 256, N - 256 and N, where N is the last sector. If the copy
follows the partition, an anchor between the two is in sector N - 256; without one, an anchor is
behind the copy.

The descriptors are recognized by their tags where they pass, since the sector size is not known
before.

Source: ECMA-167, parts 3 (8.4.2.1 anchors, 10.2 anchor, 10.5 partition) and 3/7.2 (tag).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imsgate.formats.fields import unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, read

_TAG = struct.Struct("<HHBB6xI")
_TAG_BYTES, _TAG_CHECKSUM = 16, 4
_VERSIONS = (2, 3)
_ANCHOR, _PARTITION = 2, 5
_ANCHOR_EXTENTS = struct.Struct("<16xIIII")
_ANCHOR_SECTOR = 256
_PARTITION_FIELDS = struct.Struct("<184xIII")
_WRITE_ONCE = 2
_SECTOR_SIZES = (512, 1024, 2048, 4096)
_SECTOR_BYTES = 512
_PIECE_BYTES = 16 * 1024
_ANCHORS_END = _ANCHOR_SECTOR * _SECTOR_SIZES[-1] + _SECTOR_BYTES
_MAX_SEQUENCE_BYTES = 64 * 1024
_MAX_GAP_BYTES = 2 * 1024 * 1024
"""Between the partition and the copy: an anchor and alignment, of a few hundred sectors at most."""


@dataclass(frozen=True, slots=True)
class _Tag:
    """The tag of an anchor or a partition descriptor. ``location`` is its own sector number."""

    kind: int
    location: int
    sector_bytes: int


def _descriptors(data: bytes, offset: int) -> Iterator[tuple[bytes, int, _Tag]]:
    """Each anchor and partition descriptor in ``data``, its offset in the stream, and its tag."""
    for start in range(0, len(data) - _SECTOR_BYTES + 1, _SECTOR_BYTES):
        if data[start] in (_ANCHOR, _PARTITION) and not data[start + 1]:
            sector = data[start : start + _SECTOR_BYTES]
            if tag := _tag(sector, offset + start):
                yield sector, offset + start, tag


def _tag(sector: bytes, offset: int) -> _Tag | None:
    """The tag of a sector at ``offset``; None unless it is valid."""
    kind, version, checksum, reserved, location = unpack(_TAG, sector)
    tag_sum = sum(sector[:_TAG_BYTES]) - sector[_TAG_CHECKSUM]
    if version not in _VERSIONS or tag_sum & 0xFF != checksum or reserved:
        return None
    size = offset // location if location else 0
    if size not in _SECTOR_SIZES or location * size != offset:
        return None
    return _Tag(kind, location, size)


class _Volume:
    """What the descriptors that have passed say."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.has_partition = False
        self.sector_bytes = 0
        #: The end of the last partition that can be rewritten, in bytes.
        self.partition_end = 0
        #: Offset and length in bytes of the volume descriptor sequence and its copy.
        self.sequences: list[tuple[int, int]] = []

    def examine(self, data: bytes, offset: int) -> None:
        """Examine the descriptors in ``data``, which is at ``offset`` of the stream."""
        for sector, at, tag in _descriptors(data, offset):
            if tag.kind == _PARTITION:
                self._examine_partition(sector, at, tag)
            elif tag.location == _ANCHOR_SECTOR and not self.sequences:
                self._examine_anchor(sector, at, tag)

    def _examine_partition(self, sector: bytes, offset: int, tag: _Tag) -> None:
        self.has_partition = True
        access, first, length = unpack(_PARTITION_FIELDS, sector)
        # The partition of a medium that is written once may extend beyond what is written.
        if access != _WRITE_ONCE:
            end = (first + length) * tag.sector_bytes
            self.partition_end = max(self.partition_end, end)
            self._report.require_size(end, offset + 188, "the partition")

    def _examine_anchor(self, sector: bytes, offset: int, tag: _Tag) -> None:
        size = self.sector_bytes = tag.sector_bytes
        main_length, main, copy_length, copy = unpack(_ANCHOR_EXTENTS, sector)
        self.sequences = [(main * size, main_length), (copy * size, copy_length)]
        for start, length in self.sequences:
            self._report.require_size(start + length, offset + 16, "a descriptor sequence")


def require_volume(data: bytes, offset: int, report: Report) -> Reader[None]:
    """Determine where the volume ends.

    ``data`` is at ``offset``, and the bytes after it have not passed.
    """
    report.require_size((_ANCHOR_SECTOR + 1) * _SECTOR_BYTES, offset, "the anchor")
    volume = _Volume(report)
    volume.examine(data, offset)
    end = offset + len(data)
    while end < _ANCHORS_END and not (volume.has_partition and volume.sequences):
        piece = yield from read(end, _PIECE_BYTES)
        volume.examine(piece, end)
        end += _PIECE_BYTES
    for start, length in sorted(volume.sequences):
        if start >= end and not volume.has_partition:
            sequence = yield from read(start, min(length, _MAX_SEQUENCE_BYTES))
            volume.examine(sequence, start)
            end = start + len(sequence)
    if volume.sequences and volume.partition_end:
        yield from _require_last_anchor(volume, end, report)


def _require_last_anchor(volume: _Volume, end: int, report: Report) -> Reader[None]:
    """Determine where the last anchor is. The bytes after ``end`` have not passed."""
    copy, length = volume.sequences[1]
    start = volume.partition_end
    if not end <= start <= copy <= start + _MAX_GAP_BYTES:
        return
    for offset in range(start, copy, _PIECE_BYTES):
        piece = yield from read(offset, min(_PIECE_BYTES, copy - offset))
        for _, at, tag in _descriptors(piece, offset):
            if tag.kind == _ANCHOR and tag.sector_bytes == volume.sector_bytes:
                report.require_size(at + (_ANCHOR_SECTOR + 1) * tag.sector_bytes, at, "the volume")
                return
    report.require_size(copy + length + volume.sector_bytes, copy, "the last anchor")
