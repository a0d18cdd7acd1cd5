"""Image files written byte by byte: invalid ones, and others that no tool creates."""

import functools
import struct
import zlib
from uuid import UUID

MIB = 1 << 20


def patched(data: bytes, *patches: tuple[int, bytes]) -> bytes:
    """``data`` with bytes overwritten at offsets; negative offsets are from the end."""
    out = bytearray(data)
    for offset, new in patches:
        at = offset if offset >= 0 else len(out) + offset
        out[at : at + len(new)] = new
    return bytes(out)


def be(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


# qcow2


def qcow2(*, backing: int = 0, features: int = 0, size: int = 10 * MIB, crypt: int = 0) -> bytes:
    """An empty version 3 image with clusters of 64 KiB: header, refcounts, L1 table."""
    head = b"QFI\xfb" + be(3, 4) + be(backing, 8) + be(0, 4) + be(16, 4) + be(size, 8)
    head += be(crypt, 4) + be(1, 4) + be(0x30000, 8) + be(0x10000, 8) + be(1, 4) + bytes(12)
    head += be(features, 8) + bytes(16) + be(4, 4) + be(104, 4)
    refcounts = be(0x20000, 8).ljust(0x10000, b"\0")
    block = (be(1, 2) * 4).ljust(0x10000, b"\0")
    return head.ljust(0x10000, b"\0") + refcounts + block + bytes(0x10000)


def with_extension(image: bytes, kind: int, body: bytes) -> bytes:
    """A qcow2 with a header extension immediately after its header of 104 bytes."""
    return patched(image, (104, be(kind, 4) + be(len(body), 4) + body.ljust(8, b"\0") + bytes(8)))


# VMDK

_TYPES = {"streamOptimized": 0x30001, "monolithicSparse": 3}


def descriptor(
    kind: str = "monolithicSparse",
    extents: str = 'RW 2048 SPARSE "disk.vmdk"',
    parent: str = "ffffffff",
    more: str = "",
) -> bytes:
    return (
        "# Disk DescriptorFile\nversion=1\nCID=12345678\n"
        f'parentCID={parent}\ncreateType="{kind}"\n{more}\n# Extent description\n{extents}\n\n'
        '# The Disk Data Base\n#DDB\n\nddb.adapterType = "ide"\n'
    ).encode()


def vmdk_header(
    *,
    flags: int = 3,
    capacity: int = 2048,
    grain: int = 128,
    descriptor_at: int = 1,
    descriptor_size: int = 20,
    entries: int = 512,
    directory: int = 26,
    overhead: int = 128,
    compression: int = 0,
    version: int = 1,
) -> bytes:
    return (
        struct.pack(
            "<4sIIQQQQIQQQB4sH",
            b"KDMV",
            version,
            flags,
            capacity,
            grain,
            descriptor_at,
            descriptor_size,
            entries,
            21,
            directory,
            overhead,
            0,
            b"\n \r\n",
            compression,
        )
    ).ljust(512, b"\0")


def vmdk(text: bytes, **fields: int) -> bytes:
    """An empty monolithicSparse disk of 1 MiB."""
    head = vmdk_header(**fields) + text.ljust(20 * 512, b"\0")
    spare = le(22, 4).ljust(512, b"\0") + bytes(4 * 512)
    real = le(27, 4).ljust(512, b"\0") + bytes(4 * 512)
    return (head + spare + real).ljust(128 * 512, b"\0")


def vmdk_stream(*, footer: bool = True, capacity: int = 2048, **footer_fields: int) -> bytes:
    """A streamOptimized disk as exported by programs: markers, tables at the end, a footer."""
    fields = {"flags": 0x30001, "compression": 1, "version": 3, "capacity": capacity}
    text = descriptor("streamOptimized").ljust(20 * 512, b"\0")
    out = vmdk_header(**fields, directory=0xFFFF_FFFF_FFFF_FFFF) + text
    out = out.ljust(128 * 512, b"\0")
    grain = zlib.compress(b"imsgate " * 8192)
    out += _sectors(struct.pack("<QI", 0, len(grain)) + grain)
    table = len(out) // 512 + 1
    out += _marker(4, 1) + _sectors(le(128, 4).ljust(2048, b"\0"))
    directory = len(out) // 512 + 1
    out += _marker(1, 2) + _sectors(le(table, 4))
    if footer:
        fields.update(footer_fields)
        out += _marker(1, 3) + vmdk_header(**{"directory": directory, **fields}) + _marker(0, 0)
    return out


def _marker(sectors: int, kind: int) -> bytes:
    return struct.pack("<QII", sectors, 0, kind).ljust(512, b"\0")


def _sectors(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // 512) * 512, b"\0")


# VHD


def summed(block: bytes, at: int) -> bytes:
    """``block`` with its ones' complement checksum at ``at``, big-endian."""
    plain = patched(block, (at, bytes(4)))
    return patched(plain, (at, be(~sum(plain) & 0xFFFF_FFFF, 4)))


def vhd_footer(size: int, kind: int = 2, **fields: int) -> bytes:
    block = struct.pack(
        ">8sIIQI4sI4sQQIII16s",
        b"conectix",
        2,
        fields.get("version", 0x10000),
        fields.get("header", 512 if kind != 2 else 0xFFFF_FFFF_FFFF_FFFF),
        0,
        b"tap\0",
        0x10003,
        b"Wi2k",
        size,
        size,
        0,
        kind,
        0,
        UUID(int=7).bytes,
    )
    return summed(block.ljust(512, b"\0"), 64)


def vhd_dynamic(size: int = 4 * MIB, kind: int = 3, bat: int = 0xFFFF_FFFF, **fields: int) -> bytes:
    """A dynamic disk with blocks of 2 MiB; ``bat`` is the first entry of its block table."""
    footer = vhd_footer(size, kind)
    blocks = fields.get("blocks", -(-size // (2 * MIB)))
    header = struct.pack(
        ">8sQQIII",
        b"cxsparse",
        0xFFFF_FFFF_FFFF_FFFF,
        1536,
        0x10000,
        blocks,
        fields.get("block", 2 * MIB),
    )
    table = be(bat, 4).ljust(512, b"\xff")
    return footer + summed(header.ljust(1024, b"\0"), 36) + table + footer


# VHDX


@functools.cache  # It is slow, and most disks have the same header and the same tables.
def crc32c(data: bytes) -> int:
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F6_3B78 if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF


def vhdx(
    *,
    flags: int = 0,
    size: int = 64 * MIB,
    block: int = 32 * MIB,
    log_id: bytes = bytes(16),
    items: tuple[tuple[str, bytes, int], ...] = (),
    regions: tuple[tuple[str, int], ...] = (),
    second_table: bytes | None = None,
    version: int = 1,
    places: dict[str, int] | None = None,
) -> bytes:
    """An empty dynamic disk: log at 1 MiB, metadata at 2 MiB, block table at 3 MiB.

    ``places`` are offsets of metadata items in their region, by the first digits of their UUID.
    """
    out = bytearray(4 * MIB)
    out[:8] = b"vhdxfile"
    for at, sequence in ((64 << 10, 1), (128 << 10, 2)):
        head = struct.pack("<4sIQ16s16s16sHHIQ", b"head", 0, sequence, b"f" * 16, b"d" * 16,
                           log_id, 0, version, MIB, MIB).ljust(4096, b"\0")  # fmt: skip
        out[at : at + 4096] = patched(head, (4, le(crc32c(head), 4)))
    known = (
        ("2dc27766-f623-4200-9d64-115e9bfd4a08", 3 * MIB),
        ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 2 * MIB),
    )
    table = struct.pack("<4sIII", b"regi", 0, len(known + regions), 0)
    for name, place in known + regions:
        table += UUID(name).bytes_le + struct.pack("<QII", place, MIB, 1)
    table = table.ljust(65536, b"\0")
    table = patched(table, (4, le(crc32c(table), 4)))
    out[192 << 10 : 256 << 10] = table
    out[256 << 10 : 320 << 10] = table if second_table is None else second_table
    every = (
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", le(block, 4) + le(flags, 4), 4),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", le(size, 8), 6),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", le(512, 4), 6),
        ("cda348c7-445d-4471-9cc9-e9885251c556", le(4096, 4), 6),
        ("beca12ab-b2e6-4523-93ef-c309e000c746", b"p" * 16, 6),
        *items,
    )
    metadata = b"metadata" + bytes(2) + le(len(every), 2) + bytes(20)
    values = b""
    for name, value, item_flags in every:
        place = (places or {}).get(name[:4], 65536 + len(values))
        metadata += UUID(name).bytes_le + struct.pack("<IIII", place, len(value), item_flags, 0)
        values = values.ljust(place - 65536, b"\0")
        values = patched(values.ljust(place - 65536 + 64, b"\0"), (place - 65536, value))
    out[2 * MIB : 2 * MIB + 65536 + len(values)] = metadata.ljust(65536, b"\0") + values
    return bytes(out)


# ZVHD


def zvhd(cookie: bytes = b"stream", *, trailer: bool = True, size: int = 1 << 30) -> bytes:
    """A disk with one compressed block, with the layout of the vendor's driver."""
    second = cookie == b"z2strm"
    block = b"hwstream bg\0" + le(64, 4) + le(0, 4) + bytes(28) + zlib.compress(bytes(999))
    block = block.ljust(4092, b"\0") + b"end\0"
    index = (le(4096, 8) + le(0, 4) + le(len(block), 4)).ljust(4096, b"\0")
    first = _zvhd_header(cookie, size, 0)
    if not second:
        return first + block + (first if trailer else b"")
    body = first + block + first + index + b"\1".ljust(4096, b"\0")
    return body + (_zvhd_header(cookie, size, 3 * 4096) if trailer else b"")


def _zvhd_header(cookie: bytes, size: int, index: int) -> bytes:
    second = cookie == b"z2strm"
    head = struct.pack("<8sIIQI4sIIQQIII16s", cookie, 2, 0x10000, 0xFFFF_FFFF_FFFF_FFFF, 0,
                       b"tap\0", 0x10004, 0, size - 4096, size, 0, 4, 0, b"u" * 16)  # fmt: skip
    if second:
        head += bytes(3) + b"\1" + le(2 * MIB, 4) + le(size // (2 * MIB), 4)
        head += struct.pack("<QQIIIIIIIBB", index, index and index + 4096, 16, 64,
                            512 << 10, 4096, 1, 1, 1, 0, 1)  # fmt: skip
    plain = head.ljust(512, b"\0")
    return patched(plain, (64, le(~sum(plain) & 0xFFFF_FFFF, 4))).ljust(4096, b"\0")


# VDI and QED


def vdi(*, kind: int = 1, parent: bytes = bytes(16), **fields: int) -> bytes:
    """A disk of 4 MiB; no block is allocated unless ``entry`` and ``allocated`` are given."""
    out = bytearray(4096)
    out[:32] = b"<<< Oracle VM VirtualBox Disk I>"
    struct.pack_into("<IIII", out, 64, 0xBEDA107F, 0x10001, 0x190, kind)
    struct.pack_into("<II", out, 340, 512, 4096)
    struct.pack_into(
        "<IIQIIII",
        out,
        360,
        512,
        0,
        fields.get("size", 4 * MIB),
        fields.get("block", MIB),
        0,
        fields.get("blocks", 4),
        fields.get("allocated", 0),
    )
    out[440:456] = parent
    struct.pack_into("<IIII", out, 512, fields.get("entry", 0xFFFF_FFFF), *[0xFFFF_FFFF] * 3)
    return bytes(out)


def qed(*, features: int = 0, size: int = 10 * MIB, cluster: int = 65536, table: int = 4) -> bytes:
    head = struct.pack(
        "<4sIIIQQQQQII", b"QED\0", cluster, table, 1, features, 0, 0, cluster, size, 0, 0
    )
    return head.ljust(65536, b"\0") + bytes(4 * 65536)


# raw disks


def mbr(*partitions: tuple[int, int, int]) -> bytes:
    """A boot sector with partitions: type, first sector, number of sectors."""
    table = b"".join(
        struct.pack("<B3sB3sII", 0, b"\0\2\0", kind, b"\xff" * 3, start, count)
        for kind, start, count in partitions
    )
    return b"\xfa\x33\xc0".ljust(446, b"\x90") + table.ljust(64, b"\0") + b"\x55\xaa"


def kernel(*, setup_sectors: int = 0, magic: bytes = b"", stub: bytes = b"") -> bytes:
    """A Linux kernel for x86 of 2 MiB; its setup header begins where an MBR has its last entry."""
    setup = struct.pack("<BHIHHH", setup_sectors, 1, 0x1F000, 0, 0xFFFF, 0x801)
    head = stub.ljust(0x1F1, b"\0") + setup + b"\x55\xaa"
    return (head + b"\xeb\x66" + magic).ljust(2 * MIB, b"\0")


def boot_sector(name: bytes, at: int) -> bytes:
    """The boot sector of a file system; its code contains what an MBR would call a partition."""
    jump = patched(mbr((0x83, 1, 1 << 30)), (0, b"\xeb\x58\x90"))
    return patched(jump, (at, name))


def iso_primary(blocks: int = 32, swapped: int | None = None) -> bytes:
    """A volume with one primary descriptor and a terminator."""
    head = bytes(32768)
    primary = bytearray(2048)
    primary[:8] = b"\1CD001\1\0"
    struct.pack_into("<I", primary, 80, blocks)
    struct.pack_into(">I", primary, 84, blocks if swapped is None else swapped)
    struct.pack_into("<H", primary, 128, 2048)
    struct.pack_into(">H", primary, 130, 2048)
    end = b"\xffCD001\1".ljust(2048, b"\0")
    return (head + bytes(primary) + end).ljust(blocks * 2048, b"\0")
