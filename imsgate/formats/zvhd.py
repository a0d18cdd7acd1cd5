"""ZVHD and ZVHD2, the compressed images of Huawei Cloud.

There is no public specification; the layout is what the vendor's own block driver for
QEMU writes. All numbers are little-endian. The header has the fields of a VHD footer;
it stands at the start and again in the last 4096 bytes.
"""

import struct
from dataclasses import dataclass

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack
from imsgate.formats.stream import Reader, ending
from imsgate.formats.vhd import sum_of

ZVHD, ZVHD2 = b"stream", b"z2strm"

_HEADER = struct.Struct("<8xIIQ16xQQ4xII19xBIIQQIIIIIIIBB")
_BLOCK = 4096
_VERSION = 0x10000


@dataclass(frozen=True, slots=True)
class _Header:
    features: int
    version: int
    next: int
    original: int
    size: int
    kind: int
    checksum: int
    second: int
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
    """Whether this is one of the two: the cookie alone could begin a text."""
    if not head.startswith((ZVHD, ZVHD2)) or len(head) < 512:
        return False
    header = _Header(*unpack(_HEADER, head))
    return sum_of(head, 64) == header.checksum or (
        header.features == 2 and header.version == _VERSION
    )


def inspect(head: bytes, report: Report) -> Reader:
    """Judge the header at the start, and the one at the end against it."""
    second = head.startswith(ZVHD2)
    report.narrow("zvhd2" if second else "zvhd")
    header = _Header(*unpack(_HEADER, head))
    report.need(2 * _BLOCK, 0, "the headers")
    report.disk(header.size, 48)
    report.block_size = header.block if second else 2 << 20
    _judge_header(head, header, second, report)
    end = yield from ending(_BLOCK)
    _judge_trailer(head, end.last(_BLOCK), end.size - _BLOCK, second, report)


def _judge_header(head: bytes, header: _Header, second: bool, report: Report) -> None:
    for wrong, offset, reason in (
        (sum_of(head, 64) != header.checksum, 64, "the header's checksum is wrong"),
        (header.version >> 16 != 1, 12, f"version {header.version:#x} is not known"),
        (header.original > header.size, 40, "the real size is above the disk's"),
        (
            second and (header.block.bit_count() != 1 or not 1 << 20 <= header.block <= 32 << 20),
            88,
            f"blocks of {header.block} bytes",
        ),
        (second and header.second > 1, 87, f"format version {header.second} is not known"),
        (second and header.compression > 1, 141, f"compression {header.compression}"),
    ):
        if wrong:
            report.find("bad_header", offset, reason)
            break


def _judge_trailer(head: bytes, tail: bytes, at: int, second: bool, report: Report) -> None:
    if tail[:6] != head[:6]:
        report.find("truncated", max(at, 0), "the header is not repeated at the end")
        return
    trailer = _Header(*unpack(_HEADER, tail))
    if sum_of(tail[:512], 64) != trailer.checksum:
        report.find("footer_mismatch", at + 64, "the checksum of the trailer is wrong")
    elif tail[:64] != head[:64] or (second and tail[88:92] != head[88:92]):
        report.find("footer_mismatch", at, "the trailer differs from the header")
    if not second or not trailer.second:
        return
    for start, size, offset in (
        (trailer.index, trailer.index_size, 96),
        (trailer.bitmap, trailer.bitmap_size, 104),
    ):
        if start + size > at:
            report.find("truncated", at + offset, "a table lies beyond the end")
