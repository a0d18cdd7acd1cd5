"""Everything without a mark at its start: a volume, a fixed VHD, or a raw disk."""

from imsgate.formats import iso, partitions, vhd
from imsgate.formats.facts import Report
from imsgate.formats.stream import Reader, ending


def inspect(head: bytes, report: Report) -> Reader:
    """Find out which, and how a raw disk is partitioned."""
    report.narrow("raw", "vhd", "iso", "udf")
    table = yield from partitions.find(head)
    yield from iso.inspect(report)
    if report.format:
        return
    report.narrow("raw", "vhd")
    end = yield from ending(vhd.SIZE)
    report.need(table.end, table.offset, table.what)
    if vhd.is_fixed(end):
        vhd.inspect_fixed(end, report)
        return
    report.narrow("raw")
    report.disk(end.size)
    report.variant = table.kind
