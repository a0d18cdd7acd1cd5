"""Images without a magic number at byte 0: an ISO 9660 or UDF volume, a fixed VHD, or a raw disk.

A raw disk has no structure of its own. Its partition table is read only to notice that the end of
the disk is missing.
"""

from imsgate.formats import iso, partitions, vhd
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, end_of_stream


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Determine which of them it is, and the partitioning of a raw disk."""
    report.narrow_format("raw", "vhd", "iso", "udf")
    table = yield from partitions.find(head)
    yield from iso.inspect(report)
    if report.format:
        return
    report.narrow_format("raw", "vhd")
    end = yield from end_of_stream(vhd.FOOTER_BYTES)
    report.require_size(table.end, table.offset, table.part)
    if vhd.is_fixed(end):
        vhd.inspect_fixed(end, report)
        return
    report.narrow_format("raw")
    report.set_virtual_size(end.size)
    report.variant = table.kind
