"""VHD: fixed, dynamic and differencing disks of Virtual PC, Hyper-V and Azure.

On disk: a fixed disk is the raw data followed by a footer of 512 bytes. The others begin with a
copy of the footer, followed by a dynamic header of 1024 bytes (at the offset in byte 16 of the
footer), the block allocation table (at the offset in byte 16 of this header), the blocks, and the
footer. All integers are big-endian. Footer and dynamic header have a checksum, the ones'
complement of the sum of their bytes. A table entry has 32 bits and contains a sector number.

Refused: differencing disks, invalid checksums, types, sizes and offsets, a virtual size that
depends on the reader (see ``largest_virtual_size``), copies of the footer that differ, and a file
that ends before its footer, table or blocks.

Source: Virtual Hard Disk Image Format Specification 1.0.
"""

import struct
from dataclasses import dataclass

from imsgate.formats.fields import integers, unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import EndOfStream, Reader, end_of_stream, read
from imsgate.formats.tables import TableWalker

COOKIE = b"conectix"
FOOTER_BYTES = 512
CHECKSUM_FIELD = 64

_SECTOR_BYTES = 512
_FOOTER = struct.Struct(">8xIIQ4x4s8xQQHBBII")
_DYNAMIC_COOKIE = b"cxsparse"
_DYNAMIC_HEADER = struct.Struct(">8xQQIII")
_DYNAMIC_HEADER_BYTES = 1024
_DYNAMIC_CHECKSUM_FIELD = 36
_CHECKSUM = struct.Struct(">I")
_MAX_DYNAMIC_HEADER_OFFSET = 16 << 20
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_KINDS = {_FIXED: "fixed", _DYNAMIC: "dynamic", _DIFFERENCING: "differencing"}
_ENTRY_BYTES = 4
_UNALLOCATED_ENTRY = 0xFFFF_FFFF
_MAX_BLOCKS = 1 << 28
_MIN_BLOCK_BYTES, _MAX_BLOCK_BYTES = 512, 256 << 20
_CREATORS_WITH_VALID_SIZE = (b"win ", b"qem2", b"d2v ", b"tap\0", b"wa\0\0")
"""QEMU uses the size field for the disks of these programs, and the geometry for all others."""
_MAX_GEOMETRY = (65535, 16, 255)
"""The geometry of all larger disks; QEMU uses the size field for them."""
_COMMON_FIELDS = (slice(16, 24), slice(40, 64), slice(68, 84))
"""Header offset, sizes, type and UUID, which must be equal in both copies of the footer."""


@dataclass(frozen=True, slots=True)
class _Footer:
    features: int
    version: int
    dynamic_header: int
    creator: bytes
    original_size: int
    size: int
    cylinders: int
    heads: int
    sectors: int
    kind: int
    checksum: int

    @property
    def cylinder_size(self) -> int:
        return self.heads * self.sectors * _SECTOR_BYTES

    @property
    def largest_virtual_size(self) -> int:
        """The virtual size in bytes for the reader for which it is largest.

        Some readers use the size field, others the geometry.
        """
        geometry = self.cylinders, self.heads, self.sectors
        if self.creator in _CREATORS_WITH_VALID_SIZE or geometry == _MAX_GEOMETRY:
            return self.size
        # Some programs round the geometry up to the next cylinder.
        geometry_size = self.cylinders * self.cylinder_size
        return geometry_size if geometry_size > self.size + self.cylinder_size else self.size


def checksum(block: bytes, field: int) -> int:
    """The checksum of a footer or header, whose checksum field is at ``field``."""
    return ~(sum(block) - sum(block[field : field + 4])) & 0xFFFF_FFFF


def is_fixed(end: EndOfStream) -> bool:
    """Whether the stream ends with a footer."""
    return end.last(FOOTER_BYTES).startswith(COOKIE)


def inspect_fixed(end: EndOfStream, report: Report) -> None:
    """Check a stream that ends with a footer and does not begin with one."""
    offset, data = end.size - FOOTER_BYTES, end.last(FOOTER_BYTES)
    report.narrow_format("vhd", offset=offset)
    footer = _check_footer(data, offset, report)
    if footer.kind in (_DYNAMIC, _DIFFERENCING):
        reason = "the footer is that of a dynamic disk, but the file does not begin with its copy"
        report.add_finding("footer_mismatch", offset + 60, reason)
    if footer.size > offset:
        reason = f"the virtual size is {footer.size} bytes, but the file has {offset} bytes of data"
        report.add_finding("truncated", offset + 48, reason)
    elif footer.size < offset:
        reason = f"the file has {offset} bytes of data, but the virtual size is {footer.size} bytes"
        report.add_finding("footer_mismatch", offset + 48, reason)


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check a disk that begins with a copy of its footer."""
    report.narrow_format("vhd")
    footer = _check_footer(head, 0, report)
    min_size = FOOTER_BYTES + _DYNAMIC_HEADER_BYTES + FOOTER_BYTES
    report.require_size(min_size, 0, "the dynamic header and the footer")
    header = footer.dynamic_header
    if footer.kind == _FIXED:
        report.add_finding("bad_header", 60, "a fixed disk must not begin with its footer")
    elif report.header_is_valid:
        if not FOOTER_BYTES <= header <= _MAX_DYNAMIC_HEADER_OFFSET or header % FOOTER_BYTES:
            report.add_finding("bad_header", 16, f"the dynamic header is at byte {header}")
        else:
            yield from _inspect_dynamic(footer, report)
    end = yield from end_of_stream(FOOTER_BYTES)
    tail, offset = end.last(FOOTER_BYTES), end.size - FOOTER_BYTES
    if not tail.startswith(COOKIE):
        report.add_finding("truncated", max(offset, 0), "there is no footer at the end")
    elif any(tail[field] != head[field] for field in _COMMON_FIELDS):
        reason = "the footer differs from its copy at byte 0"
        report.add_finding("footer_mismatch", offset, reason)


def _check_footer(data: bytes, offset: int, report: Report) -> _Footer:
    footer = _Footer(*_FOOTER.unpack(data[: _FOOTER.size].ljust(_FOOTER.size, b"\0")))
    virtual_size = footer.largest_virtual_size
    report.set_virtual_size(virtual_size, offset + 48)
    report.variant = _KINDS.get(footer.kind)
    problems = (
        (
            checksum(data, CHECKSUM_FIELD) != footer.checksum,
            CHECKSUM_FIELD,
            "the checksum of the footer is wrong",
        ),
        (footer.version >> 16 != 1, 12, f"VHD version {footer.version:#x} is not supported"),
        (footer.kind not in _KINDS, 60, f"disk type {footer.kind} is unknown"),
        (footer.size % _SECTOR_BYTES, 48, f"the virtual size is {footer.size} bytes"),
        (
            virtual_size > footer.size,
            56,
            f"the virtual size is {virtual_size} bytes according to the geometry, but "
            f"{footer.size} bytes according to the size field",
        ),
    )
    report.check_header(problems, offset)
    if footer.kind == _DIFFERENCING:
        report.add_finding("parent", offset + 60, "this is a differencing disk")
    return footer


def _inspect_dynamic(footer: _Footer, report: Report) -> Reader[None]:
    """Check the dynamic header, then read the block allocation table."""
    offset = footer.dynamic_header
    data = yield from read(offset, _DYNAMIC_HEADER_BYTES)
    _, table, version, blocks, block = unpack(_DYNAMIC_HEADER, data)
    report.block_size = block
    stored_checksum = unpack(_CHECKSUM, data, _DYNAMIC_CHECKSUM_FIELD)[0]
    table_is_misplaced = table % _SECTOR_BYTES or table < offset + _DYNAMIC_HEADER_BYTES
    problems = (
        (not data.startswith(_DYNAMIC_COOKIE), 0, "there is no dynamic header"),
        (
            checksum(data, _DYNAMIC_CHECKSUM_FIELD) != stored_checksum,
            _DYNAMIC_CHECKSUM_FIELD,
            "the checksum of the dynamic header is wrong",
        ),
        (version >> 16 != 1, 24, f"dynamic header version {version:#x} is not supported"),
        (
            block.bit_count() != 1 or not _MIN_BLOCK_BYTES <= block <= _MAX_BLOCK_BYTES,
            32,
            f"the block size is {block} bytes",
        ),
        (blocks > _MAX_BLOCKS, 28, f"the disk has {blocks} blocks"),
        (blocks * block < footer.size, 28, f"the disk has {blocks} blocks for {footer.size} bytes"),
        (table_is_misplaced, 16, f"the block allocation table is at byte {table}"),
    )
    if not report.check_header(problems, offset):
        return
    table_end = table + blocks * _ENTRY_BYTES
    report.require_size(table_end + FOOTER_BYTES, offset + 16, "the block allocation table")
    bitmap_size = -(-block // _SECTOR_BYTES // 8 // _SECTOR_BYTES) * _SECTOR_BYTES
    stored_block = bitmap_size + block

    def use_table(piece: bytes) -> None:
        entries = integers(piece, "I", "big")
        last = max((entry for entry in entries if entry != _UNALLOCATED_ENTRY), default=0)
        end = last * _SECTOR_BYTES + stored_block + FOOTER_BYTES if last else 0
        report.require_size(end, offset + 16, "a block")

    walker = TableWalker(b"", offset + _DYNAMIC_HEADER_BYTES)
    yield from walker.walk(table, blocks * _ENTRY_BYTES, use_table)
