"""ISO 9660 and UDF volumes, by the descriptors from byte 32768 on.

Source: ECMA-119 (volume descriptors), ECMA-167 part 2 (volume recognition sequence). A
volume with both is ISO 9660. What stands in the first 32 KiB is nobody's business here:
boot sectors and partition tables of hybrid volumes are normal.
"""

import struct

from imsgate.formats import vhd
from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack
from imsgate.formats.stream import Reader, ending, read

START = 32768
MARKS = (b"CD001", b"BEA01")

_SECTOR = 2048
_MOST_SECTORS = 32
_SIZES = struct.Struct("<80xI4x40xHH")
_BIG = struct.Struct(">84xI")
_PRIMARY = 1
_OTHER_MARKS = (b"BOOT2", b"CDW02", b"TEA01", b"NSR02", b"NSR03")


def inspect(report: Report) -> Reader:
    """Narrow the report to ``iso`` or ``udf`` when there is a volume, else leave it."""
    seen: set[bytes] = set()
    gap = False
    for at in range(START, START + _MOST_SECTORS * _SECTOR, _SECTOR):
        sector = yield from read(at, _SECTOR)
        mark = sector[1:6]
        if mark == b"CD001" and sector[0] == _PRIMARY and mark not in seen:
            report.narrow("iso", at=at)
            _judge_primary(sector, at, report)
        elif mark not in MARKS + _OTHER_MARKS:
            # UDF on sectors of 4 KiB leaves every other 2 KiB empty
            if gap or not seen or any(mark):
                break
            gap = True
            continue
        gap = False
        seen.add(mark)
    if report.format == "iso":
        yield from _finish(report)
    elif seen & {b"NSR02", b"NSR03"}:
        report.narrow("udf", at=START)
        yield from _finish(report)
    elif b"CD001" in seen:
        report.narrow("iso", at=START)
        report.find("bad_header", START, "there is no primary volume descriptor")


def watch(report: Report) -> Reader:
    """Find a volume inside a stream that is already something else."""
    data = yield from read(START, 6)
    if data[1:6] in MARKS and report.format is not None:
        reason = f"both {report.format} and a volume of ISO 9660 or UDF"
        report.find("polyglot", START, reason)


def _judge_primary(sector: bytes, at: int, report: Report) -> None:
    blocks, block, swapped = unpack(_SIZES, sector)
    report.disk(blocks * block, at + 80)
    report.block_size = block
    if unpack(_BIG, sector)[0] != blocks or swapped != block >> 8 | (block & 255) << 8:
        report.find("bad_header", at + 80, "the sizes in both byte orders differ")
    elif block not in (512, 1024, 2048):
        report.find("bad_header", at + 128, f"blocks of {block} bytes")
    report.need(blocks * block, at + 80, "the volume")


def _finish(report: Report) -> Reader:
    """A volume is used as a disk of its file's size: partitions may follow the volume."""
    end = yield from ending(vhd.SIZE)
    report.disk(end.size)
    if vhd.is_fixed(end):
        report.find("polyglot", end.size - vhd.SIZE, "both a volume and a fixed VHD")
