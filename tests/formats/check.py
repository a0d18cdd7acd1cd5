"""Feeds bytes to a gate, whole and in pieces."""

from imsgate import errors
from imsgate.formats.inspector import Inspection, Inspector

Outcome = tuple[object, str | None, object]


def fed(inspection: Inspection, data: bytes, cuts: list[int]) -> Outcome:
    """Facts, reason and details of the refusal when ``data`` comes in pieces."""
    try:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            inspection.feed(data[start:end])
        inspection.finish()
    except errors.BadImage as refusal:
        return inspection.report(), refusal.reason, refusal.details
    return inspection.report(), None, None


def same_for_splits(gate: Inspector, data: bytes, first: int) -> None:
    """Assert that one cut changes nothing, for an inspection that stops and one that goes on."""
    cut = first % (len(data) + 1)
    for patient in (False, True):
        whole = fed(gate.begin(patient=patient), data, [])
        pieces = fed(gate.begin(patient=patient), data, [cut, min(cut + 513, len(data))])
        assert whole == pieces
