"""ZVHD and ZVHD2, the compressed disk formats of Huawei Cloud.

On disk: a header in the first 4096 bytes, the compressed blocks, and a second copy of the header
(the trailer) in the last 4096 bytes. ZVHD2 has an index and a bitmap of the blocks, which the
trailer locates. All integers are little-endian. The header has the fields and the checksum of a VHD
footer; in ZVHD2 more fields follow.

Refused: invalid checksums, versions and sizes, a trailer that contradicts the header, and a file
without trailer or with tables beyond its end.

Source: the vendor's own block driver for QEMU; there is no public specification.
"""

import struct
from dataclasses import dataclass

from imsgate.formats.fields import unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, end_of_stream
from imsgate.formats.vhd import CHECKSUM_FIELD, checksum

ZVHD_COOKIE, ZVHD2_COOKIE = b"stream", b"z2strm"

_HEADER = struct.Struct("<8xIIQ16xQQ4xII19xBIIQQIIIIIIIBB")
_HEADER_BYTES = 4096
_CHECKED_BYTES = 512
_FEATURES, _VERSION = 2, 0x10000
_ZVHD_BLOCK_BYTES = 2 << 20
_MIN_BLOCK_BYTES, _MAX_BLOCK_BYTES = 1 << 20, 32 << 20
_COMMON_FIELDS, _ZVHD2_COMMON_FIELDS = slice(0, 64), slice(88, 92)
"""Must be equal in both copies of the header."""


@dataclass(frozen=True, slots=True)
class _Header:
    features: int
    version: int
    next_header: int
    original_size: int
    size: int
    kind: int
    checksum: int
    format_version: int
    block: int
    blocks: int
    index: int
    bitmap: int
    index_size: int
    bitmap_size: int
    index_segment: int
    bitmap_segment: int
    index_segments: int
    bitmap_segments: int
    filled: int
    zeros: int
    compression: int


def matches(head: bytes) -> bool:
    """Whether the file is a ZVHD or ZVHD2. The cookie is not enough: a text may begin with it."""
    if not head.startswith((ZVHD_COOKIE, ZVHD2_COOKIE)) or len(head) < _CHECKED_BYTES:
        return False
    header = _Header(*unpack(_HEADER, head))
    return checksum(head, CHECKSUM_FIELD) == header.checksum or (
        header.features == _FEATURES and header.version == _VERSION
    )


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check the header, and compare the trailer with it."""
    is_zvhd2 = head.startswith(ZVHD2_COOKIE)
    report.narrow_format("zvhd2" if is_zvhd2 else "zvhd")
    header = _Header(*unpack(_HEADER, head))
    report.require_size(2 * _HEADER_BYTES, 0, "the second copy of the header")
    report.set_virtual_size(header.size, 48)
    report.block_size = header.block if is_zvhd2 else _ZVHD_BLOCK_BYTES
    _check_header(head, header, is_zvhd2, report)
    end = yield from end_of_stream(_HEADER_BYTES)
    trailer = end.last(_HEADER_BYTES)
    _check_trailer(head, trailer, end.size - _HEADER_BYTES, is_zvhd2, report)


def _check_header(head: bytes, header: _Header, is_zvhd2: bool, report: Report) -> None:
    block_is_invalid = (
        header.block.bit_count() != 1 or not _MIN_BLOCK_BYTES <= header.block <= _MAX_BLOCK_BYTES
    )
    problems = (
        (
            checksum(head, CHECKSUM_FIELD) != header.checksum,
            CHECKSUM_FIELD,
            "the checksum of the header is wrong",
        ),
        (header.version >> 16 != 1, 12, f"version {header.version:#x} is not supported"),
        (
            header.original_size > header.size,
            40,
            f"the original size ({header.original_size} bytes) is larger than the current size "
            f"({header.size} bytes)",
        ),
        (is_zvhd2 and block_is_invalid, 88, f"the block size is {header.block} bytes"),
        (
            is_zvhd2 and header.format_version > 1,
            87,
            f"format version {header.format_version} is not supported",
        ),
        (
            is_zvhd2 and header.compression > 1,
            141,
            f"compression {header.compression} is unknown",
        ),
    )
    report.check_header(problems)


def _check_trailer(head: bytes, tail: bytes, offset: int, is_zvhd2: bool, report: Report) -> None:
    if tail[:6] != head[:6]:
        reason = "the second copy of the header is missing at the end"
        report.add_finding("truncated", max(offset, 0), reason)
        return
    trailer = _Header(*unpack(_HEADER, tail))
    if checksum(tail[:_CHECKED_BYTES], CHECKSUM_FIELD) != trailer.checksum:
        reason = "the checksum of the second copy of the header is wrong"
        report.add_finding("footer_mismatch", offset + CHECKSUM_FIELD, reason)
    elif tail[_COMMON_FIELDS] != head[_COMMON_FIELDS] or (
        is_zvhd2 and tail[_ZVHD2_COMMON_FIELDS] != head[_ZVHD2_COMMON_FIELDS]
    ):
        report.add_finding("footer_mismatch", offset, "the two copies of the header differ")
    if not is_zvhd2 or not trailer.format_version:
        return
    for table, start, size, field in (
        ("index", trailer.index, trailer.index_size, 96),
        ("bitmap", trailer.bitmap, trailer.bitmap_size, 104),
    ):
        if start + size > offset:
            reason = f"the {table} of the blocks ends at byte {start + size}, beyond the data"
            report.add_finding("truncated", offset + field, reason)
