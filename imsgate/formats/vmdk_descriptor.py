"""The text inside a VMDK: which files hold the data, and whether there is a parent.

Readers differ in how they find a key (QEMU looks for the word anywhere in the text, also
in a comment), so the word alone is enough here.
"""

import re
from dataclasses import dataclass

from imsgate.formats.facts import Report

_EXTENT = re.compile(
    rb'^[ \t]*(RW|RDONLY|NOACCESS)[ \t]+(\d{1,18})[ \t]+(\w+)(?:[ \t]+"([^"\r\n]*)")?', re.I | re.M
)
_EXTENT_LIKE = re.compile(rb"^[ \t]*(RW|RDONLY|NOACCESS)\b", re.I | re.M)
_CREATE_TYPE = re.compile(rb'createType[ \t]*=[ \t]*"?([A-Za-z0-9]{1,40})', re.I)
_PARENT_ID = re.compile(rb"parentCID[ \t]*=[ \t]*(\w{1,16})", re.I)
_MARK = re.compile(rb"\s*#\s*disk\s*descriptorfile", re.I)
_LEAD = re.compile(rb"(?:#[^\n]*(?:\n|$)| *\r?\n)*version=[0-9]")

_WHOLE = ("monolithicSparse", "streamOptimized")


@dataclass(frozen=True, slots=True)
class Extent:
    """One piece of the disk: how many sectors, of what kind, in which file."""

    sectors: int
    kind: str
    file: str


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a descriptor says. ``odd`` counts extent lines that cannot be read."""

    create_type: str | None
    extents: tuple[Extent, ...]
    odd: int


def starts_descriptor(head: bytes) -> bool:
    """Whether a file beginning like this is opened as a descriptor by some reader."""
    return bool(_MARK.match(head) or _LEAD.match(head))


def parse(data: bytes) -> Descriptor:
    """Read the text up to its first NUL."""
    text = data.split(b"\0", 1)[0]
    kind = _CREATE_TYPE.search(text)
    extents = tuple(
        Extent(int(sectors), word.decode("ascii", "replace").upper(), name.decode("latin-1"))
        for _, sectors, word, name in _EXTENT.findall(text)
    )
    return Descriptor(
        kind[1].decode("ascii") if kind else None,
        extents,
        len(_EXTENT_LIKE.findall(text)) - len(extents),
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
    extents = descriptor.extents
    if descriptor.create_type is None or (not extents and not descriptor.odd):
        report.find("bad_descriptor", offset, "no createType or no extent in the descriptor")
        return descriptor.create_type
    known = {name.lower(): name for name in _WHOLE}
    kind = known.get(descriptor.create_type.lower(), descriptor.create_type)
    if kind not in _WHOLE:
        report.find("extent_outside", offset, f"createType {kind} keeps its data in other files")
    elif descriptor.odd:
        report.find("bad_descriptor", offset, "an extent line that cannot be read")
    elif len(extents) > 1:
        report.find("extent_outside", offset, f"{len(extents)} extents, of which one is here")
    elif extents[0].kind != "SPARSE":
        report.find("extent_outside", offset, f"the extent is of kind {extents[0].kind}")
    elif re.search(r"[/\\:]", extents[0].file) or not extents[0].file:
        report.find("extent_outside", offset, "the extent is named by a path")
    return kind
