"""qcow2, versions 2 and 3.

Source: docs/interop/qcow2 of QEMU. All numbers are big-endian. The maxima are those of
QEMU: 32 MiB of L1 table, 8 MiB of refcount table, 65536 snapshots.
"""

import struct
from array import array
from dataclasses import dataclass, replace

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack, words
from imsgate.formats.stream import Reader, read
from imsgate.formats.tables import POINTERS, Tables, Targets

MAGIC = b"QFI\xfb"

_HEADER = struct.Struct(">4xIQIIQIIQQIIQ")
_HEADER_3 = struct.Struct(">QQQIIB")
_EXTENSION = struct.Struct(">II")
_TWO = struct.Struct(">QQ")

_MOST_L1 = 32 << 20
_MOST_REFCOUNTS = 8 << 20
_MOST_SNAPSHOTS = 65536
_SNAPSHOT = 40
_MOST_EXTENSIONS = 64 * 1024

_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = (1 << 5) - 1

_EXT_END, _EXT_DATA_FILE, _EXT_LUKS, _EXT_BITMAPS = 0, 0x44415441, 0x0537BE77, 0x23852875

_OFFSETS = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_UNCOMPRESSED_TOPS = bytes(top for top in range(256) if not top & 0x40)


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    backing: int
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
    features: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = 72
    compression: int = 0

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def entry(self) -> int:
        """Bytes of an L2 entry."""
        return 16 if self.features & _EXTENDED_L2 else 8


def inspect(head: bytes, report: Report) -> Reader:
    """Judge the header and its extensions, then follow the tables."""
    report.narrow("qcow2")
    header = _parse(head)
    report.disk(header.size, 24)
    report.variant = f"v{header.version}"
    whole = 72 if header.version == 2 else 104
    report.need(max(header.length, whole), 0, "the header")
    if len(head) < whole:
        return
    if not _judge_shape(header, report):
        return
    report.block_size = header.cluster
    _judge_features(header, report)
    _judge_tables(header, report)
    yield from _extensions(head, header, report)
    if report.sound():
        yield from _follow(header, report, max(len(head), min(header.cluster, _MOST_EXTENSIONS)))


def _parse(head: bytes) -> _Header:
    header = _Header(*unpack(_HEADER, head))
    if header.version < 3:
        return header
    features, compatible, autoclear, order, length, compression = unpack(_HEADER_3, head, 72)
    return replace(
        header,
        features=features,
        compatible=compatible,
        autoclear=autoclear,
        refcount_order=order,
        length=length,
        compression=compression if length > 104 else 0,
    )


def _judge_shape(header: _Header, report: Report) -> bool:
    """Whether the header can be read at all."""
    for wrong, offset, reason in (
        (header.version not in (2, 3), 4, f"version {header.version} is not known"),
        (not 9 <= header.cluster_bits <= 21, 20, f"cluster_bits is {header.cluster_bits}"),
        (header.refcount_order > 6, 96, f"refcount_order is {header.refcount_order}"),
        (header.version == 3 and header.length < 104, 100, f"header_length is {header.length}"),
    ):
        if wrong:
            report.find("bad_header", offset, reason)
            return False
    if header.length > header.cluster:
        report.find("bad_header", 100, "the header is longer than its cluster")
        return False
    return True


def _judge_features(header: _Header, report: Report) -> None:
    features = header.features
    if features & _DATA_FILE:
        report.find("data_file", 72, "the external data file bit is set")
    if header.backing:
        report.find("backing_file", 8, f"a backing file is named at byte {header.backing}")
    if features & ~_KNOWN:
        report.find("unknown_features", 72, f"incompatible features {features:#x}")
    if header.compression > 1:
        report.find("unknown_features", 104, f"compression type {header.compression}")
    elif bool(features & _COMPRESSION) != bool(header.compression):
        report.find("bad_header", 104, "the compression type and its feature bit disagree")
    if features & _EXTENDED_L2 and header.cluster_bits < 14:
        report.find("bad_header", 72, "extended L2 entries need clusters of 16 KiB or more")
    if features & _CORRUPT:
        report.find("corrupt", 72, "the corrupt bit is set")
    if features & _DIRTY:
        report.find("dirty", 72, "the dirty bit is set")
    if header.crypt == 1:
        report.find("legacy_encryption", 32, "encrypted with AES")
    elif header.crypt == 2:
        report.find("encrypted", 32, "encrypted with LUKS")
    elif header.crypt:
        report.find("bad_header", 32, f"crypt_method is {header.crypt}")


def _judge_tables(header: _Header, report: Report) -> None:
    covered = header.l1_entries * header.cluster * (header.cluster // header.entry)
    for wrong, offset, reason in (
        (header.l1_entries * 8 > _MOST_L1, 36, f"{header.l1_entries} L1 entries"),
        (covered < header.size, 36, f"the L1 table covers {covered} of {header.size} bytes"),
        (header.l1 % header.cluster or not header.l1, 40, f"the L1 table is at {header.l1}"),
        (
            header.refcount_clusters * header.cluster > _MOST_REFCOUNTS,
            56,
            f"{header.refcount_clusters} clusters of refcount table",
        ),
        (not header.refcount_clusters, 56, "there is no refcount table"),
        (
            header.refcounts % header.cluster or not header.refcounts,
            48,
            f"the refcount table is at {header.refcounts}",
        ),
        (header.snapshots > _MOST_SNAPSHOTS, 60, f"{header.snapshots} snapshots"),
        (
            header.snapshots and header.snapshot_table % header.cluster,
            64,
            f"the snapshot table is at {header.snapshot_table}",
        ),
    ):
        # an empty disk needs no L1 table, and then its place means nothing
        if wrong and not (offset == 40 and not header.l1_entries):
            report.find("bad_table", offset, reason)
    if header.l1_entries:
        report.need(header.l1 + header.l1_entries * 8, 40, "the L1 table")
    refcounts = header.refcount_clusters * header.cluster
    report.need(header.refcounts + refcounts, 48, "the refcount table")
    if header.snapshots:
        report.find("internal_snapshots", 60, f"{header.snapshots} snapshots")
        snapshots = header.snapshot_table + header.snapshots * _SNAPSHOT
        report.need(snapshots, 64, "the snapshot table")


def _extensions(head: bytes, header: _Header, report: Report) -> Reader:
    """Walk the header extensions, which lie between the header and the backing file name.

    They are at most the rest of the first cluster; of clusters above 64 KiB the first
    64 KiB are looked at, which is far more than any writer fills.
    """
    data, at = head, header.length
    limit = min(header.cluster, _MOST_EXTENSIONS)
    while at + 8 <= limit:
        if at + 8 > len(data):
            rest = yield from read(len(data), limit - len(data))
            data += rest
            limit = len(data)
            continue
        kind, length = unpack(_EXTENSION, data, at)
        if kind == _EXT_END:
            return
        body = at + 8
        _judge_extension(kind, length, data[body : body + 40], body, report)
        at = body + (length + 7) // 8 * 8
        if at > header.cluster:
            report.find("bad_header", body - 4, f"a header extension of {length} bytes")


def _judge_extension(kind: int, length: int, body: bytes, at: int, report: Report) -> None:
    if kind == _EXT_DATA_FILE:
        report.find("data_file", at - 8, "a header extension names an external data file")
    elif kind == _EXT_LUKS and length >= 16:
        start, size = unpack(_TWO, body)
        report.need(start + size, at, "the encryption header")
    elif kind == _EXT_BITMAPS and length >= 24:
        size, start = unpack(_TWO, body, 8)
        report.need(start + size, at + 16, "the bitmap directory")


def _follow(header: _Header, report: Report, position: int) -> Reader:
    """Learn from the L1, L2 and refcount tables how far the image reaches."""
    tables, l2 = Tables(b"", position), Targets(header.cluster)

    def use_l1(piece: bytes) -> None:
        end = l2.add(entry & _OFFSETS for entry in words(piece, "Q", "big"))
        report.need(end, 40, "an L2 table")

    def use_refcounts(piece: bytes) -> None:
        last = max(words(piece, "Q", "big"), default=0) & ~511
        report.need(last + header.cluster if last else 0, 48, "a refcount block")

    refcounts = (header.refcounts, header.refcount_clusters * header.cluster, use_refcounts, 1)
    l1 = (header.l1, header.l1_entries * 8, use_l1, POINTERS)
    for offset, length, use, price in sorted((refcounts, l1), key=lambda walk: walk[0]):
        yield from tables.walk(offset, length, use, price)
    yield from tables.follow(l2, lambda piece: _use_l2(piece, header, report))


def _use_l2(piece: bytes, header: _Header, report: Report) -> None:
    # the last cluster of the disk may be written only up to the disk's end
    cluster = header.size % header.cluster or header.cluster
    plain = bytearray(piece)
    tops = piece[:: header.entry]
    if tops.translate(None, _UNCOMPRESSED_TOPS):
        entries = words(piece, "Q", "big")[:: header.entry // 8]
        report.need(_compressed_end(entries, header.cluster_bits), 40, "compressed data")
        entries = words(plain, "Q", "big")[:: header.entry // 8]
        last = max((e & _OFFSETS for e in entries if not e & _COMPRESSED), default=0)
    else:
        # clearing the top byte of every entry leaves its offset: cheaper than masking each
        plain[:: header.entry] = bytes(len(tops))
        last = max(words(plain, "Q", "big")[:: header.entry // 8], default=0) & _OFFSETS
    report.need(last + cluster if last else 0, 40, "a data cluster")


def _compressed_end(entries: "array[int]", cluster_bits: int) -> int:
    """At least this many bytes are there; the last sector may be short."""
    shift = 62 - (cluster_bits - 8)
    offsets, sectors = (1 << shift) - 1, (1 << (62 - shift)) - 1
    ends = (
        max(e & offsets, ((e & offsets) // 512 + (e >> shift & sectors)) * 512) + 1
        for e in entries
        if e & _COMPRESSED
    )
    # None where the last entry, which is cut, is the only one.
    return max(ends, default=0)
