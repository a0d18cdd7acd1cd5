"""Detects the format by content and runs the parser of that format.

Most formats have a magic number in the first 512 bytes; some archives, programs and texts need up
to 4096. Otherwise the stream may be an ISO 9660 or UDF volume (identifiers from byte 32768 on), a
fixed VHD or a disk image of macOS (a trailer in the last 512 bytes) or a raw disk.
"""

from collections.abc import Callable

from imsgate.formats import (
    documents,
    luks,
    payloads,
    qcow,
    qcow2,
    qed,
    raw,
    vdi,
    vhd,
    vhdx,
    vmdk,
    vmdk_descriptor,
    zvhd,
)
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, read

HEAD_BYTES = 512
"""Each parser receives this many bytes at once, or fewer if the image is shorter."""

Parser = Callable[[bytes, Report], Reader[None]]

_MAGIC_NUMBERS: tuple[tuple[int, bytes, Parser], ...] = (
    (0, qcow2.MAGIC + b"\0\0\0\1", qcow.inspect),
    (0, qcow2.MAGIC, qcow2.inspect),
    (0, vmdk.SPARSE_MAGIC, vmdk.inspect),
    (0, vmdk.COWD_MAGIC, vmdk.inspect_cowd),
    (0, vmdk.SESPARSE_MAGIC, vmdk.inspect_sesparse),
    (0, vhd.COOKIE, vhd.inspect),
    (0, vhdx.MAGIC, vhdx.inspect),
    (0, qed.MAGIC, qed.inspect),
    (0, luks.MAGIC, luks.inspect),
    (vdi.MAGIC_OFFSET, vdi.MAGIC, vdi.inspect),
)


def probe(report: Report) -> Reader[None]:
    """Read the first bytes, select the parser of their format, and run it."""
    head = yield from read(0, HEAD_BYTES)
    for offset, magic, inspect in _MAGIC_NUMBERS:
        if head.startswith(magic, offset):
            yield from inspect(head, report)
            return
    if zvhd.matches(head):
        yield from zvhd.inspect(head, report)
    elif vmdk_descriptor.starts_descriptor(head):
        yield from vmdk.inspect_descriptor(head, report)
    elif name := payloads.identify(head):
        report.narrow_format(name)
        report.virtual_size = payloads.virtual_size(name, head)
    else:
        head += yield from read(HEAD_BYTES, payloads.HEAD_BYTES - HEAD_BYTES)
        is_whole = len(head) < payloads.HEAD_BYTES
        if end := payloads.pe_header_end(head):
            head += yield from read(len(head), end - len(head))
        if name := payloads.identify(head) or documents.identify(head, is_whole=is_whole):
            report.narrow_format(name)
        else:
            yield from raw.inspect(head, report)
