"""The header of a qcow2 image, and its extensions.

The header has 72 bytes in version 2, at least 104 bytes in version 3. The extensions follow it,
each with its kind and length in bytes (32 bits each), padded to 8 bytes.

Source: QEMU, docs/interop/qcow2.
"""

import struct
from dataclasses import dataclass, replace

from imsgate.formats.fields import unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, read

_V2_HEADER = struct.Struct(">4xIQIIQIIQQIIQ")
_V3_FIELDS = struct.Struct(">QQQIIB")
_V2_HEADER_BYTES, _V3_HEADER_BYTES = 72, 104
ENTRY_BYTES = 8
_EXTENSION_HEADER = struct.Struct(">II")
_TWO_INTEGERS = struct.Struct(">QQ")
_BITMAPS = struct.Struct(">IIQQ")

_MAX_EXTENSION_BYTES = 64 * 1024
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

_FEATURES_FIELD, _AUTOCLEAR_FIELD = 72, 88


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a header; sizes and offsets are in bytes."""

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
    def min_length(self) -> int:
        """The length of the shortest header of this version."""
        return _V2_HEADER_BYTES if self.version == 2 else _V3_HEADER_BYTES

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def has_data_file(self) -> bool:
        """Whether the data clusters are in another file."""
        return bool(self.incompatible & _DATA_FILE)

    @property
    def l2_entry_size(self) -> int:
        return 16 if self.incompatible & _EXTENDED_L2 else ENTRY_BYTES

    @property
    def l1_size(self) -> int:
        return self.l1_entries * ENTRY_BYTES

    @property
    def refcount_table_size(self) -> int:
        return self.refcount_clusters * self.cluster_size


def parse(head: bytes) -> Header:
    """The header at the start of ``head``. In version 2, the later fields have their defaults."""
    header = Header(*unpack(_V2_HEADER, head))
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


def check_layout(header: Header, report: Report) -> bool:
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


def check_features(header: Header, report: Report) -> None:
    """Check the features, the encryption and the references to other files."""
    features = header.incompatible
    if header.has_data_file:
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
    if header.autoclear & _RAW_DATA_FILE and not header.has_data_file:
        reason = "the raw external data bit is set, but there is no external data file"
        report.add_finding("bad_header", _AUTOCLEAR_FIELD, reason)


def read_extensions(head: bytes, header: Header, report: Report) -> Reader[bytes]:
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
    kind: int, length: int, body: bytes, offset: int, header: Header, report: Report
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
