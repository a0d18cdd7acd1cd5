"""MBR and GPT partition tables of raw disks. All integers are little-endian.

On disk: sector 0 ends with 55 AA if it contains an MBR, with four entries of 16 bytes from byte
446 on. A GPT disk has an MBR entry of type EE, a header with a checksum in sector 1, and an array
of entries, usually from sector 2 on.

A disk is not refused for its partitioning: a hybrid GPT, an MBR without partitions and the boot
sector of a file system are all valid. Only a partition that ends beyond the end of the file shows
that the file is truncated.

55 AA marks every boot sector, and most of them have other data where an MBR has its entries: the
boot sectors of file systems, boot loaders, and Linux kernels for x86, whose setup header begins at
byte 497. A sector counts as an MBR only if nothing identifies it as one of those and every entry
could have been written by a partitioning program.

Sources: UEFI Specification 2.10, chapter 5; Linux, Documentation/arch/x86/boot.rst.
"""

import struct
import zlib
from dataclasses import dataclass

from imsgate.formats.fields import unpack
from imsgate.formats.stream import Reader, read_after

_SECTOR_BYTES = 512
_MBR_ENTRIES_OFFSET, _MBR_ENTRY_BYTES, _MBR_END = 446, 16, 510
_MBR_ENTRY = struct.Struct("<B3sB3sII")
_PROTECTIVE_MBR_TYPE = 0xEE
_GPT_HEADER = struct.Struct("<12xII52xQIII")
_MIN_GPT_HEADER_BYTES, _MIN_GPT_ENTRY_BYTES = 92, 128
_GPT_ENTRY = struct.Struct("<32xQQ")
_GPT_ENTRY_LAST_SECTOR = 40
_MAX_GPT_ARRAY_BYTES = 24 * 1024
_MAX_GPT_ARRAY_END = 32768
"""The bytes from here on are read by the parser of ISO 9660 and UDF."""
_FILE_SYSTEM_BOOT_SECTOR = struct.Struct("<11xHBHB")
_BOOT_SECTOR_NAMES = (
    *(b"NTFS    ", b"EXFAT   ", b"-FVE-FS-", b"ReFS\0\0\0\0"),
    *(b"SYSLINUX", b"EXTLINUX"),
)
"""Names at byte 3 of boot sectors that belong to a file system."""
_HPFS_NAME_OFFSET = 54
_LINUX_MAGIC_OFFSET = 2
"""The magic number of the setup header, from the start of the second sector."""


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """A partition table, or none if ``kind`` is None.

    ``end`` is the end of the last partition in bytes, according to the field at ``offset``.
    ``part`` is the name of this partition in messages.
    """

    kind: str | None
    end: int = 0
    offset: int = 0
    part: str = ""


def find(head: bytes) -> Reader[PartitionTable]:
    """Read the partition table in the first 32 KiB of a raw disk.

    ``head`` are its first bytes, at least two sectors.
    """
    if head[_MBR_END:_SECTOR_BYTES] != b"\x55\xaa" or _is_file_system(head):
        return PartitionTable(None)
    offsets = range(_MBR_ENTRIES_OFFSET, _MBR_END, _MBR_ENTRY_BYTES)
    entries = [_MBR_ENTRY.unpack_from(head, offset) for offset in offsets]
    if not all(map(_is_plausible, entries)):
        return PartitionTable(None)
    second_sector = head[_SECTOR_BYTES : 2 * _SECTOR_BYTES]
    if second_sector.startswith(b"HdrS", _LINUX_MAGIC_OFFSET):
        return PartitionTable(None)
    if any(kind == _PROTECTIVE_MBR_TYPE for _, _, kind, *_ in entries):
        table = yield from _read_gpt(head)
        if table:
            return table
    ends = [
        ((start + count) * _SECTOR_BYTES, offset, f"partition {number}")
        for number, (offset, (_, _, kind, _, start, count)) in enumerate(
            zip(offsets, entries, strict=True), 1
        )
        if kind and kind != _PROTECTIVE_MBR_TYPE and start and count
    ]
    return PartitionTable("mbr", *max(ends)) if ends else PartitionTable(None)


def _is_plausible(entry: tuple[int, bytes, int, bytes, int, int]) -> bool:
    """Whether a partitioning program could have written this entry.

    The sector number (the low six bits of the second byte) of an address in the CHS form begins
    at 1. Programs that do not know the address write only zeros or only ones.
    """
    status, first, kind, last, _, _ = entry
    addresses = (first, last) if kind else ()
    return status in (0, 0x80) and all(not any(chs) or chs[1] & 0x3F for chs in addresses)


def _is_file_system(head: bytes) -> bool:
    """Whether the sector is the boot sector of a file system instead of an MBR."""
    if head[3:11] in _BOOT_SECTOR_NAMES or head.startswith(b"HPFS    ", _HPFS_NAME_OFFSET):
        return True
    sector, cluster_sectors, reserved, tables = unpack(_FILE_SYSTEM_BOOT_SECTOR, head)
    begins_with_jump = head[:1] == b"\xe9" or (head[:1] == b"\xeb" and head[2:3] == b"\x90")
    return (
        begins_with_jump
        and sector in (512, 1024, 2048, 4096)
        and cluster_sectors.bit_count() == 1
        and reserved > 0
        and tables in (1, 2)
    )


def _read_gpt(head: bytes) -> Reader[PartitionTable | None]:
    """The GPT, None if there is none. An invalid or unusually placed table has no ``end``."""
    header = head[_SECTOR_BYTES : 2 * _SECTOR_BYTES]
    size, checksum, array_sector, count, entry_size, array_checksum = unpack(_GPT_HEADER, header)
    if not header.startswith(b"EFI PART"):
        return None
    checked = header[:16] + bytes(4) + header[20:size]  # the checksum counts as zero
    start, length = array_sector * _SECTOR_BYTES, count * entry_size
    if (
        not _MIN_GPT_HEADER_BYTES <= size <= _SECTOR_BYTES
        or zlib.crc32(checked) != checksum
        or entry_size < _MIN_GPT_ENTRY_BYTES
    ):
        return PartitionTable("gpt")
    if array_sector < 2 or start + length > _MAX_GPT_ARRAY_END or length > _MAX_GPT_ARRAY_BYTES:
        return PartitionTable("gpt")
    array = yield from read_after(head, start, length)
    if zlib.crc32(array) != array_checksum:
        return PartitionTable("gpt")
    ends = []
    for offset in range(0, length, entry_size):
        if any(array[offset : offset + 16]):  # the type; zeros mark an unused entry
            _, last = unpack(_GPT_ENTRY, array, offset)
            field = start + offset + _GPT_ENTRY_LAST_SECTOR
            ends.append(
                ((last + 1) * _SECTOR_BYTES, field, f"partition {offset // entry_size + 1}")
            )
    return PartitionTable("gpt", *max(ends, default=(0, 0, "")))
