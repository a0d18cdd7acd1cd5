"""Inspects files without reading what the inspection does not look at, and describes the result."""

import os
from typing import BinaryIO

from imsgate.formats.inspector import Inspection
from imsgate.formats.report import ImageInfo
from imsgate.formats.stream import MAX_TAIL_BYTES

_READ_BYTES = 1 << 20


def inspect_file(file: BinaryIO, inspection: Inspection) -> None:
    """Feed an unbuffered file to an inspection, from its first byte to its last.

    A regular file is read only where a parser looks and at its end, so that a large image takes
    milliseconds. Anything else is read whole. Raises OSError, and what ``inspection`` raises.
    """
    size = os.fstat(file.fileno()).st_size if file.seekable() else 0
    position = 0
    while True:
        target = min(inspection.next_offset, size - MAX_TAIL_BYTES)
        if target - position > _READ_BYTES:
            inspection.skip(target - position)
            position = file.seek(target)
        chunk = file.read(_READ_BYTES)
        if not chunk:
            break
        inspection.feed(chunk)
        position += len(chunk)
    inspection.finish()


def describe(path: str, image_info: ImageInfo, verdict: str) -> str:
    """The result in words, over several lines: the format, and each finding with its hint."""
    kind = " ".join(filter(None, (image_info.format or "unknown", image_info.variant)))
    virtual_size = image_info.virtual_size
    size = "" if virtual_size is None else f", virtual size {virtual_size} bytes"
    lines = [f"{_printable(path)}: {verdict}: {kind}{size}"]
    for finding in image_info.findings:
        lines.append(f"    {finding.check} at byte {finding.offset}: {finding.reason}")
        lines.append(f"        {finding.hint}")
    return "\n".join(lines)


def _printable(path: str) -> str:
    """The path with bytes that are not text replaced, because print() would fail on them."""
    return os.fsencode(path).decode(errors="replace")
