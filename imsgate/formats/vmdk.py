"""VMDK: hosted sparse files (monolithicSparse, streamOptimized), and what is refused.

Source: VMware Virtual Disk Format 5.0. All numbers are little-endian, sizes and places
are in sectors of 512 bytes. Where the descriptor is read from follows what readers do,
not only what the header says: QEMU looks for a parent at byte 512 whatever the header
names.
"""

import struct
from dataclasses import dataclass, replace

from imsgate.formats import vmdk_descriptor
from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack, words
from imsgate.formats.stream import Read, Reader, ending, read
from imsgate.formats.tables import POINTERS, Tables, Targets

SPARSE = b"KDMV"
COWD = b"COWD"
SESPARSE = b"\xbe\xba\xfe\xca\0\0\0\0"

_HEADER = struct.Struct("<4xIIQQQQIQQQ5xH")
_MARKER = struct.Struct("<QII")
_GRAIN = struct.Struct("<8xI")
_COWD_SECTORS = struct.Struct("<12xI")
_SESPARSE_SECTORS = struct.Struct("<16xQ")

_SECTOR = 512
_AT_END = 0xFFFF_FFFF_FFFF_FFFF
_FOOTER_MARKER, _END_MARKER = 3, 0
_NEWLINES, _MARKERS = 1, 1 << 17
_KNOWN_FLAGS = 1 | 2 | 4 | 1 << 16 | 1 << 17

_MOST_GRAIN = 1 << 30
_MOST_DIRECTORY = 32 << 20
_WINDOW = 512 + 20 * _SECTOR
"""Every reader looks for the descriptor at least up to here."""
_MOST_DESCRIPTOR = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_size: int
    table_entries: int
    spare_directory: int
    directory: int
    overhead: int
    compression: int

    def describes_same(self, other: "_Header") -> bool:
        """Whether both mean the same disk; where its tables are, only a footer may know."""
        place = {"spare_directory": 0, "directory": 0, "overhead": 0}
        return replace(self, **place) == replace(other, **place)


def inspect(head: bytes, report: Report) -> Reader:
    """Judge header and descriptor, then the tables, then the footer."""
    report.narrow("vmdk")
    header = _Header(*unpack(_HEADER, head))
    report.need(_SECTOR, 0, "the header")
    report.disk(header.capacity * _SECTOR, 12)
    report.block_size = header.grain * _SECTOR
    _judge_header(header, head, report)
    data = yield from _descriptor(head, header, report)
    if header.directory == _AT_END:
        yield from _footer(header, report)
        return
    if report.sound():
        yield from _follow(data, header, report)
    yield from _end_of_stream(header, report)


def inspect_cowd(head: bytes, report: Report) -> Reader:
    """A COWD extent of old ESX, which may be one piece or a delta of a disk."""
    yield from _extent_alone("vmfsSparse", unpack(_COWD_SECTORS, head)[0], report)


def inspect_sesparse(head: bytes, report: Report) -> Reader:
    """A space-efficient extent of ESX."""
    yield from _extent_alone("seSparse", unpack(_SESPARSE_SECTORS, head)[0], report)


def _extent_alone(kind: str, sectors: int, report: Report) -> Reader:
    report.narrow("vmdk")
    report.disk(sectors * _SECTOR)
    report.variant = kind
    report.find("extent_outside", 0, f"a {kind} extent belongs to a descriptor in another file")
    yield from ()


def descriptor_file(head: bytes, report: Report) -> Reader:
    """A descriptor without data: all its extents are other files."""
    report.narrow("vmdk")
    report.find("extent_outside", 0, "a descriptor alone: the data lies in other files")
    rest = yield from read(len(head), _MOST_DESCRIPTOR - len(head))
    descriptor = vmdk_descriptor.parse(head + rest)
    report.variant = descriptor.create_type
    report.disk(descriptor.sectors * _SECTOR)
    vmdk_descriptor.judge_parent(head + rest, 0, report)


def _judge_header(header: _Header, head: bytes, report: Report) -> None:
    entries = header.table_entries
    tables = -(-header.capacity // max(header.grain * entries, 1))
    for wrong, offset, reason in (
        (header.version not in (1, 2, 3), 4, f"version {header.version} is not known"),
        (not header.capacity, 12, "the capacity is 0, so that the descriptor counts instead"),
        (
            header.grain.bit_count() != 1 or header.grain * _SECTOR > _MOST_GRAIN,
            20,
            f"grains of {header.grain} sectors",
        ),
        (not 0 < entries <= 512, 44, f"tables of {entries} entries"),
        (tables * 4 > _MOST_DIRECTORY, 12, f"a directory of {tables} tables"),
        (header.compression > 1, 77, f"compression {header.compression} is not known"),
        (
            header.flags & _NEWLINES and head[73:77] != b"\n \r\n",
            73,
            "line ends were changed by a transfer in text mode",
        ),
    ):
        if wrong:
            report.find("bad_header", offset, reason)
            break
    if header.flags & ~_KNOWN_FLAGS & 0xFFFF_0000:
        report.find("unknown_features", 8, f"flags {header.flags:#x}")
    report.need(header.overhead * _SECTOR, 64, "the metadata")


def _descriptor(head: bytes, header: _Header, report: Report) -> Read:
    """Judge the descriptor; returns the first bytes of the image, which have passed."""
    start, size = header.descriptor * _SECTOR, header.descriptor_size * _SECTOR
    end = start + size
    if not start or not size:
        report.find("bad_descriptor", 28, "no descriptor: one piece of a split disk")
        end = start = _SECTOR
    elif end > _MOST_DESCRIPTOR:
        report.find("bad_descriptor", 28, f"the descriptor ends at byte {end}, beyond 64 KiB")
        end = start = _SECTOR
    window = yield from read(_SECTOR, max(_WINDOW, end) - _SECTOR)
    vmdk_descriptor.judge_parent(window, _SECTOR, report)
    if end > start:
        report.need(end, 28, "the descriptor")
        text = window[start - _SECTOR : end - _SECTOR]
        vmdk_descriptor.judge_parent(text, start, report)
        report.variant = vmdk_descriptor.judge_embedded(text, start, report)
    return head + window


def _follow(data: bytes, header: _Header, report: Report) -> Reader:
    """Learn from the grain directory and tables how far the image reaches."""
    count = -(-header.capacity // (header.grain * header.table_entries))
    grain = _SECTOR if header.compression else header.grain * _SECTOR
    if header.capacity % header.grain:
        grain = _SECTOR
    tables, grains = Tables(data), Targets(header.table_entries * 4)
    report.need(header.directory * _SECTOR + count * 4, 56, "the grain directory")

    def use_directory(piece: bytes) -> None:
        ends = grains.add(sector * _SECTOR for sector in words(piece, "I", "little"))
        report.need(ends, 56, "a grain table")

    last = 0

    def use_table(piece: bytes) -> None:
        nonlocal last
        last = max(last, max(words(piece, "I", "little"), default=0))

    yield from tables.walk(header.directory * _SECTOR, count * 4, use_directory, POINTERS)
    yield from tables.follow(grains, use_table)
    if last > 1:  # 1 stands for a grain of zeros
        if header.flags & _MARKERS:
            marker = yield from read(last * _SECTOR, _GRAIN.size)
            grain = _GRAIN.size + unpack(_GRAIN, marker)[0]
        report.need(last * _SECTOR + grain, 56, "a grain")


def _footer(header: _Header, report: Report) -> Reader:
    """The last three sectors: a marker, the header with the directory's place, the end."""
    end = yield from ending(3 * _SECTOR)
    tail = end.last(3 * _SECTOR)
    at = end.size - 2 * _SECTOR
    _, size, kind = unpack(_MARKER, tail)
    if not tail or size or kind != _FOOTER_MARKER or tail[512:516] != SPARSE:
        report.find("truncated", max(at, 0), "the header promises a footer, and there is none")
        return
    if any(unpack(_MARKER, tail, 1024)):
        report.find("truncated", end.size - _SECTOR, "there is no end-of-stream marker")
    footer = _Header(*unpack(_HEADER, tail, 512))
    if not footer.describes_same(header):
        report.find("footer_mismatch", at, "the footer differs from the header")
    if footer.directory == _AT_END or footer.directory * _SECTOR >= end.size:
        report.find("bad_table", at + 56, f"the grain directory is at {footer.directory}")


def _end_of_stream(header: _Header, report: Report) -> Reader:
    """A stream with markers may carry a footer although it needs none."""
    if not header.flags & _MARKERS:
        return
    end = yield from ending(3 * _SECTOR)
    tail = end.last(3 * _SECTOR)
    _, size, kind = unpack(_MARKER, tail)
    if tail and not size and kind == _FOOTER_MARKER and tail[512:516] == SPARSE:
        footer = _Header(*unpack(_HEADER, tail, 512))
        if not footer.describes_same(header):
            report.find("footer_mismatch", end.size - 1024, "the footer differs from the header")
