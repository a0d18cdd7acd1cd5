"""MBR and GPT partition tables of raw disks.

Source: UEFI 2.10, chapter 5. Nothing here refuses a disk for how it is partitioned: a
hybrid GPT, an MBR without partitions and a file system's boot sector are all legitimate.
Only a partition that ends beyond the disk says that the disk was cut.
"""

import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass

from imsgate.formats.fields import unpack
from imsgate.formats.stream import Ending, Want, read

_SECTOR = 512
_ENTRY = struct.Struct("<B3xB3xII")
_GPT = struct.Struct("<12xII52xQIII")
_GPT_ENTRY = struct.Struct("<32xQQ")
_PROTECTIVE = 0xEE
_MOST_ARRAY = 24 * 1024


@dataclass(frozen=True, slots=True)
class Table:
    """A partition table: the byte where the disk's last partition ends, and who says so."""

    kind: str | None
    end: int = 0
    offset: int = 0
    what: str = ""


def find(head: bytes) -> Generator[Want, bytes | Ending, Table]:
    """Look at the first sectors of a raw disk, up to 32 KiB."""
    if head[510:512] != b"\x55\xaa" or _is_file_system(head):
        return Table(None)
    entries = [unpack(_ENTRY, head, at) for at in range(446, 510, 16)]
    if any(status not in (0, 0x80) for status, *_ in entries):
        return Table(None)
    if any(kind == _PROTECTIVE for _, kind, *_ in entries):
        table = yield from _gpt()
        if table:
            return table
    used = [
        ((start + count) * _SECTOR, 446 + 16 * at, f"partition {at + 1}")
        for at, (_, kind, start, count) in enumerate(entries)
        if kind and kind != _PROTECTIVE and start and count
    ]
    return Table("mbr", *max(used)) if used else Table(None)


def _is_file_system(head: bytes) -> bool:
    """Whether the sector is the boot sector of FAT, exFAT or NTFS, not a partition table."""
    if head[3:11] in (b"NTFS    ", b"EXFAT   "):
        return True
    sector, per_cluster, reserved, fats = unpack(struct.Struct("<11xHBHB"), head)
    jump = head[:1] == b"\xe9" or (head[:1] == b"\xeb" and head[2:3] == b"\x90")
    return (
        jump
        and sector in (512, 1024, 2048, 4096)
        and per_cluster.bit_count() == 1
        and reserved > 0
        and fats in (1, 2)
    )


def _gpt() -> Generator[Want, bytes | Ending, Table | None]:
    header = yield from read(_SECTOR, _SECTOR)
    size, crc, array_at, count, entry, array_crc = unpack(_GPT, header)
    if not header.startswith(b"EFI PART"):
        return None
    plain = header[:16] + bytes(4) + header[20:size]
    length = count * entry
    if not 92 <= size <= _SECTOR or zlib.crc32(plain) != crc or entry < 128:
        return Table("gpt")
    if array_at < 2 or array_at * _SECTOR + length > 32768 or length > _MOST_ARRAY:
        return Table("gpt")
    array = yield from read(array_at * _SECTOR, length)
    if zlib.crc32(array) != array_crc:
        return Table("gpt")
    ends = [
        ((last + 1) * _SECTOR, array_at * _SECTOR + at + 40, f"partition {at // entry + 1}")
        for at in range(0, length, entry)
        if any(array[at : at + 16])
        for _, last in (unpack(_GPT_ENTRY, array, at),)
    ]
    return Table("gpt", *max(ends, default=(0, 0, "")))
