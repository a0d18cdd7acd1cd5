"""LUKS, versions 1 and 2: an encrypted raw disk. All numbers are big-endian.

Source: LUKS1 On-Disk Format Specification 1.2.3, LUKS2 On-Disk Format 1.0.
"""

import re
import struct

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack
from imsgate.formats.stream import Reader, ending, read

MAGIC = b"LUKS\xba\xbe"

_VERSION = struct.Struct(">6xHQ")
_PAYLOAD = struct.Struct(">104xI")
_TEXT_AT = 4096
_MOST_TEXT = 64 * 1024
_SEGMENT = re.compile(rb'"segments"\s*:\s*\{.{0,200}?"offset"\s*:\s*"(\d{1,15})"', re.S)


def inspect(head: bytes, report: Report) -> Reader:
    """Find the version and where the encrypted data begins."""
    report.narrow("luks")
    version, length = unpack(_VERSION, head)
    report.variant = f"v{version}"
    if version == 1:
        payload, at = unpack(_PAYLOAD, head)[0] * 512, 104
        report.need(592, 0, "the header")
    elif version == 2 and 16384 <= length <= 4 << 20:
        text = yield from read(_TEXT_AT, min(length - _TEXT_AT, _MOST_TEXT))
        found = _SEGMENT.search(text)
        payload, at = (int(found[1]) if found else 2 * length), _TEXT_AT
        report.need(2 * length, 8, "the two headers")
    else:
        reason = f"version {version}, header of {length} bytes"
        report.find("bad_header", 6, reason)
        return
    report.need(payload, at, "the header area")
    end = yield from ending()
    report.disk(max(end.size - payload, 0), at)
