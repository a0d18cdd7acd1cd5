"""VMDK: hosted sparse and streamOptimized files, and descriptors."""

import re
import struct

from imsgate.formats.facts import Report
from imsgate.formats.stream import Reader, read

SPARSE = b"KDMV"

_HEADER = struct.Struct("<4xIIQQQQIQQQ")
_MOST_TEXT = 64 * 1024


def is_descriptor(head: bytes) -> bool:
    """Whether this begins like a descriptor file."""
    return b"# disk descriptorfile" in head.lower()


def descriptor_only(report: Report) -> None:
    """A descriptor without data: its extents are other files."""
    report.narrow("vmdk")
    report.find("extent_outside", 0, "the file is a descriptor, its extents are other files")


def inspect(head: bytes, report: Report) -> Reader:
    """Judge a sparse file by its header and embedded descriptor."""
    report.narrow("vmdk")
    fields = _HEADER.unpack_from(head.ljust(_HEADER.size, b"\0"))
    _, _, capacity, grain, sector, sectors, *_ = fields
    report.virtual_size = capacity * 512
    report.block_size = grain * 512
    if not sector or not 0 < sectors * 512 <= _MOST_TEXT or sector > 2048:
        report.find("bad_descriptor", 28, f"{sectors} sectors of descriptor at sector {sector}")
        return
    text = yield from read(sector * 512, sectors * 512)
    _judge_text(text, sector * 512, report)


def _judge_text(text: bytes, offset: int, report: Report) -> None:
    lines = [line.strip() for line in text.split(b"\0", 1)[0].splitlines()]
    extents = [line for line in lines if re.match(rb"(RW|RDONLY|NOACCESS)\s", line)]
    kinds = {line.split()[2].upper() for line in extents if len(line.split()) > 2}
    if len(extents) != 1 or kinds != {b"SPARSE"}:
        report.find("extent_outside", offset, "the extents are not the one in this file")
    for line in lines:
        key, _, value = line.lower().partition(b"=")
        if key.strip() == b"parentcid" and value.strip() != b"ffffffff":
            report.find("parent", offset, "the descriptor names a parent")
        if key.strip() == b"parentfilenamehint":
            report.find("parent", offset, "the descriptor names a parent")
