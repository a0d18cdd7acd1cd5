"""What must hold for any bytes: total, the same for any split, bounded."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imsgate import errors
from imsgate.formats.gate import Gate
from tests.formats import craft
from tests.formats.craft import be, le

MEMORY = 1 << 20
"""The most an inspection may hold, in bytes, whatever the image says."""

SEEDS = {
    "qcow2": craft.qcow2(),
    "qcow2-extension": craft.with_extension(craft.qcow2(), 0x44415441, b"x"),
    "qcow1": (b"QFI\xfb" + be(1, 4) + bytes(16) + be(1 << 20, 8) + b"\x0c\x09" + bytes(6))
    + be(48, 8)
    + be(4096, 8) * 99
    + bytes(8192),
    "vmdk": craft.vmdk(craft.descriptor()),
    "stream": craft.vmdk_stream(),
    "descriptor": craft.descriptor("vmfs", 'RW 8 VMFS "x"'),
    "cowd": b"COWD".ljust(600, b"\1"),
    "vhd": craft.vhd_dynamic(bat=4),
    "fixed": bytes(1024) + craft.vhd_footer(1024),
    "vdi": craft.vdi(allocated=1, entry=0),
    "qed": craft.patched(craft.qed(), (65536, le(131072, 8)), (131072, le(65536, 8))),
    "zvhd": craft.zvhd(),
    "zvhd2": craft.zvhd(b"z2strm"),
    "luks1": b"LUKS\xba\xbe\0\1".ljust(104, b"\0") + be(4, 4).ljust(4096, b"\0"),
    "luks2": (b"LUKS\xba\xbe\0\2" + be(16384, 8)).ljust(4096, b"\0")
    + b'{"segments":{"0":{"offset":"32768"}}}'.ljust(36000, b"\0"),
    "iso": craft.iso_primary(),
    "mbr": craft.mbr((0x83, 1, 9), (0xEE, 1, 9)).ljust(8192, b"\0"),
    "tar": bytes(257) + b"ustar\x0000".ljust(900, b"\0"),
    "text": b"stream of words\n" * 9,
}
VHDX = craft.vhdx()[: (2 << 20) + 70000]


def outcome(data: bytes, cuts: list[int], *, patient: bool):
    """Findings, facts and verdict of ``data`` fed in pieces."""
    inspection = Gate().begin("qcow2" if len(cuts) % 2 else None, patient=patient)
    return _feed(inspection, data, sorted({min(cut, len(data)) for cut in cuts}))


def _feed(inspection, data: bytes, cuts: list[int]):
    try:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            inspection.feed(data[start:end])
        inspection.finish()
    except errors.BadImage as refusal:
        return inspection.report(), refusal.reason, refusal.details
    return inspection.report(), None, None


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
    whole = Gate().begin("qcow2" if len(cuts) % 2 else None, patient=patient)
    assert outcome(data, cuts, patient=patient) == _feed(whole, data, [])


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_byte_by_byte_is_as_good_as_at_once(name):
    data = SEEDS[name][:70_000] + SEEDS[name][-5000:]
    at_once = _feed(Gate().begin(patient=True), data, [])
    assert _feed(Gate().begin(patient=True), data, list(range(1, len(data)))) == at_once


@given(patches=st.lists(st.tuples(st.sampled_from([0, 65536, 131072, 196608, 262144, 2 << 20]),
       st.integers(0, 200), st.binary(min_size=1, max_size=8)), max_size=6))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_damaged_vhdx_is_judged_all_the_same(patches):
    data = craft.patched(VHDX, *((base + at, new) for base, at, new in patches))
    at_once = _feed(Gate().begin(patient=True), data, [])
    cuts = [1, 65535, 65537, 131072 + 50, 196608 + 8, 2 << 20]
    assert _feed(Gate().begin(patient=True), data, cuts) == at_once


def hostile() -> dict[str, bytes]:
    """Images whose tables are as large and as full as their headers allow."""
    rng = random.Random(7)
    size = 8 << 20
    offsets = b"".join(
        be(1 << 63 | at * 65536, 8) for at in rng.sample(range(16, 1 << 22), 1 << 17)
    )
    huge_l1 = craft.patched(craft.qcow2(), (24, be(1 << 51, 8)), (36, be(1 << 22, 4)))
    sectors = b"".join(le(at, 4) for at in rng.sample(range(1 << 8, 1 << 24), 1 << 18))
    text = craft.descriptor()
    wide = craft.vmdk(text, capacity=1 << 34)
    vdi = craft.vdi(size=1 << 45, blocks=1 << 25)
    vdi = craft.patched(vdi, (344, le(512 + (4 << 25), 4)))
    return {
        "l1": huge_l1[:0x30000] + offsets * (size // len(offsets)),
        "l1-same": huge_l1[:0x30000] + be(1 << 63 | 1 << 24, 8) * (size // 8),
        "grain-directory": wide[: 26 * 512] + sectors * (size // len(sectors)),
        "block-map": vdi[:512] + sectors * (size // len(sectors)),
        "descriptor": craft.vmdk((b"RW 1 SPARSE \"a\"\n" * 4000), descriptor_size=120),
        "extensions": craft.patched(craft.qcow2(), (104, (be(1, 4) + be(0, 4)) * 8000)),
        "comments": b"#" * 500 + b"\nversion=1\n" + b"RW 1 FLAT \"x\" 0\n" * 300_000,
        "random": rng.randbytes(size),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(hostile()))
def test_no_image_makes_an_inspection_large(name):
    data = hostile()[name]
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    inspection = Gate().begin(patient=True)
    tracemalloc.start()
    try:
        for chunk in chunks:
            inspection.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY


def test_after_the_verdict_a_chunk_costs_no_memory():
    inspection = Gate().begin(patient=True)
    inspection.feed(bytes(1 << 20))
    chunk = bytes(1 << 20)
    tracemalloc.start()
    try:
        inspection.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16384
