"""QCOW version 1 and qcow2 (versions 2 and 3).

Source: qcow2 specification (docs/interop/qcow2 of QEMU); for version 1 the fields known
from files of qemu-img. All numbers are big-endian.
"""

import struct

from imsgate.formats.facts import Report
from imsgate.formats.stream import Reader

MAGIC = b"QFI\xfb"

_V1 = struct.Struct(">4xIQIIQBB2xIQ")
_V2 = struct.Struct(">4xIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")


def inspect(head: bytes, report: Report) -> Reader:
    """Judge any version by its header."""
    version = int.from_bytes(head[4:8], "big")
    if version == 1:
        report.narrow("qcow")
        _version_1(head, report)
    else:
        report.narrow("qcow2")
        _version_2(head, report)
    return
    yield


def _version_1(head: bytes, report: Report) -> None:
    _, backing, _, _, size, *_ = _V1.unpack_from(head.ljust(_V1.size, b"\0"))
    report.virtual_size = size
    if backing:
        report.find("backing_file", 8, "the header names a backing file")


def _version_2(head: bytes, report: Report) -> None:
    version, backing, _, bits, size, *_ = _V2.unpack_from(head.ljust(_V2.size, b"\0"))
    report.virtual_size = size
    if backing:
        report.find("backing_file", 8, "the header names a backing file")
    if not 9 <= bits <= 21:
        report.find("bad_header", 20, f"cluster_bits is {bits}")
    if version == 3:
        features, *_ = _V3.unpack_from(head.ljust(112, b"\0"), 72)
        if features & 4:
            report.find("data_file", 72, "the external data file bit is set")
        if features >> 5:
            report.find("unknown_features", 72, f"incompatible features {features:#x}")
    elif version != 2:
        report.find("bad_header", 4, f"version {version} is not known")
