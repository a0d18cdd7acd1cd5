"""QCOW version 1, the predecessor of qcow2: the same magic number, another header.

On disk: a header of 48 bytes, the first-level (L1) table at the offset in byte 40, second-level
(L2) tables and data clusters anywhere. All integers are big-endian, table entries have 64 bits.
Bit 63 marks a compressed cluster, whose size is in the bits above its offset.

Refused: a backing file, the old AES encryption, cluster or table sizes outside the limits of
QEMU, and a file that ends before its tables or data.

Source: QEMU, block/qcow.c (there is no specification).
"""

import struct

from imsgate.formats.fields import integers, unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader
from imsgate.formats.tables import TableLocations, TableWalker

_HEADER = struct.Struct(">8xQII QBBxxIQ")
_COMPRESSED = 1 << 63
_ENTRY_BYTES = 8
_MAX_L1_BYTES = 0x7FFF_FFFF
_MIN_DISK_BYTES = 2
_L1_FIELD = 40


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check the header, then follow the tables."""
    report.narrow_format("qcow")
    backing, _, _, size, cluster_bits, l2_bits, crypt, l1 = unpack(_HEADER, head)
    report.require_size(_HEADER.size, 0, "the header")
    report.set_virtual_size(size, 24)
    report.variant = "v1"
    if backing:
        reason = f"the header refers to a backing file name at byte {backing}"
        report.add_finding("backing_file", 8, reason)
    if crypt == 1:
        report.add_finding("legacy_encryption", 36, "the image is encrypted with AES")
    elif crypt:
        report.add_finding("bad_header", 36, f"the encryption method is {crypt}")
    if size < _MIN_DISK_BYTES:
        report.add_finding("bad_header", 24, f"the virtual size is {size} bytes")
    if not 9 <= cluster_bits <= 16 or not 6 <= l2_bits <= 13:
        reason = f"cluster_bits is {cluster_bits} and l2_bits is {l2_bits}"
        report.add_finding("bad_header", 32, reason)
        return
    report.block_size = 1 << cluster_bits
    entries = -(-size >> cluster_bits + l2_bits)
    if entries * _ENTRY_BYTES > _MAX_L1_BYTES or l1 < _HEADER.size:
        reason = f"the L1 table has {entries} entries at byte {l1}"
        report.add_finding("bad_table", _L1_FIELD, reason)
        return
    report.require_size(l1 + entries * _ENTRY_BYTES, _L1_FIELD, "the L1 table")
    walker, l2_tables = TableWalker(head), TableLocations(_ENTRY_BYTES << l2_bits)

    def use_l1(piece: bytes) -> None:
        end = l2_tables.add(integers(piece, "Q", "big"))
        report.require_size(end, _L1_FIELD, "an L2 table")

    yield from walker.walk(l1, entries * _ENTRY_BYTES, use_l1)
    # The last cluster of the disk may be shorter in the file: it may end at the end of the disk.
    last_cluster = size % (1 << cluster_bits) or 1 << cluster_bits
    yield from walker.follow(
        l2_tables, lambda piece: _use_l2(piece, cluster_bits, last_cluster, report)
    )


def _use_l2(piece: bytes, cluster_bits: int, cluster: int, report: Report) -> None:
    table = integers(piece, "Q", "big")
    last = max((entry for entry in table if not entry & _COMPRESSED), default=0)
    report.require_size(last + cluster if last else 0, _L1_FIELD, "a data cluster")
    shift = 63 - cluster_bits
    offset_mask, size_mask = (1 << shift) - 1, (1 << cluster_bits) - 1
    compressed_ends = (
        (entry & offset_mask) + (entry >> shift & size_mask)
        for entry in table
        if entry & _COMPRESSED
    )
    report.require_size(max(compressed_ends, default=0), _L1_FIELD, "a compressed cluster")
