"""Tell the formats apart by content, and hand the stream to the one that knows more.

The first 512 bytes decide for every format with a mark there. Without one the stream
may be an ISO 9660 or UDF volume (marks from byte 32768), a fixed VHD (mark in the last
512 bytes), or raw.
"""

from collections.abc import Callable

from imsgate.formats import qcow, raw, vmdk
from imsgate.formats.facts import Report
from imsgate.formats.stream import Reader, read

HEAD = 512
"""Bytes every inspector is given at once; fewer when the image is shorter."""

Inspector = Callable[[bytes, Report], Reader]

_INSPECTORS: tuple[tuple[bytes, Inspector], ...] = (
    (qcow.MAGIC, qcow.inspect),
    (vmdk.SPARSE, vmdk.inspect),
)

_OTHERS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)


def probe(report: Report) -> Reader:
    """Read the head, decide, go on as the inspector of that format."""
    head = yield from read(0, HEAD)
    for magic, inspect in _INSPECTORS:
        if head.startswith(magic):
            yield from inspect(head, report)
            return
    if vmdk.is_descriptor(head):
        vmdk.descriptor_only(report)
        return
    for magic, name in _OTHERS:
        if head.startswith(magic):
            report.narrow(name)
            return
    yield from raw.inspect(head, report)
