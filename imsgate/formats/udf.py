"""The end of a UDF volume.

On disk: after the volume recognition sequence (see :mod:`iso`) come descriptors of one sector (512
to 4096 bytes). Each begins with a tag: its identifier, a checksum of the tag, and its own sector
number. The anchor at sector 256 locates the volume descriptor sequence and its copy; both
contain the descriptors of the partitions. The sequence usually precedes the anchor, its copy is
usually at the end of the volume. All integers are little-endian.

The descriptors are recognized by their tags where they pass, since the sector size is not known
before.

Source: ECMA-167, parts 3 (10.2 anchor, 10.5 partition) and 3/7.2 (tag).
"""

import struct

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


class _Volume:
    """What the descriptors that have passed say."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.has_partition = False
        #: Offset and length in bytes of the volume descriptor sequence and its copy.
        self.sequences: list[tuple[int, int]] = []

    def examine(self, data: bytes, offset: int) -> None:
        """Examine the descriptors in ``data``, which is at ``offset`` of the stream."""
        for start in range(0, len(data) - _SECTOR_BYTES + 1, _SECTOR_BYTES):
            if data[start] in (_ANCHOR, _PARTITION) and not data[start + 1]:
                self._examine_sector(data[start : start + _SECTOR_BYTES], offset + start)

    def _examine_sector(self, sector: bytes, offset: int) -> None:
        kind, version, checksum, reserved, location = unpack(_TAG, sector)
        tag_sum = sum(sector[:_TAG_BYTES]) - sector[_TAG_CHECKSUM]
        if version not in _VERSIONS or tag_sum & 0xFF != checksum or reserved:
            return
        size = offset // location if location else 0
        if size not in _SECTOR_SIZES or location * size != offset:
            return
        if kind == _PARTITION:
            self.has_partition = True
            access, first, length = unpack(_PARTITION_FIELDS, sector)
            # The partition of a medium that is written once may extend beyond what is written.
            if access != _WRITE_ONCE:
                self._report.require_size((first + length) * size, offset + 188, "the partition")
        elif location == _ANCHOR_SECTOR and not self.sequences:
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
