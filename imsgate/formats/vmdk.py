"""VMDK: hosted sparse files (monolithicSparse, streamOptimized). All other kinds are refused.

On disk: a header of one sector (512 bytes); the descriptor, a text that lists the extents (see
:mod:`vmdk_descriptor`); a grain directory with 32-bit sector numbers of grain tables; grain tables
with 32-bit sector numbers of grains, the unit of allocation. All integers are little-endian; sizes
and offsets are in sectors. A streamOptimized file compresses its grains, puts a marker before each
grain and table, and may end with a footer, a copy of the header with the offset of the grain
directory that the header lacks.

Refused: data in other files (descriptor files, ESX extents, split disks), a parent, invalid header
fields, unknown flags, an extent or a footer that contradicts the header, and a file that ends
before its tables or grains. The descriptor is read where programs look for it, not only where the
header says: QEMU looks for a parent at byte 512, whatever offset the header contains.

Source: VMware, Virtual Disk Format 5.0.
"""

import struct
from array import array
from dataclasses import dataclass, replace

from imsgate.formats import vmdk_descriptor
from imsgate.formats.fields import integers, unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, end_of_stream, read
from imsgate.formats.tables import TableLocations, TableWalker

SPARSE_MAGIC = b"KDMV"
COWD_MAGIC = b"COWD"
SESPARSE_MAGIC = b"\xbe\xba\xfe\xca\0\0\0\0"

_HEADER = struct.Struct("<4xIIQQQQIQQQ5xH")
_MARKER = struct.Struct("<QII")
_GRAIN_MARKER = struct.Struct("<8xI")
_COWD_SECTORS = struct.Struct("<12xI")
_SESPARSE_SECTORS = struct.Struct("<16xQ")

_SECTOR_BYTES = 512
_ENTRY_BYTES = 4
_ZERO_GRAIN = 1
_DIRECTORY_IN_FOOTER = 0xFFFF_FFFF_FFFF_FFFF
_FOOTER_MARKER = 3
_FOOTER_SECTORS = 3
_NEWLINE_TEST, _HAS_MARKERS = 1, 1 << 17
_UNCLEAN_SHUTDOWN, _NEWLINES = slice(72, 73), slice(73, 77)
_KNOWN_FLAGS = 1 | 2 | 4 | 1 << 16 | 1 << 17
_INCOMPATIBLE_FLAGS = 0xFFFF_0000

_MAX_GRAIN_BYTES = 1 << 30
_MAX_TABLE_ENTRIES = 512
_MAX_DIRECTORY_BYTES = 32 << 20
_MIN_SEARCHED_BYTES = _SECTOR_BYTES + 20 * _SECTOR_BYTES
"""All programs look for the descriptor at least up to this offset."""
_MAX_DESCRIPTOR_END = 64 * 1024
_CAPACITY_FIELD, _DESCRIPTOR_FIELD, _DIRECTORY_FIELD = 12, 28, 56


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    flags: int
    capacity: int
    grain_sectors: int
    descriptor: int
    descriptor_sectors: int
    table_entries: int
    spare_directory: int
    directory: int
    overhead: int
    compression: int

    def describes_same_disk(self, other: "_Header") -> bool:
        """Whether all fields are equal except offsets, which may be missing in the header."""
        offsets = {"spare_directory": 0, "directory": 0, "overhead": 0}
        return replace(self, **offsets) == replace(other, **offsets)


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check the header and the descriptor, follow the tables, and check the footer."""
    report.narrow_format("vmdk")
    header = _Header(*unpack(_HEADER, head))
    report.require_size(_SECTOR_BYTES, 0, "the header")
    report.set_virtual_size(header.capacity * _SECTOR_BYTES, _CAPACITY_FIELD)
    report.block_size = header.grain_sectors * _SECTOR_BYTES
    _check_header(header, head, report)
    data = yield from _read_descriptor(head, header, report)
    if header.directory == _DIRECTORY_IN_FOOTER:
        yield from _read_footer(header, report)
        return
    if report.header_is_valid:
        yield from _follow_tables(data, header, report)
    if header.flags & _HAS_MARKERS:
        yield from _read_optional_footer(header, report)


def inspect_cowd(head: bytes, report: Report) -> Reader[None]:
    """A COWD extent of old versions of ESX: a part of a disk, or its changes."""
    yield from _refuse_extent("vmfsSparse", unpack(_COWD_SECTORS, head)[0], report)


def inspect_sesparse(head: bytes, report: Report) -> Reader[None]:
    """A space-efficient sparse extent of ESX."""
    yield from _refuse_extent("seSparse", unpack(_SESPARSE_SECTORS, head)[0], report)


def _refuse_extent(kind: str, sectors: int, report: Report) -> Reader[None]:
    report.narrow_format("vmdk")
    report.set_virtual_size(sectors * _SECTOR_BYTES)
    report.variant = kind
    reason = f"this is a {kind} extent, whose descriptor is in another file"
    report.add_finding("extent_outside", 0, reason)
    yield from ()


def inspect_descriptor(head: bytes, report: Report) -> Reader[None]:
    """A descriptor file, which contains no data: all its extents are other files."""
    report.narrow_format("vmdk")
    reason = "this is only a descriptor; the data is in other files"
    report.add_finding("extent_outside", 0, reason)
    rest = yield from read(len(head), _MAX_DESCRIPTOR_END - len(head))
    descriptor = vmdk_descriptor.parse(head + rest)
    report.variant = descriptor.create_type
    report.set_virtual_size(descriptor.sectors * _SECTOR_BYTES)
    vmdk_descriptor.check_parent(head + rest, 0, report)


def _check_header(header: _Header, head: bytes, report: Report) -> None:
    entries, grain = header.table_entries, header.grain_sectors
    tables = -(-header.capacity // max(grain * entries, 1))
    newlines_changed = header.flags & _NEWLINE_TEST and head[_NEWLINES] != b"\n \r\n"
    problems = (
        (header.version not in (1, 2, 3), 4, f"VMDK version {header.version} is not supported"),
        (
            not header.capacity,
            _CAPACITY_FIELD,
            "the capacity is 0, so programs would use the descriptor instead of the header",
        ),
        (
            grain.bit_count() != 1 or grain * _SECTOR_BYTES > _MAX_GRAIN_BYTES,
            20,
            f"the grain size is {grain} sectors",
        ),
        (
            not 0 < entries <= _MAX_TABLE_ENTRIES,
            44,
            f"a grain table has {entries} entries",
        ),
        (
            tables * _ENTRY_BYTES > _MAX_DIRECTORY_BYTES,
            _CAPACITY_FIELD,
            f"the grain directory has {tables} entries",
        ),
        (header.compression > 1, 77, f"compression {header.compression} is unknown"),
        (newlines_changed, 73, "a transfer in text mode changed the line ends in the file"),
    )
    report.check_header(problems)
    if header.flags & ~_KNOWN_FLAGS & _INCOMPATIBLE_FLAGS:
        reason = f"the flags are {header.flags:#x}, some of which are unknown"
        report.add_finding("unknown_features", 8, reason)
    if any(head[_UNCLEAN_SHUTDOWN]):
        report.add_finding("dirty", _UNCLEAN_SHUTDOWN.start, "the disk was not closed cleanly")
    report.require_size(header.overhead * _SECTOR_BYTES, 64, "the metadata")


def _read_descriptor(head: bytes, header: _Header, report: Report) -> Reader[bytes]:
    """Check the descriptor; return all bytes that have passed."""
    start = header.descriptor * _SECTOR_BYTES
    size = header.descriptor_sectors * _SECTOR_BYTES
    end = start + size
    if not start or not size:
        reason = "there is no descriptor; this may be a part of a split disk"
        report.add_finding("bad_descriptor", _DESCRIPTOR_FIELD, reason)
        end = start = _SECTOR_BYTES
    elif end > _MAX_DESCRIPTOR_END:
        reason = f"the descriptor ends at byte {end}, the limit is {_MAX_DESCRIPTOR_END}"
        report.add_finding("bad_descriptor", _DESCRIPTOR_FIELD, reason)
        end = start = _SECTOR_BYTES
    searched = yield from read(_SECTOR_BYTES, max(_MIN_SEARCHED_BYTES, end) - _SECTOR_BYTES)
    vmdk_descriptor.check_parent(searched, _SECTOR_BYTES, report)
    if end > start:
        report.require_size(end, _DESCRIPTOR_FIELD, "the descriptor")
        text = searched[start - _SECTOR_BYTES : end - _SECTOR_BYTES]
        vmdk_descriptor.check_parent(text, start, report)
        report.variant = vmdk_descriptor.check_embedded(
            text, start, header.capacity, header.grain_sectors, report
        )
    return head + searched


def _follow_tables(data: bytes, header: _Header, report: Report) -> Reader[None]:
    """Determine from the grain directory and the grain tables where the data ends."""
    directory = header.directory * _SECTOR_BYTES
    directory_entries = -(-header.capacity // (header.grain_sectors * header.table_entries))
    directory_size = directory_entries * _ENTRY_BYTES
    walker, tables = TableWalker(data), TableLocations(header.table_entries * _ENTRY_BYTES)
    report.require_size(directory + directory_size, _DIRECTORY_FIELD, "the grain directory")

    def use_directory(piece: bytes) -> None:
        sectors = integers(piece, "I", "little")
        end = tables.add(array("Q", (sector * _SECTOR_BYTES for sector in sectors)))
        report.require_size(end, _DIRECTORY_FIELD, "a grain table")

    last_grain = 0

    def use_table(piece: bytes) -> None:
        nonlocal last_grain
        last_grain = max(last_grain, max(integers(piece, "I", "little"), default=0))

    yield from walker.walk(directory, directory_size, use_directory)
    yield from walker.follow(tables, use_table)
    if last_grain > _ZERO_GRAIN:
        offset = last_grain * _SECTOR_BYTES
        size = yield from _min_grain_size(offset, header)
        report.require_size(offset + size, _DIRECTORY_FIELD, "a grain")


def _min_grain_size(offset: int, header: _Header) -> Reader[int]:
    """The number of bytes that the grain at ``offset`` needs in the file at least."""
    if header.flags & _HAS_MARKERS:
        marker = yield from read(offset, _GRAIN_MARKER.size)
        if len(marker) == _GRAIN_MARKER.size:
            size = _GRAIN_MARKER.size + unpack(_GRAIN_MARKER, marker)[0]
            return -(-size // _SECTOR_BYTES) * _SECTOR_BYTES
        return _SECTOR_BYTES  # the marker has passed, or it is beyond the end of the file
    if header.compression or header.capacity % header.grain_sectors:
        return _SECTOR_BYTES
    return header.grain_sectors * _SECTOR_BYTES


def _read_footer(header: _Header, report: Report) -> Reader[None]:
    """Check the footer of a file whose header requires one.

    The last three sectors are the footer's marker, the footer and the end-of-stream marker.
    """
    end = yield from end_of_stream(_FOOTER_SECTORS * _SECTOR_BYTES)
    tail = end.last(_FOOTER_SECTORS * _SECTOR_BYTES)
    offset = end.size - 2 * _SECTOR_BYTES
    if not _has_footer(tail):
        report.add_finding(
            "truncated", max(offset, 0), "the footer that the header requires is missing"
        )
        return
    if any(unpack(_MARKER, tail, 2 * _SECTOR_BYTES)):
        reason = "the end-of-stream marker is missing"
        report.add_finding("truncated", end.size - _SECTOR_BYTES, reason)
    footer = _compare_footer(tail, offset, header, report)
    directory = footer.directory
    if directory == _DIRECTORY_IN_FOOTER or directory * _SECTOR_BYTES >= end.size:
        reason = f"the grain directory is at sector {directory}"
        report.add_finding("bad_table", offset + _DIRECTORY_FIELD, reason)


def _read_optional_footer(header: _Header, report: Report) -> Reader[None]:
    """Check the footer of a file whose header does not require one, if there is a footer.

    QEMU writes none, and nothing marks the end of its files. They consist of whole sectors.
    """
    end = yield from end_of_stream(_FOOTER_SECTORS * _SECTOR_BYTES)
    if end.size % _SECTOR_BYTES:
        reason = f"the file ends at byte {end.size}, within a sector"
        report.add_finding("truncated", end.size, reason)
    tail = end.last(_FOOTER_SECTORS * _SECTOR_BYTES)
    if _has_footer(tail):
        _compare_footer(tail, end.size - 2 * _SECTOR_BYTES, header, report)


def _has_footer(tail: bytes) -> bool:
    _, size, kind = unpack(_MARKER, tail)
    has_marker = not size and kind == _FOOTER_MARKER
    return has_marker and tail.startswith(SPARSE_MAGIC, _SECTOR_BYTES)


def _compare_footer(tail: bytes, offset: int, header: _Header, report: Report) -> _Header:
    footer = _Header(*unpack(_HEADER, tail, _SECTOR_BYTES))
    if not footer.describes_same_disk(header):
        report.add_finding("footer_mismatch", offset, "the footer differs from the header")
    return footer
