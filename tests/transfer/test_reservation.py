"""Quota for data that is coming in."""

from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.transfer.reservation import INITIAL_BYTES, ReservationTap


@given(
    chunks=st.lists(st.integers(1, 300), max_size=30),
    limit=st.integers(1, 3000),
)
def test_bytes_are_reserved_before_they_pass(chunks, limit):
    """All bytes are reserved before they pass, and never more than the limit."""
    reserved, passed = INITIAL_BYTES, 0

    def reserve(total):
        nonlocal reserved
        if total > limit:
            raise errors.OverLimit(project="p", resource="r", limit=limit, usage=0, delta=total)
        reserved = total

    tap = ReservationTap(None, reserve)
    try:
        for size in chunks:
            tap.feed(bytes(size))
            passed += size
            assert passed <= reserved <= max(2 * passed, INITIAL_BYTES)
    except errors.OverLimit:
        assert sum(chunks) > limit
    else:
        assert passed == sum(chunks) <= max(limit, INITIAL_BYTES)
