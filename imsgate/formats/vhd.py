"""VHD: fixed, dynamic and differencing disks of Virtual PC, Hyper-V and Azure.

Source: Virtual Hard Disk Image Format Specification 1.0. All numbers are big-endian. A
fixed disk is its data and 512 bytes of footer; the others begin with a copy of it.
"""

import struct
from dataclasses import dataclass

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack, words
from imsgate.formats.stream import Ending, Reader, ending, read
from imsgate.formats.tables import Tables

COOKIE = b"conectix"
SIZE = 512

_FOOTER = struct.Struct(">8xIIQ4x4s8xQQHBBII")
_CHECKSUM = struct.Struct(">I")
_DYNAMIC = struct.Struct(">8xQQIII")
_HEADER_SIZE = 1024
_FIXED, _DYNAMIC_KIND, _DIFFERENCING = 2, 3, 4
_KINDS = {_FIXED: "fixed", _DYNAMIC_KIND: "dynamic", _DIFFERENCING: "differencing"}
_UNUSED = 0xFFFF_FFFF
_MOST_BLOCKS = 1 << 28
_BY_SIZE = (b"win ", b"qem2", b"d2v ", b"tap\0", b"wa\0\0")
"""Whose disks QEMU takes for as large as the footer says; of other writers the geometry counts."""
_LARGEST_GEOMETRY = (65535, 16, 255)
"""That of all larger disks too, for which the size counts again."""
_REPEATED = (slice(16, 24), slice(40, 64), slice(68, 84))
"""Header place, sizes, kind and id: what both copies of a footer must agree on."""


@dataclass(frozen=True, slots=True)
class _Footer:
    features: int
    version: int
    header: int
    creator: bytes
    original: int
    size: int
    cylinders: int
    heads: int
    sectors: int
    kind: int
    checksum: int

    @property
    def cylinder(self) -> int:
        """Bytes of a cylinder."""
        return self.heads * self.sectors * 512

    @property
    def shown(self) -> int:
        """The size of the disk in bytes, as the reader sees it for whom it is largest."""
        geometry = self.cylinders, self.heads, self.sectors
        if self.creator in _BY_SIZE or geometry == _LARGEST_GEOMETRY:
            return self.size
        # Some writers round the geometry up.
        by_geometry = self.cylinders * self.cylinder
        return by_geometry if by_geometry > self.size + self.cylinder else self.size


def sum_of(data: bytes, at: int) -> int:
    """The checksum of a block whose own checksum field is at ``at``."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFF_FFFF


def is_fixed(end: Ending) -> bool:
    """Whether the stream ends in a footer."""
    return end.last(SIZE).startswith(COOKIE)


def inspect_fixed(end: Ending, report: Report) -> None:
    """Judge a stream that ends in a footer and does not begin with one."""
    at, data = end.size - SIZE, end.last(SIZE)
    report.narrow("vhd", at=at)
    footer = _judge_footer(data, at, report)
    if footer.kind in (_DYNAMIC_KIND, _DIFFERENCING):
        report.find("footer_mismatch", at + 60, "a dynamic disk without a header at its start")
    if footer.size > at:
        report.find("truncated", at + 48, f"{footer.size} bytes of disk in {at} bytes of data")
    elif footer.size < at:
        report.find("footer_mismatch", at + 48, f"{at} bytes of data for {footer.size} of disk")


def inspect(head: bytes, report: Report) -> Reader:
    """Judge a disk that begins with a copy of its footer."""
    report.narrow("vhd")
    footer = _judge_footer(head, 0, report)
    report.need(SIZE + _HEADER_SIZE + SIZE, 0, "the headers")
    if footer.kind == _FIXED:
        report.find("bad_header", 60, "a fixed disk cannot begin with its footer")
    elif report.sound():
        if not SIZE <= footer.header <= 16 << 20 or footer.header % SIZE:
            report.find("bad_header", 16, f"the dynamic header is at byte {footer.header}")
        else:
            yield from _dynamic(footer, report)
    end = yield from ending(SIZE)
    tail = end.last(SIZE)
    if not tail.startswith(COOKIE):
        report.find("truncated", max(end.size - SIZE, 0), "there is no footer at the end")
    elif any(tail[part] != head[part] for part in _REPEATED):
        report.find("footer_mismatch", end.size - SIZE, "the footer differs from its copy at 0")


def _judge_footer(data: bytes, at: int, report: Report) -> _Footer:
    footer = _Footer(*_FOOTER.unpack(data[: _FOOTER.size].ljust(_FOOTER.size, b"\0")))
    report.disk(footer.shown, at + 48)
    report.variant = _KINDS.get(footer.kind)
    for wrong, offset, reason in (
        (sum_of(data, 64) != footer.checksum, 64, "the footer's checksum is wrong"),
        (footer.version >> 16 != 1, 12, f"version {footer.version:#x} is not known"),
        (footer.kind not in _KINDS, 60, f"disk type {footer.kind} is not known"),
        (footer.size % 512, 48, f"a disk of {footer.size} bytes"),
        (
            footer.shown > footer.size,
            56,
            f"{footer.shown} bytes by geometry, {footer.size} by size",
        ),
    ):
        if wrong:
            report.find("bad_header", at + offset, reason)
            break
    if footer.kind == _DIFFERENCING:
        report.find("parent", at + 60, "a differencing disk")
    return footer


def _dynamic(footer: _Footer, report: Report) -> Reader:
    at = footer.header
    data = yield from read(at, _HEADER_SIZE)
    _, table, version, blocks, block = unpack(_DYNAMIC, data)
    report.block_size = block
    for wrong, offset, reason in (
        (not data.startswith(b"cxsparse"), 0, "there is no dynamic header"),
        (sum_of(data, 36) != unpack(_CHECKSUM, data, 36)[0], 36, "its checksum is wrong"),
        (version >> 16 != 1, 24, f"version {version:#x} is not known"),
        (block.bit_count() != 1 or not 512 <= block <= 256 << 20, 32, f"blocks of {block} bytes"),
        (blocks > _MOST_BLOCKS, 28, f"a table of {blocks} blocks"),
        (blocks * block < footer.size, 28, f"{blocks} blocks for {footer.size} bytes"),
        (table % SIZE or table < at + _HEADER_SIZE, 16, f"the block table is at {table}"),
    ):
        if wrong:
            report.find("bad_header", at + offset, f"dynamic header: {reason}")
            return
    report.need(table + blocks * 4 + SIZE, at + 16, "the block table")
    stored = -(-block // 512 // 8 // SIZE) * SIZE + block

    def use(piece: bytes) -> None:
        last = max((s for s in words(piece, "I", "big") if s != _UNUSED), default=0)
        report.need(last * SIZE + stored + SIZE if last else 0, at + 16, "a block")

    yield from Tables(b"", at + _HEADER_SIZE).walk(table, blocks * 4, use)
