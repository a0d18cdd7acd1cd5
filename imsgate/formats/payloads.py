"""Identifies compressed files, archives, programs and rare disk formats by their first bytes.

They are identified only so that a refusal can name them; their content is not parsed.
"""

import re
import struct

from imsgate.formats.fields import unpack

_MAGIC_NUMBERS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
    (b"WithoutFreeSpace", "parallels"),
    (b"WithouFreSpacExt", "parallels"),
    (b"Bochs Virtual HD Image", "bochs"),
    (b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
    (b"\x7fELF", "elf"),
    (b"\xcf\xfa\xed\xfe", "mach-o"),
    (b"\xce\xfa\xed\xfe", "mach-o"),
)
_PARALLELS_SECTORS = struct.Struct("<36xQ")
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)")
_TAR = re.compile(rb"ustar(?:\x0000|  \x00)")
_TAR_MAGIC_OFFSET = 257


def identify(head: bytes) -> str | None:
    """The canonical name of the format of a file that begins with ``head``; None if unknown."""
    for magic, name in _MAGIC_NUMBERS:
        if head.startswith(magic):
            return name
    if _BZIP2.match(head):
        return "bzip2"
    if _TAR.match(head, _TAR_MAGIC_OFFSET):
        # An OVA is a tar whose first member is the OVF descriptor.
        member = head[:100].split(b"\0", 1)[0].lower()
        return "ova" if member.endswith(b".ovf") else "tar"
    return None


def virtual_size(name: str, head: bytes) -> int | None:
    """The virtual size in bytes of the format ``name``; None if its header does not contain it."""
    return unpack(_PARALLELS_SECTORS, head)[0] * 512 if name == "parallels" else None
