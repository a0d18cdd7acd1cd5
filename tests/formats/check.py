"""Feeds data to an inspection, at once and in pieces."""

from imsgate import errors
from imsgate.formats.inspector import Inspection, Inspector
from imsgate.formats.report import ImageInfo

Outcome = tuple[ImageInfo, str | None, object]
"""The image's properties; the reason and the details of the refusal, None if it is accepted."""


def feed(inspection: Inspection, data: bytes, cuts: list[int]) -> Outcome:
    """Feed ``data``, split at the offsets ``cuts``."""
    try:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            inspection.feed(data[start:end])
        inspection.finish()
    except errors.BadImage as refusal:
        return inspection.partial_info(), refusal.reason, refusal.details
    return inspection.partial_info(), None, None


def assert_same_if_split(inspector: Inspector, data: bytes, first: int) -> None:
    """Assert that splitting ``data`` at ``first`` changes nothing, with or without keep_going."""
    cut = first % (len(data) + 1)
    for keep_going in (False, True):
        at_once = feed(inspector.begin(keep_going=keep_going), data, [])
        cuts = [cut, min(cut + 513, len(data))]
        assert at_once == feed(inspector.begin(keep_going=keep_going), data, cuts)
