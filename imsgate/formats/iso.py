"""ISO 9660 and UDF volumes.

On disk: the first 32 KiB belong to boot loaders and partition tables (of hybrid volumes) and are
not examined here. From byte 32768 on, each sector of 2048 bytes contains a descriptor with a
5-byte identifier at offset 1. ISO 9660 has the number of blocks (offset 80) and the block size
(offset 128) in its primary volume descriptor, each as a little-endian integer, followed by a
big-endian copy. Mastering programs often write wrong copies, so readers ignore them, and they are
not examined here either. A volume with descriptors of both is an ISO 9660 volume.

Refused: a volume without a primary descriptor or with an invalid block size; a file that ends
before the volume (for UDF, see :mod:`udf`); a file that is also a valid VHD, or a valid image of a
format with a magic number at byte 0.

Sources: ECMA-119 (volume descriptors), ECMA-167 part 2 (volume recognition sequence), Linux,
fs/isofs/inode.c ("ignore bigendian datum due to broken mastering programs").
"""

import struct

from imsgate.formats import udf, vhd
from imsgate.formats.fields import unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, end_of_stream, read

DESCRIPTORS_OFFSET = 32768
_ISO_9660 = b"CD001"
_FIRST_IDENTIFIERS = (_ISO_9660, b"BEA01")
_UDF = frozenset((b"NSR02", b"NSR03"))
_IDENTIFIERS = frozenset((*_FIRST_IDENTIFIERS, *_UDF, b"BOOT2", b"CDW02", b"TEA01"))

_SECTOR_BYTES = 2048
_MAX_SECTORS = 32
_SIZES = struct.Struct("<80xI4x40xH")
_PRIMARY_DESCRIPTOR = 1


def inspect(report: Report) -> Reader[None]:
    """Narrow the format to ``iso`` or ``udf`` if there is a volume; otherwise change nothing."""
    identifiers: set[bytes] = set()
    after_empty_sector = False
    for offset in range(
        DESCRIPTORS_OFFSET, DESCRIPTORS_OFFSET + _MAX_SECTORS * _SECTOR_BYTES, _SECTOR_BYTES
    ):
        sector = yield from read(offset, _SECTOR_BYTES)
        identifier = sector[1:6]
        is_primary = identifier == _ISO_9660 and sector[0] == _PRIMARY_DESCRIPTOR
        if is_primary and identifier not in identifiers:
            report.narrow_format("iso", offset=offset)
            _check_primary(sector, offset, report)
        elif identifier not in _IDENTIFIERS:
            # In a UDF volume with sectors of 4 KiB, every second 2 KiB are empty.
            if after_empty_sector or not identifiers or any(identifier):
                break
            after_empty_sector = True
            continue
        after_empty_sector = False
        identifiers.add(identifier)
    if identifiers & _UDF:
        # Of a volume with descriptors of both, the ISO 9660 part may be a few files only.
        yield from udf.require_volume(sector, offset, report)
    if report.format == "iso":
        yield from _finish(report)
    elif identifiers & _UDF:
        report.narrow_format("udf", offset=DESCRIPTORS_OFFSET)
        yield from _finish(report)
    elif _ISO_9660 in identifiers:
        report.narrow_format("iso", offset=DESCRIPTORS_OFFSET)
        report.add_finding(
            "bad_header", DESCRIPTORS_OFFSET, "the primary volume descriptor is missing"
        )


def find_second_format(report: Report) -> Reader[None]:
    """Report a volume inside an image whose format is known already."""
    data = yield from read(DESCRIPTORS_OFFSET, 6)
    if data[1:6] in _FIRST_IDENTIFIERS and report.format is not None:
        reason = f"the file is both {report.format} and an ISO 9660 or UDF volume"
        report.add_finding("polyglot", DESCRIPTORS_OFFSET, reason)


def _check_primary(sector: bytes, offset: int, report: Report) -> None:
    blocks, block_size = unpack(_SIZES, sector)
    report.set_virtual_size(blocks * block_size, offset + 80)
    report.block_size = block_size
    problems = (
        (block_size not in (512, 1024, 2048), 128, f"the block size is {block_size} bytes"),
    )
    report.check_header(problems, offset)
    report.require_size(blocks * block_size, offset + 80, "the volume")


def _finish(report: Report) -> Reader[None]:
    """Use the size of the file: a hybrid volume may have partitions after the volume."""
    end = yield from end_of_stream(vhd.FOOTER_BYTES)
    report.set_virtual_size(end.size)
    if vhd.is_fixed(end):
        reason = "the file is both an ISO 9660 or UDF volume and a fixed VHD"
        report.add_finding("polyglot", end.size - vhd.FOOTER_BYTES, reason)
