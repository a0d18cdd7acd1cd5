"""The descriptor of a VMDK: a text that lists the files with the data, and the parent if any.

It consists of lines such as ``createType="monolithicSparse"``, ``parentCID=ffffffff`` (no parent)
and ``RW 20480 SPARSE "disk.vmdk"`` (an extent: access, size in sectors, kind, file). It ends at the
first NUL byte.

Programs differ in how they find a key. QEMU searches for the word anywhere in the text, even in a
comment, so the word alone is sufficient here too.
"""

import re
from dataclasses import dataclass

from imsgate.formats.report import Report

_EXTENT_LINE = re.compile(rb"^[ \t]*(?:RW|RDONLY|NOACCESS)\b[^\r\n]*", re.I | re.M)
_EXTENT = re.compile(rb"\s*\w+[ \t]+(\d{1,18})[ \t]+(\w{1,32})", re.I)
_CREATE_TYPE = re.compile(rb'createType[ \t]*=[ \t]*"?([A-Za-z0-9]{1,40})', re.I)
_PARENT_HINT = b"parentfilenamehint"
_PARENT_ID = re.compile(rb"parentCID[ \t]*=[ \t]*(\w{1,16})", re.I)
_NO_PARENT_ID = b"ffffffff"
_TITLE = re.compile(rb"\s*#\s*disk\s*descriptorfile", re.I)
_VERSION_AFTER_COMMENTS = re.compile(rb"(?:#[^\n]*(?:\n|$)| *\r?\n)*version=[0-9]")

_SINGLE_FILE_TYPES = ("monolithicSparse", "streamOptimized")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The content of a descriptor.

    ``extents`` is the number of valid extent lines, ``sectors`` their total size; ``kind`` is that
    of the last one. ``invalid_extents`` is the number of invalid extent lines.
    """

    create_type: str | None
    extents: int = 0
    invalid_extents: int = 0
    sectors: int = 0
    kind: str = ""


def starts_descriptor(head: bytes) -> bool:
    """Whether any program would open a file that begins with ``head`` as a descriptor."""
    return bool(_TITLE.match(head) or _VERSION_AFTER_COMMENTS.match(head))


def parse(data: bytes) -> Descriptor:
    """Parse the text up to the first NUL."""
    text = _text(data)
    create_type = _CREATE_TYPE.search(text)
    extents = invalid_extents = sectors = 0
    kind = b""
    for line in _EXTENT_LINE.finditer(text):
        if extent := _EXTENT.match(line[0]):
            extents += 1
            sectors += int(extent[1])
            kind = extent[2]
        else:
            invalid_extents += 1
    return Descriptor(
        create_type[1].decode("ascii") if create_type else None,
        extents,
        invalid_extents,
        sectors,
        kind.decode("latin-1").upper(),
    )


def check_parent(data: bytes, offset: int, report: Report) -> None:
    """Report a parent in the text at the beginning of ``data``, which is at ``offset``."""
    text = _text(data)
    hint = text.lower().find(_PARENT_HINT)
    if hint >= 0:
        report.add_finding("parent", offset + hint, "the descriptor contains a parent file name")
    for parent in _PARENT_ID.finditer(text):
        if parent[1].lower() != _NO_PARENT_ID:
            reason = "the descriptor contains the ID of a parent (parentCID)"
            report.add_finding("parent", offset + parent.start(), reason)


def check_embedded(
    data: bytes, offset: int, capacity: int, grain: int, report: Report
) -> str | None:
    """Check the descriptor in a file that must contain all data; return its create type.

    ``capacity`` and ``grain`` are the sizes of the disk and of a grain in sectors, according to the
    header. The file name of the extent does not matter: a single SPARSE extent is the file that
    contains the descriptor. Programs write an empty name, the name or path that the file had when
    it was created, or anything else.
    """
    descriptor = parse(data)
    create_type = descriptor.create_type
    if create_type is None or not (descriptor.extents or descriptor.invalid_extents):
        reason = "the descriptor contains no createType or no extent"
        report.add_finding("bad_descriptor", offset, reason)
        return create_type
    canonical_names = {name.lower(): name for name in _SINGLE_FILE_TYPES}
    create_type = canonical_names.get(create_type.lower(), create_type)
    if problem := _extent_problem(create_type, descriptor, capacity, grain):
        report.add_finding(problem[0], offset, problem[1])
    return create_type


def _extent_problem(
    create_type: str, descriptor: Descriptor, capacity: int, grain: int
) -> tuple[str, str] | None:
    """The check and the reason if the only extent is not the file with the descriptor."""
    if create_type not in _SINGLE_FILE_TYPES:
        return "extent_outside", f"a disk of createType {create_type} has its data in other files"
    if descriptor.invalid_extents:
        return "bad_descriptor", "the descriptor contains an invalid extent line"
    if descriptor.extents > 1:
        reason = f"the disk has {descriptor.extents} extents, only one of which is in this file"
        return "extent_outside", reason
    if descriptor.kind != "SPARSE":
        return "extent_outside", f"the extent is of kind {descriptor.kind}, not SPARSE"
    # Some programs round one of the two up to a whole grain.
    if abs(descriptor.sectors - capacity) >= max(grain, 1):
        sizes = f"{descriptor.sectors} sectors, but the capacity is {capacity} sectors"
        return "bad_descriptor", f"the extent has {sizes}"
    return None


def _text(data: bytes) -> bytes:
    return data.split(b"\0", 1)[0]
