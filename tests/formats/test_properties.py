"""What must hold for any bytes: total, the same for any split, bounded."""

import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imsgate.formats.inspector import Inspector
from tests.formats import craft
from tests.formats.check import fed
from tests.formats.craft import be, le
from tests.formats.seeds import SEEDS, VHDX

MEMORY = 1 << 20
"""The most an inspection may hold, in bytes, whatever the image says."""


def begin(cuts: list[int], *, patient: bool):
    """An inspection; an odd number of cuts stands for a declared qcow2."""
    return Inspector().begin("qcow2" if len(cuts) % 2 else None, patient=patient)


@st.composite
def mutants(draw):
    """A seed with some fields overwritten, perhaps cut, perhaps with a tail."""
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


@given(data=mutants() | st.binary(max_size=2000), cuts=cut_lists, patient=st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_verdict_is_the_same_for_any_split(data, cuts, patient):
    places = sorted({min(cut, len(data)) for cut in cuts})
    pieces = fed(begin(cuts, patient=patient), data, places)
    assert pieces == fed(begin(cuts, patient=patient), data, [])


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_byte_by_byte_is_as_good_as_at_once(name):
    data = SEEDS[name][:70_000] + SEEDS[name][-5000:]
    at_once = fed(Inspector().begin(patient=True), data, [])
    assert fed(Inspector().begin(patient=True), data, list(range(1, len(data)))) == at_once


@given(patches=st.lists(st.tuples(st.sampled_from([0, 65536, 131072, 196608, 262144, 2 << 20]),
       st.integers(0, 200), st.binary(min_size=1, max_size=8)), max_size=6))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_damaged_vhdx_is_judged_all_the_same(patches):
    data = craft.patched(VHDX, *((base + at, new) for base, at, new in patches))
    at_once = fed(Inspector().begin(patient=True), data, [])
    cuts = [1, 65535, 65537, 131072 + 50, 196608 + 8, 2 << 20]
    assert fed(Inspector().begin(patient=True), data, cuts) == at_once


_SIZE = 8 << 20


def tables(head: bytes, entries: list[bytes]) -> bytes:
    """As much as an inspection might want to keep: ``entries`` over and over, after a head."""
    table = b"".join(entries)
    return head + table * (_SIZE // len(table))


def l1(at: int) -> bytes:
    return be(1 << 63 | at, 8)


def huge_l1() -> bytes:
    return craft.patched(craft.qcow2(), (24, be(1 << 51, 8)), (36, be(1 << 22, 4)))[:0x30000]


def clusters() -> list[bytes]:
    return [l1(at * 65536) for at in random.Random(7).sample(range(16, 1 << 22), 1 << 17)]


def sectors() -> list[bytes]:
    return [le(at, 4) for at in random.Random(7).sample(range(1 << 8, 1 << 24), 1 << 18)]


def wide_vmdk() -> bytes:
    return craft.vmdk(craft.descriptor(), capacity=1 << 34)[: 26 * 512]


def wide_vdi() -> bytes:
    return craft.patched(craft.vdi(size=1 << 45, blocks=1 << 25), (344, le(512 + (4 << 25), 4)))


#: Images whose tables are as large and as full as their headers allow; made when they are used.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "l1": lambda: tables(huge_l1(), clusters()),
    "l1-same": lambda: tables(huge_l1(), [l1(1 << 24)]),
    "grain-directory": lambda: tables(wide_vmdk(), sectors()),
    "block-map": lambda: tables(wide_vdi()[:512], sectors()),
    "descriptor": lambda: craft.vmdk(b'RW 1 SPARSE "a"\n' * 4000, descriptor_size=120),
    "extensions": lambda: craft.patched(craft.qcow2(), (104, (be(1, 4) + be(0, 4)) * 8000)),
    "comments": lambda: b"#" * 500 + b"\nversion=1\n" + b'RW 1 FLAT "x" 0\n' * 300_000,
    "random": lambda: random.Random(7).randbytes(_SIZE),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_no_image_makes_an_inspection_large(make):
    data = make()
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    inspection = Inspector().begin(patient=True)
    tracemalloc.start()
    try:
        for chunk in chunks:
            inspection.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY


def test_after_the_verdict_a_chunk_costs_no_memory():
    inspection = Inspector().begin(patient=True)
    inspection.feed(bytes(1 << 20))
    chunk = bytes(1 << 20)
    tracemalloc.start()
    try:
        inspection.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16384
