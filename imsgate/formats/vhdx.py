"""VHDX, the disk of Hyper-V. All numbers are little-endian.

Source: [MS-VHDX]. Two headers (the valid one with the higher sequence number counts),
two copies of the region table, a block allocation table and a metadata region.
"""

import struct
from collections.abc import Generator
from uuid import UUID

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack, words
from imsgate.formats.stream import Ending, Reader, Want, read
from imsgate.formats.tables import Tables

MAGIC = b"vhdxfile"

_KIB, _MIB = 1 << 10, 1 << 20
_HEADERS = (64 * _KIB, 128 * _KIB)
_REGIONS = (192 * _KIB, 256 * _KIB)
_TABLE = 64 * _KIB
_HEADER_SIZE = 4096
_MOST_ENTRIES = 2047

_HEADER = struct.Struct("<8xQ32x16xHHIQ")
_LOG_ID = slice(48, 64)
_REGION = struct.Struct("<16xQII")
_ITEM = struct.Struct("<16xIIII")
_NUMBER = struct.Struct("<Q")
_FOUR = struct.Struct("<4xI")
_COUNT_REGIONS, _COUNT_ITEMS = struct.Struct("<8xI"), struct.Struct("<10xH")

_BAT = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_DISK_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_PARENT = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_SECTOR = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
_OTHERS = (
    UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le,
    UUID("cda348c7-445d-4471-9cc9-e9885251c556").bytes_le,
)
_REQUIRED = 4
_HAS_PARENT = 2
_BLOCK_STATES = 7
_PRESENT = 6
_MOST_SIZE = 64 << 40


def inspect(head: bytes, report: Report) -> Reader:
    """Judge headers, regions and metadata, then the block table."""
    report.narrow("vhdx")
    report.need(_MIB, 0, "the header section")
    headers = []
    for at in _HEADERS:
        data = yield from read(at, _HEADER_SIZE)
        headers.append((at, data))
    _judge_headers(headers, report)
    regions = yield from _regions(report)
    if report.sound():
        yield from _in_order(regions, report)


def _crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of a header, whose checksum at byte 4 counts as zero."""
    crc = 0xFFFF_FFFF
    for byte in data[:4] + bytes(4) + data[8:]:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F6_3B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(map(_crc_of, range(256)))


def _judge_headers(headers: list[tuple[int, bytes]], report: Report) -> None:
    marked = [(unpack(_HEADER, data), at, data) for at, data in headers if data[:4] == b"head"]
    for fields, at, data in sorted(marked, reverse=True):
        if _crc32c(data) == unpack(_FOUR, data)[0]:
            _judge_header(fields, at, data, report)
            return
    report.find("bad_header", _HEADERS[0], "neither header is valid")


def _judge_header(fields: tuple[int, ...], at: int, data: bytes, report: Report) -> None:
    _, _, version, log_size, log = fields
    if version != 1:
        report.find("bad_header", at + 66, f"version {version} is not known")
    if log % _MIB or log_size % _MIB or (log_size and log < _MIB):
        report.find("bad_header", at + 72, f"a log of {log_size} bytes at {log}")
    report.need(log + log_size, at + 72, "the log")
    if any(data[_LOG_ID]):
        report.find("dirty_log", at + 48, "the log is in use")


def _regions(report: Report) -> Generator[Want, bytes | Ending, dict[bytes, tuple[int, int]]]:
    """The regions by id: offset and length."""
    at = _REGIONS[0]
    first = yield from read(at, _TABLE)
    second = yield from read(_REGIONS[1], _TABLE)
    found: dict[bytes, tuple[int, int]] = {}
    count = unpack(_COUNT_REGIONS, first)[0]
    if not first.startswith(b"regi") or count > _MOST_ENTRIES:
        report.find("bad_header", at, f"no region table, or one of {count} entries")
        return found
    if first != second:
        report.find("footer_mismatch", _REGIONS[1], "the two region tables differ")
    for entry in range(at + 16, at + 16 + count * 32, 32):
        ident = first[entry - at : entry - at + 16]
        start, length, required = unpack(_REGION, first, entry - at)
        if ident not in (_BAT, _METADATA):
            if required & 1:
                report.find("unknown_features", entry, "a required region that is not known")
            continue
        if start < _MIB or start % _MIB or length % _MIB or ident in found:
            report.find("bad_table", entry + 16, f"a region of {length} bytes at {start}")
        report.need(start + length, entry + 16, "a region")
        found[ident] = (start, length)
    if len(found) != 2:
        report.find("bad_header", at, "the block table or the metadata is missing")
    return found


def _in_order(regions: dict[bytes, tuple[int, int]], report: Report) -> Reader:
    """The block table may stand before the metadata that says how large a block is."""
    (bat, bat_size), (metadata, _) = regions[_BAT], regions[_METADATA]
    last = 0

    def use(piece: bytes) -> None:
        nonlocal last
        for entry in words(piece, "Q", "little"):
            if entry & _BLOCK_STATES >= _PRESENT and entry > last:
                last = entry

    if bat < metadata:
        yield from Tables(b"", _REGIONS[1] + _TABLE).walk(bat, bat_size, use)
    yield from _items(metadata, report)
    if bat > metadata:
        yield from Tables(b"", metadata + _TABLE).walk(bat, bat_size, use)
    if last:
        report.need((last >> 20) * _MIB + (report.block_size or 0), bat, "a block")


def _items(table: int, report: Report) -> Reader:
    """Read the metadata table and, in the order of the stream, the items that matter."""
    data = yield from read(table, _TABLE)
    count = unpack(_COUNT_ITEMS, data)[0]
    if not data.startswith(b"metadata") or count > _MOST_ENTRIES:
        report.find("bad_header", table, f"no metadata table, or one of {count} entries")
        return
    wanted: dict[bytes, int] = {}
    for at in range(32, 32 + count * 32, 32):
        ident = data[at : at + 16]
        offset, _, flags, _ = unpack(_ITEM, data, at)
        if ident == _PARENT:
            report.find("parent", table + at, "the metadata holds a parent locator")
        elif ident in (_PARAMETERS, _DISK_SIZE, _SECTOR):
            wanted[ident] = table + offset
            if offset < _TABLE:
                report.find("bad_header", table + at + 16, "an item inside its table")
        elif flags & _REQUIRED and ident not in _OTHERS:
            report.find("unknown_features", table + at, "required metadata that is not known")
    if len(wanted) < 3:
        report.find("bad_header", table, "metadata that every disk must have is missing")
    for at, ident in sorted((at, ident) for ident, at in wanted.items()):
        value = yield from read(at, 8)
        _judge_item(ident, unpack(_NUMBER, value)[0], at, report)


def _judge_item(ident: bytes, value: int, at: int, report: Report) -> None:
    if ident == _DISK_SIZE:
        report.disk(value, at)
        if not value or value % 512 or value > _MOST_SIZE:
            report.find("bad_header", at, f"a disk of {value} bytes")
    elif ident == _PARAMETERS:
        block, flags = value & 0xFFFF_FFFF, value >> 32
        report.block_size = block
        if block.bit_count() != 1 or not _MIB <= block <= 256 * _MIB:
            report.find("bad_header", at, f"blocks of {block} bytes")
        if flags & _HAS_PARENT:
            report.find("parent", at + 4, "the disk has a parent")
    elif value & 0xFFFF_FFFF not in (512, 4096):
        report.find("bad_header", at, f"sectors of {value & 0xFFFF_FFFF} bytes")
