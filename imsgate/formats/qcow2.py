"""qcow2, versions 2 and 3.

On disk: a header of 72 bytes (version 2) or at least 104 bytes (version 3), header extensions, the
name of the backing file; then, anywhere at multiples of the cluster size, the refcount table and
blocks, the first-level (L1) table, second-level (L2) tables, the snapshot table and data clusters.
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
from dataclasses import dataclass, replace

from imsgate.formats.fields import integers, unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, read
from imsgate.formats.tables import TableLocations, TableWalker

MAGIC = b"QFI\xfb"

_V2_HEADER = struct.Struct(">4xIQIIQIIQQIIQ")
_V3_FIELDS = struct.Struct(">QQQIIB")
_V2_HEADER_BYTES, _V3_HEADER_BYTES = 72, 104
_EXTENSION_HEADER = struct.Struct(">II")
_TWO_INTEGERS = struct.Struct(">QQ")
_BITMAPS = struct.Struct(">IIQQ")

_ENTRY_BYTES = 8
_MAX_L1_BYTES = 32 << 20
_MAX_REFCOUNT_TABLE_BYTES = 8 << 20
_MAX_SNAPSHOTS = 65536
_MIN_SNAPSHOT_BYTES = 40
_MAX_SNAPSHOT_EXTRA_BYTES = 1024
_MAX_READ_SNAPSHOTS = 1024
_SNAPSHOT = struct.Struct(">QIHH20xI")
_MAX_EXTENSION_BYTES = 64 * 1024
_MAX_KEPT_BYTES = 200 * 1024
_EXTENSION_BODY_BYTES = 24
"""The most bytes that are examined of the body of an extension."""
_LUKS_BODY_BYTES, _BITMAPS_BODY_BYTES = 16, 24
_MIN_LUKS_HEADER_BYTES = 592
_MAX_BITMAPS, _MAX_BITMAP_ENTRY_BYTES = 65535, 1024

_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN_FEATURES = (1 << 5) - 1
_VALID_BITMAPS, _RAW_DATA_FILE = 1, 2
"""Autoclear features."""

_LUKS = 2
"""The encryption method."""
_END_EXTENSION = 0
_DATA_FILE_EXTENSION = 0x44415441
_LUKS_EXTENSION = 0x0537BE77
_BITMAPS_EXTENSION = 0x23852875

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
_FEATURES_FIELD, _AUTOCLEAR_FIELD = 72, 88


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    backing_offset: int
    backing_size: int
    cluster_bits: int
    size: int
    crypt: int
    l1_entries: int
    l1: int
    refcounts: int
    refcount_clusters: int
    snapshots: int
    snapshot_table: int
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = _V2_HEADER_BYTES
    compression: int = 0

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_entry_size(self) -> int:
        return 16 if self.incompatible & _EXTENDED_L2 else _ENTRY_BYTES

    @property
    def l1_size(self) -> int:
        return self.l1_entries * _ENTRY_BYTES

    @property
    def refcount_table_size(self) -> int:
        return self.refcount_clusters * self.cluster_size


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check the header and its extensions, then follow the tables."""
    report.narrow_format("qcow2")
    header = _parse(head)
    report.set_virtual_size(header.size, 24)
    report.variant = f"v{header.version}"
    min_length = _V2_HEADER_BYTES if header.version == 2 else _V3_HEADER_BYTES
    report.require_size(max(header.length, min_length), 0, "the header")
    if len(head) < min_length:
        return
    if not _check_layout(header, report):
        return
    report.block_size = header.cluster_size
    _check_features(header, report)
    _check_tables(header, report)
    head = yield from _read_extensions(head, header, report)
    if report.header_is_valid:
        yield from _follow_tables(head, header, report)


def _parse(head: bytes) -> _Header:
    header = _Header(*unpack(_V2_HEADER, head))
    if header.version < 3:
        return header
    incompatible, compatible, autoclear, refcount_order, length, compression = unpack(
        _V3_FIELDS, head, _V2_HEADER_BYTES
    )
    return replace(
        header,
        incompatible=incompatible,
        compatible=compatible,
        autoclear=autoclear,
        refcount_order=refcount_order,
        length=length,
        compression=compression if length > _V3_HEADER_BYTES else 0,
    )


def _check_layout(header: _Header, report: Report) -> bool:
    """Whether the other fields can be interpreted."""
    problems = (
        (header.version not in (2, 3), 4, f"qcow2 version {header.version} is not supported"),
        (not 9 <= header.cluster_bits <= 21, 20, f"cluster_bits is {header.cluster_bits}"),
        (header.refcount_order > 6, 96, f"refcount_order is {header.refcount_order}"),
        (
            header.version == 3 and header.length < _V3_HEADER_BYTES,
            100,
            f"the header length is {header.length} bytes",
        ),
    )
    if not report.check_header(problems):
        return False
    if header.cluster_size - _EXTENSION_HEADER.size < header.length != header.cluster_size:
        report.add_finding("bad_header", 100, "the header and its extensions exceed a cluster")
        return False
    return True


def _check_features(header: _Header, report: Report) -> None:
    features = header.incompatible
    if features & _DATA_FILE:
        report.add_finding("data_file", _FEATURES_FIELD, "the external data file bit is set")
    if header.backing_offset:
        reason = f"the header refers to a backing file name at byte {header.backing_offset}"
        report.add_finding("backing_file", 8, reason)
    if features & ~_KNOWN_FEATURES:
        reason = f"the incompatible features are {features:#x}, some of which are unknown"
        report.add_finding("unknown_features", _FEATURES_FIELD, reason)
    if header.compression > 1:
        reason = f"the compression type is {header.compression}"
        report.add_finding("unknown_features", 104, reason)
    elif bool(features & _COMPRESSION) != bool(header.compression):
        reason = "the compression type and its feature bit contradict each other"
        report.add_finding("bad_header", 104, reason)
    if features & _EXTENDED_L2 and header.cluster_bits < 14:
        reason = "extended L2 entries require clusters of at least 16 KiB"
        report.add_finding("bad_header", _FEATURES_FIELD, reason)
    if features & _CORRUPT:
        report.add_finding("corrupt", _FEATURES_FIELD, "the corrupt bit is set")
    if features & _DIRTY:
        report.add_finding("dirty", _FEATURES_FIELD, "the dirty bit is set")
    if header.crypt == 1:
        report.add_finding("legacy_encryption", 32, "the image is encrypted with AES")
    elif header.crypt == _LUKS:
        report.add_finding("encrypted", 32, "the image is encrypted with LUKS")
    elif header.crypt:
        report.add_finding("bad_header", 32, f"the encryption method is {header.crypt}")
    if header.autoclear & _RAW_DATA_FILE and not features & _DATA_FILE:
        reason = "the raw external data bit is set, but there is no external data file"
        report.add_finding("bad_header", _AUTOCLEAR_FIELD, reason)


def _check_tables(header: _Header, report: Report) -> None:
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


def _require_tables(header: _Header, report: Report) -> None:
    if header.l1_entries:
        report.require_size(header.l1 + header.l1_size, _L1_FIELD, "the L1 table")
    refcounts_end = header.refcounts + header.refcount_table_size
    report.require_size(refcounts_end, _REFCOUNT_FIELD, "the refcount table")
    if header.snapshots:
        reason = f"the image has {header.snapshots} internal snapshots"
        report.add_finding("internal_snapshots", _SNAPSHOT_COUNT_FIELD, reason)
        snapshots_end = header.snapshot_table + header.snapshots * _MIN_SNAPSHOT_BYTES
        report.require_size(snapshots_end, _SNAPSHOT_FIELD, "the snapshot table")


def _read_extensions(head: bytes, header: _Header, report: Report) -> Reader[bytes]:
    """Read the header extensions, between the header and the name of the backing file.

    They end within the first cluster and the first 64 KiB: no program writes more. Returns all
    bytes that have passed.
    """
    data, offset, kinds = head, header.length, set()
    limit = min(header.cluster_size, _MAX_EXTENSION_BYTES)
    end = min(header.backing_offset or header.cluster_size, header.cluster_size)
    while offset + _EXTENSION_HEADER.size <= end:
        body = offset + _EXTENSION_HEADER.size
        if body + _EXTENSION_BODY_BYTES > len(data) < limit:
            data += yield from read(len(data), limit - len(data))
            report.require_size(min(body, limit), offset, "the header extensions")
            limit = len(data)
        kind, length = unpack(_EXTENSION_HEADER, data, offset)
        examined = body + min(length, _EXTENSION_BODY_BYTES)
        if body + length > end or examined > _MAX_EXTENSION_BYTES:
            reason = f"a header extension has a length of {length} bytes"
            report.add_finding("bad_header", offset + 4, reason)
        report.require_size(body + length, offset + 4, "the header extensions")
        if kind == _END_EXTENSION or examined > len(data):
            break
        kinds.add(kind)
        _check_extension(kind, length, data[body:], body, header, report)
        offset = body + (length + 7) // 8 * 8
    if header.crypt == _LUKS and _LUKS_EXTENSION not in kinds:
        report.add_finding("bad_header", 32, "there is no encryption header")
    return data


def _check_extension(
    kind: int, length: int, body: bytes, offset: int, header: _Header, report: Report
) -> None:
    if kind == _DATA_FILE_EXTENSION:
        reason = "a header extension contains the name of an external data file"
        report.add_finding("data_file", offset - _EXTENSION_HEADER.size, reason)
    elif kind == _LUKS_EXTENSION:
        start, size = unpack(_TWO_INTEGERS, body)
        is_unused = length != _LUKS_BODY_BYTES or header.crypt != _LUKS
        is_misplaced = not start or start % header.cluster_size or size < _MIN_LUKS_HEADER_BYTES
        if is_unused or is_misplaced:
            reason = f"an encryption header has {size} bytes at byte {start}"
            report.add_finding("bad_header", offset, reason)
        report.require_size(start + size, offset, "the encryption header")
    elif kind == _BITMAPS_EXTENSION:
        count, reserved, size, start = unpack(_BITMAPS, body)
        # Without this bit, a program without support for bitmaps has changed the image since.
        if header.autoclear & _VALID_BITMAPS and (
            length != _BITMAPS_BODY_BYTES
            or reserved
            or not 0 < count <= _MAX_BITMAPS
            or not 0 < size <= _MAX_BITMAPS * _MAX_BITMAP_ENTRY_BYTES
            or start % header.cluster_size
            or not start
        ):
            reason = f"the image has {count} bitmaps and a directory of {size} bytes at {start}"
            report.add_finding("bad_table", offset, reason)
        report.require_size(start + size, offset + 16, "the bitmap directory")


def _follow_tables(head: bytes, header: _Header, report: Report) -> Reader[None]:
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
    yield from walker.follow(l2_tables, lambda piece: _use_l2(piece, header, report))
    if walker.position <= header.snapshot_table:
        yield from _read_snapshots(header, report)


def _read_snapshots(header: _Header, report: Report) -> Reader[None]:
    """Check the snapshot table. Of more than 1024 snapshots, only the first ones are examined."""
    offset = header.snapshot_table
    for _ in range(min(header.snapshots, _MAX_READ_SNAPSHOTS)):
        entry = yield from read(offset, _MIN_SNAPSHOT_BYTES)
        if len(entry) < _MIN_SNAPSHOT_BYTES:
            break
        l1, l1_entries, id_length, name_length, extra = unpack(_SNAPSHOT, entry)
        l1_size = l1_entries * _ENTRY_BYTES
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


def _use_l2(piece: bytes, header: _Header, report: Report) -> None:
    # The last cluster of the disk may be shorter in the file: it may end at the end of the disk.
    last_cluster = header.size % header.cluster_size or header.cluster_size
    step = header.l2_entry_size // _ENTRY_BYTES
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
    cleared[::_ENTRY_BYTES] = bytes(-(-len(piece) // _ENTRY_BYTES))
    last = max(integers(cleared, "Q", "big"), default=0)
    if last & _READS_AS_ZEROS or piece[::_ENTRY_BYTES].translate(
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
