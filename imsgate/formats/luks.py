"""LUKS versions 1 and 2: a raw disk, encrypted as a whole.

On disk: the header begins at byte 0 with the magic number and the version (offset 6); all integers
are big-endian. Version 1 has the offset of the encrypted data at byte 104, in sectors of 512 bytes.
Version 2 has two copies of its header, each followed by JSON text (from byte 4096 in the first
copy) that contains the offset of the encrypted data. The virtual size is the size of the file from
that offset on.

Sources: LUKS1 On-Disk Format Specification 1.2.3, LUKS2 On-Disk Format Specification 1.0.
"""

import re
import struct

from imsgate.formats.fields import unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader, end_of_stream, read

MAGIC = b"LUKS\xba\xbe"

_VERSION = struct.Struct(">6xHQ")
_V1_HEADER_BYTES = 592
_V1_PAYLOAD_SECTOR = struct.Struct(">104xI")
_V1_PAYLOAD_FIELD = 104
_V2_JSON_OFFSET = 4096
_MIN_V2_HEADER_BYTES, _MAX_V2_HEADER_BYTES = 16 * 1024, 4 << 20
_MAX_JSON_BYTES = 64 * 1024
_SEGMENT_OFFSET = re.compile(rb'"segments"\s*:\s*\{.{0,200}?"offset"\s*:\s*"(\d{1,15})"', re.S)


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Determine the version and the offset of the encrypted data."""
    report.narrow_format("luks")
    version, length = unpack(_VERSION, head)
    report.variant = f"v{version}"
    if version == 1:
        payload, field = unpack(_V1_PAYLOAD_SECTOR, head)[0] * 512, _V1_PAYLOAD_FIELD
        report.require_size(_V1_HEADER_BYTES, 0, "the header")
    elif version == 2 and _MIN_V2_HEADER_BYTES <= length <= _MAX_V2_HEADER_BYTES:
        text = yield from read(_V2_JSON_OFFSET, min(length - _V2_JSON_OFFSET, _MAX_JSON_BYTES))
        match = _SEGMENT_OFFSET.search(text)
        payload, field = (int(match[1]) if match else 2 * length), _V2_JSON_OFFSET
        report.require_size(2 * length, 8, "the second copy of the header")
    else:
        reason = f"LUKS version {version} with a header of {length} bytes is not supported"
        report.add_finding("bad_header", 6, reason)
        return
    report.require_size(payload, field, "the area before the encrypted data")
    end = yield from end_of_stream()
    report.set_virtual_size(max(end.size - payload, 0), field)
