"""Inspects an image before its upload, with the default rules of the server."""

from imsgate import errors, inspection
from imsgate.client.failures import Failure, Refused, Unreadable
from imsgate.client.source import FileSource, StreamSource
from imsgate.formats.files import describe, inspect_file
from imsgate.formats.inspector import Inspection, Inspector

#: The first bytes of a stream that are inspected. Every format shows itself in fewer.
_HEAD_BYTES = 8 << 20


def examine(
    source: FileSource | StreamSource, disk_format: str | None, container_format: str | None
) -> str | None:
    """Inspect an image that is declared like this; return the ``disk_format`` of its content,
    which is None if nothing but the server can tell it.

    Of a stream only the beginning is inspected. Raises Refused.
    """
    declared = inspection.declaration(disk_format, container_format)
    examined = Inspector().begin(declared, keep_going=True)
    refusal = _inspect(source, examined)
    info = examined.partial_info()
    if refusal is not None:
        raise Refused(describe(source.label, info, "refuse"))
    if disk_format is not None or info.format is None:
        return disk_format
    try:
        return inspection.disk_format_of_content(info)
    except errors.BadImage as error:
        raise Refused(f"{source.label}: {error}") from error


def _inspect(source: FileSource | StreamSource, examined: Inspection) -> errors.BadImage | None:
    if isinstance(source, FileSource):
        source.file.seek(0)
        try:
            inspect_file(source.file, examined)
        except errors.BadImage as refusal:
            return refusal
        except OSError as error:
            raise Unreadable(f"{source.label}: {error.strerror}") from error
        return None
    examined.feed(source.head(_HEAD_BYTES))
    if source.reaches_end(0, _HEAD_BYTES):
        try:
            examined.finish()
        except errors.BadImage as refusal:
            return refusal
    return examined.refusal


def required_format(disk_format: str | None) -> str:
    """Raises Failure without a format, which a new record needs."""
    if disk_format is None:
        raise Failure("the beginning does not show the format of the image; use --disk-format")
    return disk_format
