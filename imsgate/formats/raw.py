"""Images without a magic number at byte 0.

These are ISO 9660 and UDF volumes, fixed VHDs, disk images of macOS (DMG), and raw disks. A DMG has
a trailer of 512 bytes that begins with "koly"; an encrypted one of the old kind ends with
"cdsaencr".

A raw disk has no structure of its own. Its partition table is read only to notice that the end of
the disk is missing.
"""

from imsgate.formats import iso, partitions, vhd
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, end_of_stream

_DMG_TRAILER_BYTES = 512
_DMG_TRAILER = b"koly\0\0\0\4\0\0\2\0"


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Determine which of them it is, and the partitioning of a raw disk."""
    report.narrow_format("raw", "vhd", "iso", "udf", "dmg")
    table = yield from partitions.find(head)
    yield from iso.inspect(report)
    if report.format:
        return
    report.narrow_format("raw", "vhd", "dmg")
    end = yield from end_of_stream(vhd.FOOTER_BYTES)
    if end.last(_DMG_TRAILER_BYTES).startswith(_DMG_TRAILER) or end.last(8) == b"cdsaencr":
        report.narrow_format("dmg", offset=max(end.size - _DMG_TRAILER_BYTES, 0))
        return
    report.require_size(table.end, table.offset, table.part)
    if vhd.is_fixed(end):
        vhd.inspect_fixed(end, report)
        return
    report.narrow_format("raw")
    report.set_virtual_size(end.size)
    report.variant = table.kind
