"""VHDX, the disk format of Hyper-V.

On disk: the magic number at byte 0, two headers (at 64 and 128 KiB; of those with a valid checksum,
the one with the higher sequence number is used), two copies of the region table (at 192 and 256
KiB), then at multiples of 1 MiB, in any order, the log, the metadata region, the block allocation
table (BAT) and the blocks. All integers are little-endian. Regions and metadata items are
identified by UUIDs. A BAT entry has 64 bits: the state of the block in the three lowest bits, the
offset in MiB from bit 20 on.

Refused: a parent, a log that is not empty, required regions or items that are unknown, invalid
sizes and offsets, region tables that differ, and a file that ends before its regions or blocks.

Source: [MS-VHDX].
"""

import struct
from uuid import UUID

from imsgate.formats.fields import integers, unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, read
from imsgate.formats.tables import TableWalker

MAGIC = b"vhdxfile"

_KIB, _MIB = 1 << 10, 1 << 20
_HEADER_OFFSETS = (64 * _KIB, 128 * _KIB)
_REGION_TABLE_OFFSETS = (192 * _KIB, 256 * _KIB)
_HEADER_BYTES = 4096
_TABLE_BYTES = 64 * _KIB
"""Size of a region table, and of the metadata table."""
_TABLE_ENTRY_BYTES = 32
_MAX_TABLE_ENTRIES = 2047
_REGION_ENTRIES, _METADATA_ENTRIES = 16, 32
"""Offsets of the first entry in these tables."""

_HEADER = struct.Struct("<8xQ32x16xHHIQ")
_HEADER_CHECKSUM = struct.Struct("<4xI")
_LOG_UUID = slice(48, 64)
_REGION_COUNT, _ITEM_COUNT = struct.Struct("<8xI"), struct.Struct("<10xH")
_REGION = struct.Struct("<16xQII")
_ITEM = struct.Struct("<16xIIII")

_BAT = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_FILE_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_VIRTUAL_DISK_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_LOGICAL_SECTOR_SIZE = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
_PARENT_LOCATOR = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_VIRTUAL_DISK_ID = UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le
_PHYSICAL_SECTOR_SIZE = UUID("cda348c7-445d-4471-9cc9-e9885251c556").bytes_le
_NEEDED_ITEMS = {_FILE_PARAMETERS: 8, _VIRTUAL_DISK_SIZE: 8, _LOGICAL_SECTOR_SIZE: 4}
"""Sizes in bytes."""
_IGNORED_ITEMS = (_VIRTUAL_DISK_ID, _PHYSICAL_SECTOR_SIZE)

_REGION_IS_REQUIRED = 1
_ITEM_IS_REQUIRED = 4
_HAS_PARENT = 2
_BLOCK_STATE_MASK = 7
_FULLY_PRESENT = 6
_MAX_VIRTUAL_BYTES = 64 << 40

Regions = dict[bytes, tuple[int, int]]
"""Offset and length in bytes of the regions, by UUID."""


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check headers, regions and metadata, and read the block allocation table."""
    report.narrow_format("vhdx")
    report.require_size(_MIB, 0, "the header section")
    headers = []
    for offset in _HEADER_OFFSETS:
        data = yield from read(offset, _HEADER_BYTES)
        headers.append((offset, data))
    _check_headers(headers, report)
    regions = yield from _read_regions(report)
    if report.header_is_valid:
        yield from _read_regions_in_order(regions, report)


def _crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of a header, whose checksum field (byte 4) counts as zero."""
    crc = 0xFFFF_FFFF
    for byte in data[:4] + bytes(4) + data[8:]:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F6_3B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(map(_crc_of_byte, range(256)))


def _check_headers(headers: list[tuple[int, bytes]], report: Report) -> None:
    """Check the current header: the valid one with the highest sequence number."""
    candidates = [
        (unpack(_HEADER, data), offset, data) for offset, data in headers if data[:4] == b"head"
    ]
    for fields, offset, data in sorted(candidates, reverse=True):
        if _crc32c(data) == unpack(_HEADER_CHECKSUM, data)[0]:
            _check_header(fields, offset, data, report)
            return
    report.add_finding("bad_header", _HEADER_OFFSETS[0], "neither of the two headers is valid")


def _check_header(fields: tuple[int, ...], offset: int, data: bytes, report: Report) -> None:
    _, _, version, log_size, log = fields
    if version != 1:
        report.add_finding("bad_header", offset + 66, f"VHDX version {version} is not supported")
    if log % _MIB or log_size % _MIB or (log_size and log < _MIB):
        reason = f"the log has {log_size} bytes at byte {log}"
        report.add_finding("bad_header", offset + 72, reason)
    report.require_size(log + log_size, offset + 72, "the log")
    if any(data[_LOG_UUID]):
        report.add_finding("dirty_log", offset + 48, "the log is not empty")


def _read_regions(report: Report) -> Reader[Regions]:
    """Check the region table; return the regions that are known."""
    offset = _REGION_TABLE_OFFSETS[0]
    table = yield from read(offset, _TABLE_BYTES)
    copy = yield from read(_REGION_TABLE_OFFSETS[1], _TABLE_BYTES)
    count = unpack(_REGION_COUNT, table)[0]
    if not table.startswith(b"regi") or count > _MAX_TABLE_ENTRIES:
        reason = f"the region table is missing or invalid ({count} entries)"
        report.add_finding("bad_header", offset, reason)
        return {}
    if table != copy:
        reason = "the two copies of the region table differ"
        report.add_finding("footer_mismatch", _REGION_TABLE_OFFSETS[1], reason)
    regions: Regions = {}
    for number in range(count):
        entry = _REGION_ENTRIES + number * _TABLE_ENTRY_BYTES
        _check_region(table[entry : entry + _TABLE_ENTRY_BYTES], offset + entry, regions, report)
    if len(regions) != 2:
        reason = "the region of the block allocation table or of the metadata is missing"
        report.add_finding("bad_header", offset, reason)
    return regions


def _check_region(entry: bytes, offset: int, regions: Regions, report: Report) -> None:
    """Check an entry of the region table, and add its region to ``regions`` if it is known."""
    uuid = entry[:16]
    start, length, flags = unpack(_REGION, entry)
    if uuid not in (_BAT, _METADATA):
        if flags & _REGION_IS_REQUIRED:
            report.add_finding("unknown_features", offset, "a required region is unknown")
        return
    if start < _MIB or start % _MIB or length % _MIB or uuid in regions:
        reason = f"a region has {length} bytes at byte {start}"
        report.add_finding("bad_table", offset + 16, reason)
    report.require_size(start + length, offset + 16, "a region")
    regions[uuid] = (start, length)


def _read_regions_in_order(regions: Regions, report: Report) -> Reader[None]:
    """Read the metadata and the BAT, whichever is first in the stream.

    The end of the data is only known after both: the metadata contains the block size.
    """
    (bat, bat_size), (metadata, metadata_size) = regions[_BAT], regions[_METADATA]
    last_entry = 0
    if bat < metadata + metadata_size and metadata < bat + bat_size:
        reason = "the block allocation table and the metadata overlap"
        report.add_finding("bad_table", _REGION_TABLE_OFFSETS[0], reason)
        return

    def use_bat(piece: bytes) -> None:
        nonlocal last_entry
        entries = integers(piece, "Q", "little")
        if max(entries, default=0) > last_entry:
            present = (e for e in entries if e & _BLOCK_STATE_MASK >= _FULLY_PRESENT)
            last_entry = max(last_entry, *present, 0)

    if bat < metadata:
        walker = TableWalker(b"", _REGION_TABLE_OFFSETS[1] + _TABLE_BYTES)
        yield from walker.walk(bat, bat_size, use_bat)
    yield from _read_metadata(metadata, metadata_size, report)
    if bat > metadata:
        yield from TableWalker(b"", metadata + metadata_size).walk(bat, bat_size, use_bat)
    if last_entry:
        last_block = (last_entry >> 20) * _MIB
        report.require_size(last_block + (report.block_size or 0), bat, "a block")


def _read_metadata(offset: int, length: int, report: Report) -> Reader[None]:
    """Check the metadata table, then the needed items in the order of the stream.

    The region has ``length`` bytes.
    """
    table = yield from read(offset, _TABLE_BYTES)
    count = unpack(_ITEM_COUNT, table)[0]
    if not table.startswith(b"metadata") or count > _MAX_TABLE_ENTRIES:
        reason = f"the metadata table is missing or invalid ({count} entries)"
        report.add_finding("bad_header", offset, reason)
        return
    items: dict[bytes, int] = {}
    for number in range(count):
        entry = _METADATA_ENTRIES + number * _TABLE_ENTRY_BYTES
        uuid = table[entry : entry + 16]
        item, _, flags, _ = unpack(_ITEM, table, entry)
        if uuid == _PARENT_LOCATOR:
            report.add_finding("parent", offset + entry, "the metadata contains a parent locator")
        elif uuid in _NEEDED_ITEMS:
            if not _TABLE_BYTES <= item <= length - _NEEDED_ITEMS[uuid] or uuid in items:
                reason = "a metadata item is not in the area for items, or there are two of a kind"
                report.add_finding("bad_header", offset + entry + 16, reason)
            items[uuid] = offset + item
        elif flags & _ITEM_IS_REQUIRED and uuid not in _IGNORED_ITEMS:
            report.add_finding("unknown_features", offset + entry, "required metadata is unknown")
    if len(items) < len(_NEEDED_ITEMS):
        report.add_finding("bad_header", offset, "metadata that every disk needs is missing")
    yield from _read_items(items, report)


def _read_items(items: dict[bytes, int], report: Report) -> Reader[None]:
    """Check the needed items at their offsets, which may be in any order and may overlap."""
    start, data = 0, b""
    for offset, uuid in sorted((offset, uuid) for uuid, offset in items.items()):
        size = _NEEDED_ITEMS[uuid]
        start, data = offset, data[offset - start :]
        if len(data) < size:
            data += yield from read(offset + len(data), size - len(data))
        report.require_size(offset + size, offset, "a metadata item")
        if len(data) >= size:
            _check_item(uuid, int.from_bytes(data[:size], "little"), offset, report)


def _check_item(uuid: bytes, value: int, offset: int, report: Report) -> None:
    if uuid == _VIRTUAL_DISK_SIZE:
        report.set_virtual_size(value, offset)
        if not value or value % 512 or value > _MAX_VIRTUAL_BYTES:
            report.add_finding("bad_header", offset, f"the virtual size is {value} bytes")
    elif uuid == _FILE_PARAMETERS:
        block_size, flags = value & 0xFFFF_FFFF, value >> 32
        report.block_size = block_size
        if block_size.bit_count() != 1 or not _MIB <= block_size <= 256 * _MIB:
            report.add_finding("bad_header", offset, f"the block size is {block_size} bytes")
        if flags & _HAS_PARENT:
            report.add_finding("parent", offset + 4, "this is a differencing disk")
    elif value & 0xFFFF_FFFF not in (512, 4096):
        reason = f"the sector size is {value & 0xFFFF_FFFF} bytes"
        report.add_finding("bad_header", offset, reason)
