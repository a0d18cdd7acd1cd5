"""Identifies compressed files, archives, programs and rare disk formats by their first bytes.

They are identified only so that a refusal can name them; their content is not parsed. A magic
number of two bytes is not enough, since a raw disk may begin with anything: the fields after it
must be valid, too.

Sources: the documentation of each format, and the database of file(1).
"""

import lzma
import re
import struct

from imsgate.formats.fields import unpack

HEAD_BYTES = 4096
"""The bytes that :func:`identify` needs to recognize every format."""

_MAGIC_NUMBERS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"LZIP\0", "lzip"),
    (b"LZIP\1", "lzip"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (b"LRZI\0", "lrzip"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"PK00PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"RE\x7e\x5e", "rar"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
    (b"070707", "cpio"),
    (b"!<arch>\n", "ar"),
    (b"!<thin>\n", "ar"),
    (b"\xed\xab\xee\xdb", "rpm"),
    (b"MSCF\0\0\0\0", "cab"),
    (b"MSWIM\0\0\0", "wim"),
    (b"WLPWM\0\0\0", "wim"),
    (b"xar!\0\x1c", "xar"),
    (b"\x3a\xff\x26\xed", "android-sparse"),
    (b"encrcdsa", "dmg"),
    (b"sprs\0\0\0", "sparseimage"),
    (b"EVF\x09\r\n\xff\0", "ewf"),
    (b"LVF\x09\r\n\xff\0", "ewf"),
    (b"EVF2\r\n\x81\0", "ewf"),
    (b"LEF2\r\n\x81\0", "ewf"),
    (b"AFF10\r\n\0", "aff"),
    (b"VMA\0\0\0\0\x01", "vma"),
    (b"partclone-image\0", "partclone"),
    (b"WithoutFreeSpace", "parallels"),
    (b"WithouFreSpacExt", "parallels"),
    (b"Bochs Virtual HD Image", "bochs"),
    (b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
    (b"\x7fELF", "elf"),
    (b"\xcf\xfa\xed\xfe", "mach-o"),
    (b"\xce\xfa\xed\xfe", "mach-o"),
    (b"\xfe\xed\xfa\xcf", "mach-o"),
    (b"\xfe\xed\xfa\xce", "mach-o"),
    (b"\x27\x05\x19\x56", "uimage"),
    (b"\xd0\x0d\xfe\xed", "dtb"),
    (b"ANDROID!", "android-boot"),
    (b"VNDRBOOT", "android-boot"),
    (b"zsync: 0.", "zsync"),
    (b"JigsawDownload template", "jigdo"),
    (b"%PDF-1.", "pdf"),
    (b"%PDF-2.", "pdf"),
)
_PARALLELS_SECTORS = struct.Struct("<36xQ")
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)")
# the largest code in bits (9 to 16), and a bit that all programs but the oldest set
_COMPRESS = re.compile(rb"\x1f\x9d[\x09-\x10\x89-\x90]")
_LHA = re.compile(rb"..-l[hz][0-9ds]-", re.S)
_ARJ = re.compile(rb"\x60\xea..[\x1e-\x40][\x01-\x0f][\x01-\x0f][\0-\x0b].[\0-\x03]\x02", re.S)
_TAR = re.compile(rb"ustar(?:\x0000|  \x00)")
_TAR_MAGIC_OFFSET = 257
_TAR_BYTES, _TAR_CHECKSUM = 512, slice(148, 156)
_OCTAL = re.compile(rb" *[0-7]{1,7}[ \0]*")
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_SKIPPABLE_SIZE = struct.Struct("<4xI")
_LZMA = struct.Struct("<xIQB")
_LZMA_PROPERTIES_END = 225
_LZMA_DICTIONARY = slice(1, 5)
_MIN_LZMA_DICTIONARY_BYTES, _MAX_LZMA_BYTES, _UNKNOWN_LZMA_SIZE = 4096, 1 << 38, (1 << 64) - 1
_CPIO_MAGIC = {b"\xc7\x71": "<", b"\x71\xc7": ">"}
_CPIO_HEADER_BYTES, _MAX_CPIO_NAME_BYTES = 26, 1024
_TORRENT = re.compile(
    rb"d\d{1,2}:(?:announce|announce-list|comment|created by|creation date|httpseeds|info|nodes"
    rb"|url-list)[dil1-9]"
)
_JAVA = re.compile(rb"\xca\xfe\xba\xbe..\0[\x2d-\x7f]", re.S)
_MACH_O_FAT = re.compile(rb"\xca\xfe\xba\xbe\0\0\0[\x01-\x1f]")
_REGISTRY = re.compile(rb"regf.{16}\x01\0\0\0[\0-\x06]\0\0\0", re.S)
# A signature, a key, data for a key, data for a passphrase; each with its version and algorithm.
_PGP = re.compile(
    rb"[\x88\x89\x8a]..?\x04[\0-\x1f\x40\x50][\x01-\x1b][\x01-\x0e]\0"
    rb"|\x99[\0-\x08].\x04.{4}[\x01\x11\x13\x16]"
    rb"|\x85[\x01-\x04].\x03.{8}[\x01\x02\x10]"
    rb"|\x84\x5e\x03.{8}\x12"
    rb"|\x8c\x0d\x04[\x01-\x0d]\x03[\x01-\x0e]"
    rb"|\x8c.\x05[\x01-\x0d][\x01-\x03]\x03[\x01-\x0e]",
    re.S,
)
_DOS_HEADER = struct.Struct("<2xHH2xH")
_PE_OFFSET = struct.Struct("<60xI")
_MAX_PE_OFFSET = 32768 - 4
"""The bytes from 32 KiB on are read by the parser of ISO 9660 and UDF."""


def identify(head: bytes) -> str | None:
    """The canonical name of the format of a file that begins with ``head``; None if unknown."""
    for magic, name in _MAGIC_NUMBERS:
        if head.startswith(magic):
            return name
    for pattern, name in (
        (_BZIP2, "bzip2"),
        (_COMPRESS, "compress"),
        (_LHA, "lha"),
        (_ARJ, "arj"),
        (_MACH_O_FAT, "mach-o"),
        (_JAVA, "java"),
        (_REGISTRY, "registry"),
        (_PGP, "pgp"),
        (_TORRENT, "torrent"),
    ):
        if pattern.match(head):
            return name
    if _is_tar(head):
        # An OVA is a tar whose first member is the OVF descriptor.
        member = head[:100].split(b"\0", 1)[0].lower()
        return "ova" if member.endswith(b".ovf") else "tar"
    if _SKIPPABLE.match(head):
        return _after_skippable_frames(head)
    for is_format, name in ((_is_lzma, "lzma"), (_is_old_cpio, "cpio"), (_is_pe, "pe")):
        if is_format(head):
            return name
    return None


def _is_tar(head: bytes) -> bool:
    """Whether the file is a tar: by the magic number, or (before POSIX) by the checksum."""
    if _TAR.match(head, _TAR_MAGIC_OFFSET):
        return True
    header, field = head[:_TAR_BYTES], head[_TAR_CHECKSUM]
    if len(header) < _TAR_BYTES or not header[0] or not _OCTAL.fullmatch(field):
        return False
    stored = int(field.strip(b" \0"), 8)
    unsigned = sum(header) - sum(field) + len(field) * ord(" ")
    return stored in (unsigned, unsigned - 256 * sum(byte > 127 for byte in header))


def _after_skippable_frames(head: bytes) -> str:
    """The format of the frame that follows frames to be skipped, which zstd and lz4 share."""
    offset = 0
    while _SKIPPABLE.match(head, offset):
        offset += _SKIPPABLE_SIZE.size + unpack(_SKIPPABLE_SIZE, head, offset)[0]
    return "lz4" if head.startswith(b"\x04\x22\x4d\x18", offset) else "zstd"


def _is_lzma(head: bytes) -> bool:
    """Whether the file is an .lzma file, which has no magic number.

    Its properties are those of the encoder in one byte, usually 5D; nearly every byte is valid.
    """
    dictionary, size, first = unpack(_LZMA, head)
    largest_bit = 1 << max(dictionary.bit_length() - 1, 0)
    return (
        len(head) > _LZMA.size
        and head[0] < _LZMA_PROPERTIES_END
        and dictionary >= _MIN_LZMA_DICTIONARY_BYTES
        and dictionary in (largest_bit, largest_bit + largest_bit // 2, 0xFFFF_FFFF)
        and not first
        and any(head[_LZMA.size :])
        and (size == _UNKNOWN_LZMA_SIZE or (0 < size < _MAX_LZMA_BYTES and _unpacks(head)))
    )


def _unpacks(head: bytes) -> bool:
    """Whether the file begins to unpack. A small dictionary is enough for what it begins with."""
    dictionary = _MIN_LZMA_DICTIONARY_BYTES.to_bytes(4, "little")
    head = head[: _LZMA_DICTIONARY.start] + dictionary + head[_LZMA_DICTIONARY.stop :]
    try:
        lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(head, _MIN_LZMA_DICTIONARY_BYTES)
    except lzma.LZMAError:
        return False
    return True


def _is_old_cpio(head: bytes) -> bool:
    """Whether the file is a cpio archive with binary headers."""
    order = _CPIO_MAGIC.get(head[:2])
    if order is None or len(head) < _CPIO_HEADER_BYTES:
        return False
    mode, name_size = struct.unpack_from(f"{order}6xH12xH", head)
    end = _CPIO_HEADER_BYTES + name_size
    is_known_type = mode >> 12 in (1, 2, 4, 6, 8, 9, 10, 12)
    name = head[_CPIO_HEADER_BYTES:end]
    return (
        is_known_type
        and 1 < name_size <= _MAX_CPIO_NAME_BYTES
        and name.find(b"\0") == (name_size - 1)
    )


def _is_pe(head: bytes) -> bool:
    """Whether the file is a program for Windows or EFI."""
    return head.startswith(b"MZ") and head.startswith(b"PE\0\0", unpack(_PE_OFFSET, head)[0])


def pe_header_end(head: bytes) -> int:
    """The end of what must be read to recognize a program whose header is far from its start.

    0 if the file does not begin like a program.
    """
    if not head.startswith(b"MZ"):
        return 0
    last_page, pages, paragraphs = unpack(_DOS_HEADER, head)
    offset = unpack(_PE_OFFSET, head)[0]
    is_header = last_page <= 512 and pages and paragraphs
    return offset + 4 if is_header and len(head) - 4 < offset <= _MAX_PE_OFFSET else 0


def virtual_size(name: str, head: bytes) -> int | None:
    """The virtual size in bytes of the format ``name``; None if its header does not contain it."""
    return unpack(_PARALLELS_SECTORS, head)[0] * 512 if name == "parallels" else None
