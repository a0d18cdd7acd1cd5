"""Tell the formats apart by content, and hand the stream to the one that knows more.

The first 512 bytes decide for every format with a mark there. Without one the stream
may be an ISO 9660 or UDF volume (marks from byte 32768), a fixed VHD (mark in the last
512 bytes), or raw.
"""

from collections.abc import Callable

from imsgate.formats import (
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
from imsgate.formats.facts import Report
from imsgate.formats.stream import Reader, read

HEAD = 512
"""Bytes every inspector is given at once; fewer when the image is shorter."""

Inspector = Callable[[bytes, Report], Reader]

_MARKS: tuple[tuple[int, bytes, Inspector], ...] = (
    (0, qcow2.MAGIC + b"\0\0\0\1", qcow.inspect),
    (0, qcow2.MAGIC, qcow2.inspect),
    (0, vmdk.SPARSE, vmdk.inspect),
    (0, vmdk.COWD, vmdk.inspect_cowd),
    (0, vmdk.SESPARSE, vmdk.inspect_sesparse),
    (0, vhd.COOKIE, vhd.inspect),
    (0, vhdx.MAGIC, vhdx.inspect),
    (0, qed.MAGIC, qed.inspect),
    (0, luks.MAGIC, luks.inspect),
    (vdi.SIGNATURE_AT, vdi.SIGNATURE, vdi.inspect),
)


def probe(report: Report) -> Reader:
    """Read the head, decide, go on as the inspector of that format."""
    head = yield from read(0, HEAD)
    for offset, mark, inspect in _MARKS:
        if head.startswith(mark, offset):
            yield from inspect(head, report)
            return
    if zvhd.matches(head):
        yield from zvhd.inspect(head, report)
    elif vmdk_descriptor.starts_descriptor(head):
        yield from vmdk.descriptor_file(head, report)
    elif name := payloads.name_of(head):
        report.narrow(name)
        report.virtual_size = payloads.virtual_size(name, head)
    else:
        yield from raw.inspect(head, report)
