"""Everything without a mark at its start."""

from imsgate.formats.facts import Report
from imsgate.formats.stream import Reader, ending


def inspect(head: bytes, report: Report) -> Reader:
    """Raw, unless the end says otherwise."""
    report.narrow("raw", "vhd", "iso", "udf")
    end = yield from ending()
    report.narrow("raw")
    report.virtual_size = end.size
