"""Properties for arbitrary data: a verdict that does not depend on splits, and bounded memory."""

import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imsgate.formats.inspector import Inspector
from tests.formats import craft
from tests.formats.check import feed
from tests.formats.craft import be, le
from tests.formats.seeds import SEEDS, VHDX

MAX_MEMORY_BYTES = 1 << 20
"""The most memory that an inspection may take, whatever the image claims."""


def begin(cuts: list[int], *, keep_going: bool):
    """An inspection; if the number of cuts is odd, qcow2 is declared."""
    return Inspector().begin("qcow2" if len(cuts) % 2 else None, keep_going=keep_going)


@st.composite
def mutants(draw):
    """A seed with some fields overwritten, possibly truncated, possibly with data appended."""
    data = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    values = st.sampled_from([b"\0", b"\xff", b"\x80", b"\1", b"\xff" * 4, b"\0" * 8, b"\xff" * 8])
    reach = draw(st.sampled_from([128, 600, len(data)]))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, min(reach, len(data)) - 1))
        new = draw(values | st.binary(min_size=1, max_size=8))
        data[at : at + len(new)] = new
    end = draw(st.integers(0, len(data)) | st.just(len(data)))
    return bytes(data[:end]) + draw(st.just(b"") | st.binary(max_size=600))


cut_lists = st.lists(st.integers(0, 600) | st.integers(0, 300_000), max_size=12)


@given(data=mutants() | st.binary(max_size=2000), cuts=cut_lists, keep_going=st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_verdict_does_not_depend_on_splits(data, cuts, keep_going):
    offsets = sorted({min(cut, len(data)) for cut in cuts})
    pieces = feed(begin(cuts, keep_going=keep_going), data, offsets)
    assert pieces == feed(begin(cuts, keep_going=keep_going), data, [])


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_single_bytes_give_the_same_verdict(name):
    data = SEEDS[name][:70_000] + SEEDS[name][-5000:]
    at_once = feed(Inspector().begin(keep_going=True), data, [])
    assert feed(Inspector().begin(keep_going=True), data, list(range(1, len(data)))) == at_once


@given(patches=st.lists(st.tuples(st.sampled_from([0, 65536, 131072, 196608, 262144, 2 << 20]),
       st.integers(0, 200), st.binary(min_size=1, max_size=8)), max_size=6))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_verdict_on_a_damaged_vhdx_does_not_depend_on_splits(patches):
    data = craft.patched(VHDX, *((base + at, new) for base, at, new in patches))
    at_once = feed(Inspector().begin(keep_going=True), data, [])
    cuts = [1, 65535, 65537, 131072 + 50, 196608 + 8, 2 << 20]
    assert feed(Inspector().begin(keep_going=True), data, cuts) == at_once


_TABLES_BYTES = 8 << 20


def tables(head: bytes, entries: list[bytes]) -> bytes:
    """A head followed by a large table that repeats ``entries``."""
    table = b"".join(entries)
    return head + table * (_TABLES_BYTES // len(table))


def l1_entry(offset: int) -> bytes:
    return be(1 << 63 | offset, 8)


def head_with_huge_l1() -> bytes:
    return craft.patched(craft.qcow2(), (24, be(1 << 51, 8)), (36, be(1 << 22, 4)))[:0x30000]


def random_l1_entries() -> list[bytes]:
    return [l1_entry(at * 65536) for at in random.Random(7).sample(range(16, 1 << 22), 1 << 17)]


def random_sectors() -> list[bytes]:
    return [le(at, 4) for at in random.Random(7).sample(range(1 << 8, 1 << 24), 1 << 18)]


def wide_vmdk() -> bytes:
    return craft.vmdk(craft.descriptor(), capacity=1 << 34)[: 26 * 512]


def wide_vdi() -> bytes:
    return craft.patched(craft.vdi(size=1 << 45, blocks=1 << 25), (344, le(512 + (4 << 25), 4)))


#: Images whose tables are as large and as full as their headers allow. Built when they are used.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "l1": lambda: tables(head_with_huge_l1(), random_l1_entries()),
    "l1-same": lambda: tables(head_with_huge_l1(), [l1_entry(1 << 24)]),
    "grain-directory": lambda: tables(wide_vmdk(), random_sectors()),
    "block-map": lambda: tables(wide_vdi()[:512], random_sectors()),
    "descriptor": lambda: craft.vmdk(b'RW 1 SPARSE "a"\n' * 4000, descriptor_size=120),
    "extensions": lambda: craft.patched(craft.qcow2(), (104, (be(1, 4) + be(0, 4)) * 8000)),
    "comments": lambda: b"#" * 500 + b"\nversion=1\n" + b'RW 1 FLAT "x" 0\n' * 300_000,
    "random": lambda: random.Random(7).randbytes(_TABLES_BYTES),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_image_makes_an_inspection_take_much_memory(make):
    data = make()
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    inspection = Inspector().begin(keep_going=True)
    tracemalloc.start()
    try:
        for chunk in chunks:
            inspection.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY_BYTES


def test_a_chunk_after_the_header_takes_no_memory():
    inspection = Inspector().begin(keep_going=True)
    inspection.feed(bytes(1 << 20))
    chunk = bytes(1 << 20)
    tracemalloc.start()
    try:
        inspection.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16384
