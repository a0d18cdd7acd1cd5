"""The arithmetic of part sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from imsgate.stores.s3.plan import MAX_PART_BYTES, Plan

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40

KNOWN = {
    "one byte": (10 * MIB, 10_000, 1, 10 * MIB),
    "just enough parts": (10 * MIB, 10_000, 100_000 * MIB, 10 * MIB),
    "a byte too many": (10 * MIB, 10_000, 100_000 * MIB + 1, 11 * MIB),
    "1 TiB": (10 * MIB, 10_000, TIB, 105 * MIB),
    "5 TiB": (10 * MIB, 10_000, 5 * TIB, 525 * MIB),
    "5 TiB in the smallest parts": (5 * MIB, 10_000, 5 * TIB, 525 * MIB),
    "5 TiB in large parts": (1024 * MIB, 10_000, 5 * TIB, 1024 * MIB),
    "100 GiB in the parts of Swift": (10 * MIB, 1000, 100 * GIB, 103 * MIB),
    "the largest": (5 * MIB, 10_000, 10_000 * MAX_PART_BYTES, MAX_PART_BYTES),
}


@pytest.mark.parametrize(("part", "count", "size", "expected"), KNOWN.values(), ids=KNOWN)
def test_parts_of_a_known_size(part, count, size, expected):
    plan = Plan(part, count)
    assert plan.size(1, size) == expected
    assert -(-size // expected) <= count


UNKNOWN = {
    "the first": (10 * MIB, 1, 10 * MIB),
    "the last of that size": (10 * MIB, 833, 10 * MIB),
    "the first of twice that": (10 * MIB, 834, 20 * MIB),
    "the last": (10 * MIB, 10_000, MAX_PART_BYTES),
}


@pytest.mark.parametrize(("part", "number", "expected"), UNKNOWN.values(), ids=UNKNOWN)
def test_parts_of_an_unknown_size(part, number, expected):
    assert Plan(part).size(number, None) == expected


@pytest.mark.parametrize("part", [5 * MIB, 10 * MIB, 64 * MIB, 5 * GIB])
def test_an_unknown_size_can_be_5_tib(part):
    plan = Plan(part)
    assert sum(plan.size(number, None) for number in range(1, 10_001)) >= 5 * TIB


def test_equal_parts_do_not_grow():
    plan = Plan(10 * MIB, equal=True)
    assert {plan.size(number, None) for number in range(1, 10_001)} == {10 * MIB}


@given(
    part=some.integers(5 * MIB, 100 * MIB),
    count=some.integers(1, 10_000),
    size=some.integers(0, 50 * TIB),
)
def test_every_known_size_fits_in_parts_that_a_service_takes(part, count, size):
    plan = Plan(part, count)
    if size <= plan.capacity():
        chosen = plan.size(1, size)
        assert chosen >= part
        assert chosen * count >= size
        assert chosen <= MAX_PART_BYTES
        assert chosen == part or (chosen - MIB) * count < size, "larger than need be"


@given(
    part=some.integers(5 * MIB, MAX_PART_BYTES), count=some.integers(1, 10_000), data=some.data()
)
def test_parts_of_an_unknown_size_never_shrink(part, count, data):
    plan = Plan(part, count)
    number = data.draw(some.integers(1, count))
    assert part <= plan.size(number, None) <= plan.size(number + 1, None) <= MAX_PART_BYTES


@pytest.mark.parametrize("announced", [None, 0, 1, 10 * TIB])
@pytest.mark.parametrize("equal", [True, False])
def test_the_end_of_parts_is_the_sum_of_their_sizes(announced, equal):
    plan = Plan(10 * MIB, 24, equal=equal)
    for count in range(25):
        sizes = (plan.size(number, announced) for number in range(1, count + 1))
        assert plan.end(count, announced) == sum(sizes)


@pytest.mark.parametrize(
    ("part", "aligned"),
    [
        (1, 1),
        (5 * MIB, 8 * MIB),
        (10 * MIB, 16 * MIB),
        (65536, 65536),
        (MAX_PART_BYTES, MAX_PART_BYTES),
    ],
)
def test_aligned_parts(part, aligned):
    assert Plan(part, 100, equal=True).aligned() == Plan(aligned, 100, equal=True)
