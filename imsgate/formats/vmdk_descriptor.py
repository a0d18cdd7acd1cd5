"""The text inside a VMDK: which files hold the data, and whether there is a parent.

Readers differ in how they find a key (QEMU looks for the word anywhere in the text, also
in a comment), so the word alone is enough here.
"""

import re
from dataclasses import dataclass

from imsgate.formats.facts import Report

_EXTENT_LINE = re.compile(rb"^[ \t]*(?:RW|RDONLY|NOACCESS)\b[^\r\n]*", re.I | re.M)
_EXTENT = re.compile(rb'\s*\w+[ \t]+(\d{1,18})[ \t]+(\w{1,32})(?:[ \t]+"([^"]*)")?', re.I)
_CREATE_TYPE = re.compile(rb'createType[ \t]*=[ \t]*"?([A-Za-z0-9]{1,40})', re.I)
_PARENT_ID = re.compile(rb"parentCID[ \t]*=[ \t]*(\w{1,16})", re.I)
_MARK = re.compile(rb"\s*#\s*disk\s*descriptorfile", re.I)
_LEAD = re.compile(rb"(?:#[^\n]*(?:\n|$)| *\r?\n)*version=[0-9]")

_WHOLE = ("monolithicSparse", "streamOptimized")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a descriptor says.

    ``sectors`` is the size of all ``extents`` that can be read, ``kind`` and ``file`` are
    those of the last; ``odd`` counts the extent lines that cannot be read.
    """

    create_type: str | None
    extents: int = 0
    odd: int = 0
    sectors: int = 0
    kind: str = ""
    file: str = ""


def starts_descriptor(head: bytes) -> bool:
    """Whether a file beginning like this is opened as a descriptor by some reader."""
    return bool(_MARK.match(head) or _LEAD.match(head))


def parse(data: bytes) -> Descriptor:
    """Read the text up to its first NUL."""
    text = data.split(b"\0", 1)[0]
    create_type = _CREATE_TYPE.search(text)
    extents = odd = sectors = 0
    kind = file = b""
    for line in _EXTENT_LINE.finditer(text):
        if extent := _EXTENT.match(line[0]):
            extents += 1
            sectors += int(extent[1])
            kind, file = extent[2], extent[3] or b""
        else:
            odd += 1
    return Descriptor(
        create_type[1].decode("ascii") if create_type else None,
        extents,
        odd,
        sectors,
        kind.decode("latin-1").upper(),
        file.decode("latin-1"),
    )


def judge_parent(data: bytes, offset: int, report: Report) -> None:
    """Find a parent named in the text that ``data`` begins with, which is at ``offset``."""
    text = data.split(b"\0", 1)[0]
    hint = text.lower().find(b"parentfilenamehint")
    if hint >= 0:
        report.find("parent", offset + hint, "the descriptor names a parent file")
    for parent in _PARENT_ID.finditer(text):
        if parent[1].lower() != b"ffffffff":
            report.find("parent", offset + parent.start(), "the descriptor has a parent CID")


def judge_embedded(text: bytes, offset: int, report: Report) -> str | None:
    """Judge the descriptor of a file that must hold all its data; returns its kind."""
    descriptor = parse(text)
    if descriptor.create_type is None or not (descriptor.extents or descriptor.odd):
        report.find("bad_descriptor", offset, "no createType or no extent in the descriptor")
        return descriptor.create_type
    known = {name.lower(): name for name in _WHOLE}
    kind = known.get(descriptor.create_type.lower(), descriptor.create_type)
    if kind not in _WHOLE:
        report.find("extent_outside", offset, f"createType {kind} keeps its data in other files")
    elif descriptor.odd:
        report.find("bad_descriptor", offset, "an extent line that cannot be read")
    elif descriptor.extents > 1:
        report.find("extent_outside", offset, f"{descriptor.extents} extents, of which one is here")
    elif descriptor.kind != "SPARSE":
        report.find("extent_outside", offset, f"the extent is of kind {descriptor.kind}")
    elif not descriptor.file or re.search(r"[/\\:]", descriptor.file):
        report.find("extent_outside", offset, "the extent is named by a path")
    return kind
