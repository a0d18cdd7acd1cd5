"""QED, the QEMU enhanced disk format.

On disk: a header of 64 bytes, the first-level (L1) table at the offset in byte 40, second-level
(L2) tables and data clusters anywhere. All integers are little-endian, table entries have 64 bits.
The header contains the size of each table, in clusters.

Refused: a backing file, unknown features, sizes and offsets outside the limits of the
specification, and a file that ends before its tables or data.

Source: QEMU, docs/interop/qed_spec.
"""

import struct

from imsgate.formats.fields import integers, unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader
from imsgate.formats.tables import TableLocations, TableWalker

MAGIC = b"QED\0"

_HEADER = struct.Struct("<4xIIIQQQQQII")
_BACKING_FILE, _NEEDS_CHECK, _BACKING_IS_RAW = 1, 2, 4
_KNOWN_FEATURES = _BACKING_FILE | _NEEDS_CHECK | _BACKING_IS_RAW
_MIN_CLUSTER_BYTES, _MAX_CLUSTER_BYTES = 4096, 64 << 20
_MIN_TABLE_CLUSTERS, _MAX_TABLE_CLUSTERS = 2, 16
"""The specification allows 1, but QEMU does not open such an image."""
_MAX_HEADER_BYTES = 1 << 30
_ENTRY_BYTES = 8
_ZERO_CLUSTER = 1
_L1_FIELD = 40


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check the header, then follow the tables."""
    report.narrow_format("qed")
    cluster, table_clusters, header_clusters, features, _, _, l1, size, _, _ = unpack(_HEADER, head)
    report.require_size(_HEADER.size, 0, "the header")
    report.set_virtual_size(size, 48)
    report.block_size = cluster
    if features & _BACKING_FILE:
        report.add_finding("backing_file", 16, "the backing file bit is set")
    if features & ~_KNOWN_FEATURES:
        reason = f"the features are {features:#x}, some of which are unknown"
        report.add_finding("unknown_features", 16, reason)
    if features & _NEEDS_CHECK:
        report.add_finding("dirty", 16, "the image needs a consistency check")
    table_size = table_clusters * cluster
    covered = (table_size // _ENTRY_BYTES) ** 2 * cluster
    problems = (
        (
            cluster.bit_count() != 1 or not _MIN_CLUSTER_BYTES <= cluster <= _MAX_CLUSTER_BYTES,
            4,
            f"the cluster size is {cluster} bytes",
        ),
        (
            table_clusters.bit_count() != 1
            or not _MIN_TABLE_CLUSTERS <= table_clusters <= _MAX_TABLE_CLUSTERS,
            8,
            f"the table size is {table_clusters} clusters",
        ),
        (
            not header_clusters or header_clusters * cluster > _MAX_HEADER_BYTES,
            12,
            f"the header size is {header_clusters} clusters",
        ),
        (size % 512 or size > covered, 48, f"the virtual size is {size} bytes"),
        (
            l1 % max(cluster, 1) or l1 < header_clusters * cluster,
            _L1_FIELD,
            f"the L1 table is at byte {l1}",
        ),
    )
    if report.check_header(problems):
        yield from _follow_tables(head, l1, table_size, size, cluster, report)


def _follow_tables(
    head: bytes, l1: int, table_size: int, size: int, cluster: int, report: Report
) -> Reader[None]:
    """Determine from the L1 and L2 tables where the data ends."""
    report.require_size(l1 + table_size, _L1_FIELD, "the L1 table")
    walker, l2_tables = TableWalker(head), TableLocations(table_size)

    def use_l1(piece: bytes) -> None:
        end = l2_tables.add(integers(piece, "Q", "little"))
        report.require_size(end, _L1_FIELD, "an L2 table")

    yield from walker.walk(l1, table_size, use_l1)
    # The last cluster of the disk may be shorter in the file: it may end at the end of the disk.
    last_cluster = size % cluster or cluster

    def use_l2(piece: bytes) -> None:
        last = max(integers(piece, "Q", "little"), default=0)
        end = last + last_cluster if last > _ZERO_CLUSTER else 0
        report.require_size(end, _L1_FIELD, "a data cluster")

    yield from walker.follow(l2_tables, use_l2)
