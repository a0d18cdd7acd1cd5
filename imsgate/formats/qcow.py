"""QCOW version 1: the format before qcow2, with its magic and another header.

All numbers are big-endian. Layout and bounds as in files and refusals of QEMU.
"""

import struct

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack, words
from imsgate.formats.stream import Reader
from imsgate.formats.tables import POINTERS, Tables, Targets

_HEADER = struct.Struct(">8xQII QBBxxIQ")
_COMPRESSED = 1 << 63


def inspect(head: bytes, report: Report) -> Reader:
    """Judge the header, then follow the tables."""
    report.narrow("qcow")
    backing, _, _, size, cluster_bits, l2_bits, crypt, l1 = unpack(_HEADER, head)
    report.need(_HEADER.size, 0, "the header")
    report.disk(size, 24)
    report.variant = "v1"
    if backing:
        report.find("backing_file", 8, f"a backing file is named at byte {backing}")
    if crypt == 1:
        report.find("legacy_encryption", 36, "encrypted with AES")
    elif crypt:
        report.find("bad_header", 36, f"crypt_method is {crypt}")
    if not 9 <= cluster_bits <= 16 or not 6 <= l2_bits <= 13:
        report.find("bad_header", 32, f"cluster_bits is {cluster_bits}, l2_bits {l2_bits}")
        return
    report.block_size = 1 << cluster_bits
    entries = -(-size >> cluster_bits + l2_bits)
    if entries * 8 > 0x7FFF_FFFF or l1 < _HEADER.size:
        report.find("bad_table", 40, f"{entries} L1 entries at byte {l1}")
        return
    report.need(l1 + entries * 8, 40, "the L1 table")
    tables, l2 = Tables(head), Targets(8 << l2_bits)

    def use_l1(piece: bytes) -> None:
        report.need(l2.add(words(piece, "Q", "big")), 40, "an L2 table")

    yield from tables.walk(l1, entries * 8, use_l1, POINTERS)
    # the last cluster of the disk may be written only up to the disk's end
    last = size % (1 << cluster_bits) or 1 << cluster_bits
    yield from tables.follow(l2, lambda piece: _use_l2(piece, cluster_bits, last, report))


def _use_l2(piece: bytes, cluster_bits: int, cluster: int, report: Report) -> None:
    table = words(piece, "Q", "big")
    plain = max((entry for entry in table if not entry & _COMPRESSED), default=0)
    report.need(plain + cluster if plain else 0, 40, "a data cluster")
    shift = 63 - cluster_bits
    offsets, sizes = (1 << shift) - 1, (1 << cluster_bits) - 1
    packed = ((e & offsets) + (e >> shift & sizes) for e in table if e & _COMPRESSED)
    report.need(max(packed, default=0), 40, "compressed data")
