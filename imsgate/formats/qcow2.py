"""qcow2, versions 2 and 3.

On disk: a header and its extensions (see :mod:`qcow2_header`), the name of the backing file; then,
anywhere at multiples of the cluster size, the refcount table and blocks, the first-level (L1)
table, second-level (L2) tables, the snapshot table and data clusters.
All integers are big-endian, table entries have 64 bits. With extended L2 entries, each entry is
followed by a 64-bit bitmap of the 32 subclusters of its cluster; only those that are marked as
allocated have data in the file.

Refused: references to other files (backing file, external data file), unknown incompatible
features, encryption with AES, the corrupt bit, sizes and offsets outside the limits of QEMU (an L1
table of 32 MiB, a refcount table of 8 MiB, 65536 snapshots), and a file that ends before its
tables or data.

Source: QEMU, docs/interop/qcow2.
"""

import heapq
import struct
from array import array

from imsgate.formats import qcow2_header
from imsgate.formats.fields import integers, unpack
from imsgate.formats.qcow2_header import ENTRY_BYTES, Header
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, read
from imsgate.formats.tables import TableLocations, TableWalker

MAGIC = b"QFI\xfb"

_MAX_L1_BYTES = 32 << 20
_MAX_REFCOUNT_TABLE_BYTES = 8 << 20
_MAX_SNAPSHOTS = 65536
_MIN_SNAPSHOT_BYTES = 40
_MAX_SNAPSHOT_EXTRA_BYTES = 1024
_MAX_READ_SNAPSHOTS = 1024
_SNAPSHOT = struct.Struct(">QIHH20xI")
_MAX_KEPT_BYTES = 200 * 1024

_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_READS_AS_ZEROS = 1
"""Of an entry without bitmap: its cluster, if it has one, need not be in the file."""
_SUBCLUSTERS = 32
_ALLOCATED_MASK = (1 << _SUBCLUSTERS) - 1
_TOP_BYTES_WITHOUT_COMPRESSED = bytes(top for top in range(256) if not top & 0x40)

_L1_COUNT_FIELD, _L1_FIELD = 36, 40
_REFCOUNT_FIELD, _REFCOUNT_COUNT_FIELD = 48, 56
_SNAPSHOT_COUNT_FIELD, _SNAPSHOT_FIELD = 60, 64


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check the header and its extensions, then follow the tables."""
    report.narrow_format("qcow2")
    header = qcow2_header.parse(head)
    report.set_virtual_size(header.size, 24)
    report.variant = f"v{header.version}"
    report.require_size(max(header.length, header.min_length), 0, "the header")
    if len(head) < header.min_length:
        return
    if not qcow2_header.check_layout(header, report):
        return
    report.block_size = header.cluster_size
    qcow2_header.check_features(header, report)
    _check_tables(header, report)
    head = yield from qcow2_header.read_extensions(head, header, report)
    if report.header_is_valid:
        yield from _follow_tables(head, header, report)


def _check_tables(header: Header, report: Report) -> None:
    cluster = header.cluster_size
    covered = header.l1_entries * cluster * (cluster // header.l2_entry_size)
    l1_is_misplaced = header.l1 % cluster or not header.l1
    refcounts_are_misplaced = header.refcounts % cluster or not header.refcounts
    snapshots_are_misplaced = header.snapshot_table % cluster or (
        header.snapshots and not header.snapshot_table
    )
    for is_invalid, offset, reason in (
        (
            header.l1_size > _MAX_L1_BYTES,
            _L1_COUNT_FIELD,
            f"the L1 table has {header.l1_entries} entries",
        ),
        (
            covered < header.size,
            _L1_COUNT_FIELD,
            f"the L1 table covers {covered} of {header.size} bytes",
        ),
        # An empty disk needs no L1 table, and the offset has no meaning then.
        (
            header.l1_entries and l1_is_misplaced,
            _L1_FIELD,
            f"the L1 table is at byte {header.l1}",
        ),
        (
            header.refcount_table_size > _MAX_REFCOUNT_TABLE_BYTES,
            _REFCOUNT_COUNT_FIELD,
            f"the refcount table has {header.refcount_clusters} clusters",
        ),
        (not header.refcount_clusters, _REFCOUNT_COUNT_FIELD, "there is no refcount table"),
        (
            refcounts_are_misplaced,
            _REFCOUNT_FIELD,
            f"the refcount table is at byte {header.refcounts}",
        ),
        (
            header.snapshots > _MAX_SNAPSHOTS,
            _SNAPSHOT_COUNT_FIELD,
            f"the image has {header.snapshots} snapshots",
        ),
        (
            snapshots_are_misplaced,
            _SNAPSHOT_FIELD,
            f"the snapshot table is at byte {header.snapshot_table}",
        ),
    ):
        if is_invalid:
            report.add_finding("bad_table", offset, reason)
    _require_tables(header, report)


def _require_tables(header: Header, report: Report) -> None:
    if header.l1_entries:
        report.require_size(header.l1 + header.l1_size, _L1_FIELD, "the L1 table")
    refcounts_end = header.refcounts + header.refcount_table_size
    report.require_size(refcounts_end, _REFCOUNT_FIELD, "the refcount table")
    if header.snapshots:
        reason = f"the image has {header.snapshots} internal snapshots"
        report.add_finding("internal_snapshots", _SNAPSHOT_COUNT_FIELD, reason)
        snapshots_end = header.snapshot_table + header.snapshots * _MIN_SNAPSHOT_BYTES
        report.require_size(snapshots_end, _SNAPSHOT_FIELD, "the snapshot table")


def _follow_tables(head: bytes, header: Header, report: Report) -> Reader[None]:
    """Determine from the L1, L2 and refcount tables where the data ends.

    qemu-img writes the L2 tables of a preallocated image before the L1 table. Therefore the
    first bytes are kept until the L1 table has passed, as far as memory allows.
    """
    kept = min(header.l1 + header.l1_size, _MAX_KEPT_BYTES)
    if kept > len(head):
        head += yield from read(len(head), kept - len(head))
    walker, l2_tables = TableWalker(head), TableLocations(header.cluster_size)

    def use_l1(piece: bytes) -> None:
        offsets = array("Q", (entry & _OFFSET_MASK for entry in integers(piece, "Q", "big")))
        if any(offset % header.cluster_size for offset in offsets):
            report.add_finding("bad_table", _L1_FIELD, "an L2 table does not begin at a cluster")
            return
        report.require_size(l2_tables.add(offsets), _L1_FIELD, "an L2 table")

    def use_refcounts(piece: bytes) -> None:
        last = max(integers(piece, "Q", "big"), default=0) & ~511
        end = last + header.cluster_size if last else 0
        report.require_size(end, _REFCOUNT_FIELD, "a refcount block")

    tables = (
        (header.refcounts, header.refcount_table_size, use_refcounts),
        (header.l1, header.l1_size, use_l1),
    )
    for offset, length, use in sorted(tables, key=lambda table: table[0]):
        yield from walker.walk(offset, length, use)
    if not header.has_data_file:
        yield from walker.follow(l2_tables, lambda piece: _use_l2(piece, header, report))
    if walker.position <= header.snapshot_table:
        yield from _read_snapshots(header, report)


def _read_snapshots(header: Header, report: Report) -> Reader[None]:
    """Check the snapshot table. Of more than 1024 snapshots, only the first ones are examined."""
    offset = header.snapshot_table
    for _ in range(min(header.snapshots, _MAX_READ_SNAPSHOTS)):
        entry = yield from read(offset, _MIN_SNAPSHOT_BYTES)
        if len(entry) < _MIN_SNAPSHOT_BYTES:
            break
        l1, l1_entries, id_length, name_length, extra = unpack(_SNAPSHOT, entry)
        l1_size = l1_entries * ENTRY_BYTES
        if extra > _MAX_SNAPSHOT_EXTRA_BYTES:
            reason = f"a snapshot has {extra} bytes of extra data"
            report.add_finding("bad_table", offset + 36, reason)
            break
        if l1 % header.cluster_size or l1_size > _MAX_L1_BYTES:
            reason = f"the L1 table of a snapshot has {l1_entries} entries at byte {l1}"
            report.add_finding("bad_table", offset, reason)
        report.require_size(l1 + l1_size, offset, "the L1 table of a snapshot")
        end = offset + _MIN_SNAPSHOT_BYTES + extra + id_length + name_length
        report.require_size(end, offset, "a snapshot")
        offset = (end + 7) // 8 * 8


def _use_l2(piece: bytes, header: Header, report: Report) -> None:
    # The last cluster of the disk may be shorter in the file: it may end at the end of the disk.
    last_cluster = header.size % header.cluster_size or header.cluster_size
    step = header.l2_entry_size // ENTRY_BYTES
    top_bytes = piece[:: header.l2_entry_size]
    entries = integers(piece, "Q", "big")
    if top_bytes.translate(None, _TOP_BYTES_WITHOUT_COMPRESSED):
        compressed_end = _compressed_end(entries[::step], header.cluster_bits)
        report.require_size(compressed_end, _L1_FIELD, "a compressed cluster")
    if step == 1:
        end = _data_end(piece, entries, last_cluster)
    else:
        end = _subclusters_end(entries, header.cluster_size // _SUBCLUSTERS, last_cluster)
    report.require_size(end, _L1_FIELD, "a data cluster")


def _data_end(piece: bytes, entries: "array[int]", last_cluster: int) -> int:
    """The end of the data clusters, 0 if there are none."""
    # Clearing the top byte of all entries at once is cheaper than masking each of them.
    cleared = bytearray(piece)
    cleared[::ENTRY_BYTES] = bytes(-(-len(piece) // ENTRY_BYTES))
    last = max(integers(cleared, "Q", "big"), default=0)
    if last & _READS_AS_ZEROS or piece[::ENTRY_BYTES].translate(
        None, _TOP_BYTES_WITHOUT_COMPRESSED
    ):
        last = max(
            (
                entry & _OFFSET_MASK
                for entry in entries
                if not entry & (_COMPRESSED | _READS_AS_ZEROS)
            ),
            default=0,
        )
    last &= _OFFSET_MASK
    return last + last_cluster if last else 0


def _subclusters_end(entries: "array[int]", subcluster: int, last_cluster: int) -> int:
    """The end of the allocated subclusters, 0 if there are none.

    The lower half of the bitmap that follows an entry has a bit for each subcluster that has data.
    QEMU does not write the others, so they may be beyond the end of the file.
    """
    used = (
        (entry & _OFFSET_MASK, (bitmap & _ALLOCATED_MASK).bit_length() * subcluster)
        for entry, bitmap in zip(entries[::2], entries[1::2], strict=False)
        if bitmap & _ALLOCATED_MASK and entry & _OFFSET_MASK and not entry & _COMPRESSED
    )
    # Only one cluster can be the last of the disk.
    last, *previous = heapq.nlargest(2, used, key=sum) or [(0, 0)]
    return max(last[0] + min(last[1], last_cluster), *map(sum, previous), 0)


def _compressed_end(entries: "array[int]", cluster_bits: int) -> int:
    """The smallest possible end of the compressed data. Its last sector may be incomplete.

    0 if the only entry of a truncated table is incomplete.
    """
    shift = 62 - (cluster_bits - 8)
    offset_mask, sectors_mask = (1 << shift) - 1, (1 << (62 - shift)) - 1
    ends = (
        max(
            entry & offset_mask,
            ((entry & offset_mask) // 512 + (entry >> shift & sectors_mask)) * 512,
        )
        + 1
        for entry in entries
        if entry & _COMPRESSED
    )
    return max(ends, default=0)
