"""QED, the QEMU enhanced disk.

Source: docs/interop/qed_spec of QEMU. All numbers are little-endian.
"""

import struct

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack, words
from imsgate.formats.stream import Reader
from imsgate.formats.tables import POINTERS, Tables, Targets

MAGIC = b"QED\0"

_HEADER = struct.Struct("<4xIIIQQQQQII")
_BACKING, _CHECK, _BACKING_IS_RAW = 1, 2, 4


def inspect(head: bytes, report: Report) -> Reader:
    """Judge the header, then follow the tables."""
    report.narrow("qed")
    cluster, table, length, features, _, _, l1, size, _, _ = unpack(_HEADER, head)
    report.need(_HEADER.size, 0, "the header")
    report.disk(size, 48)
    report.block_size = cluster
    if features & _BACKING:
        report.find("backing_file", 16, "the backing file bit is set")
    if features & ~(_BACKING | _CHECK | _BACKING_IS_RAW):
        report.find("unknown_features", 16, f"features {features:#x}")
    if features & _CHECK:
        report.find("dirty", 16, "the image needs a check")
    if cluster.bit_count() != 1 or not 4096 <= cluster <= 64 << 20:
        report.find("bad_header", 4, f"clusters of {cluster} bytes")
        return
    if table.bit_count() != 1 or table > 16:
        report.find("bad_header", 8, f"tables of {table} clusters")
        return
    covered = (table * cluster // 8) ** 2 * cluster
    for wrong, offset, reason in (
        (not length or length * cluster > 1 << 30, 12, f"a header of {length} clusters"),
        (size % 512 or size > covered, 48, f"a disk of {size} bytes"),
        (l1 % cluster or not l1, 40, f"the L1 table is at {l1}"),
    ):
        if wrong:
            report.find("bad_header", offset, reason)
            return
    report.need(l1 + table * cluster, 40, "the L1 table")
    tables, l2 = Tables(head), Targets(table * cluster)

    def use_l1(piece: bytes) -> None:
        report.need(l2.add(words(piece, "Q", "little")), 40, "an L2 table")

    yield from tables.walk(l1, table * cluster, use_l1, POINTERS)
    # the last cluster of the disk may be written only up to the disk's end
    last = size % cluster or cluster
    yield from tables.follow(l2, lambda piece: _use_l2(piece, last, report))


def _use_l2(piece: bytes, cluster: int, report: Report) -> None:
    last = max(words(piece, "Q", "little"), default=0)
    # 1 stands for a cluster of zeros
    report.need(last + cluster if last > 1 else 0, 40, "a data cluster")
