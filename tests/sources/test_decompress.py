"""What comes out of compressed streams, however they are made."""

import bz2
import gzip
import itertools
import lzma
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.sources.decompress import MAGIC_BYTES, DecompressionSettings, Decompressor

try:
    from compression import zstd  # Python 3.14
except ImportError:
    from backports import zstd

DATA = random.Random(1).randbytes(300_000) + bytes(700_000)
PACK = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zstd.compress}
EACH = pytest.mark.parametrize("name", PACK)


def decompressor(*names, max_ratio=200):
    return Decompressor(
        DecompressionSettings(formats=list(names) or list(PACK), max_ratio=max_ratio)
    )


def reading(data, step=None):
    rest = iter([data[at : at + step] for at in range(0, len(data), step)] if step else [data])
    return lambda size: next(rest, b"")


def unpack(name, data, *, size=100_000, step=1 << 16, **more):
    stream = decompressor(**more).open(name, reading(data, step))
    return b"".join(iter(lambda: stream.read(size), b""))


@EACH
def test_compression_is_detected_by_its_first_bytes(name):
    assert decompressor().compression_of(PACK[name](b"")[:MAGIC_BYTES]) == name
    assert decompressor(*(set(PACK) - {name})).compression_of(PACK[name](DATA)) is None


@pytest.mark.parametrize("data", [b"", b"QFI\xfb", DATA, bz2.compress(DATA)], ids=len)
def test_anything_else_is_left_alone(data):
    assert decompressor().compression_of(data[:MAGIC_BYTES]) is None


@EACH
@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=3),
    st.integers(1, 5000),
    st.integers(1, 500),
)
def test_members_are_one_stream(name, members, size, step):
    packed = b"".join(PACK[name](member) for member in members)
    assert unpack(name, packed, size=size, step=step) == b"".join(members)


@EACH
def test_any_number_of_members(name):
    """Block gzip has one for each 64 KiB."""
    assert unpack(name, PACK[name](b"member") * 3000) == b"member" * 3000


@EACH
def test_no_read_returns_more_than_requested(name):
    stream = decompressor().open(name, reading(PACK[name](DATA)))
    chunks = list(iter(lambda: stream.read(1000), b""))
    assert max(map(len, chunks)) <= 1000
    assert b"".join(chunks) == DATA


@EACH
@given(st.lists(st.binary(max_size=9), max_size=20), st.integers(1, 50))
def test_small_members_are_read_together(name, members, size):
    """Each read of the copy loop costs, and a member may hold a single byte."""
    packed = b"".join(map(PACK[name], members))
    stream = decompressor().open(name, reading(packed or PACK[name](b"")))
    data = b"".join(members)
    expected = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(iter(lambda: stream.read(size), b"")) == expected


@EACH
def test_a_read_does_not_wait_for_more_than_it_needs(name):
    pieces = [PACK[name](b"first"), PACK[name](b"second")]
    stream = decompressor().open(name, lambda size: pieces.pop(0))
    assert stream.read(1000) == b"first"
    assert len(pieces) == 1


@pytest.mark.parametrize("name", ["gzip", "xz"])
def test_zeros_after_the_end_are_padding(name):
    assert unpack(name, PACK[name](DATA) + bytes(512)) == DATA


@EACH
@pytest.mark.parametrize("end", [12, 1000, -1, -9])
def test_cut_stream_is_refused(name, end):
    with pytest.raises(errors.BadImage, match="ends early"):
        unpack(name, PACK[name](DATA)[:end])


@EACH
@pytest.mark.parametrize("rubbish", [b"rubbish" * 9, b"\x01"])
def test_rubbish_after_the_end_is_refused(name, rubbish):
    with pytest.raises(errors.BadImage):
        unpack(name, PACK[name](DATA) + rubbish)


@EACH
def test_damage_is_refused(name):
    packed = bytearray(PACK[name](DATA))
    packed[len(packed) // 2] ^= 0xFF
    packed[len(packed) // 2 + 1] ^= 0xFF
    if name == "zstd":  # whose checksum is optional
        packed[8] ^= 0xFF
    try:
        assert unpack(name, bytes(packed)) != DATA
    except errors.BadImage:
        return
    assert name == "zstd"


@EACH
def test_bomb_is_refused_long_before_its_end(name):
    bomb = PACK[name](bytes(200 << 20))
    stream = decompressor(max_ratio=2).open(name, reading(bomb, 1 << 16))
    count = 0

    def drain():
        nonlocal count
        while chunk := stream.read(1 << 20):
            count += len(chunk)

    with pytest.raises(errors.BadImage, match="more than 2 times"):
        drain()
    assert count <= 65 << 20


def test_the_largest_ratio_changes_at_run_time():
    settings = DecompressionSettings(formats=["gzip"], max_ratio=2)
    changing, bomb = Decompressor(settings), gzip.compress(bytes(65 << 20))

    def size():
        stream = changing.open("gzip", reading(bomb, 1 << 16))
        return sum(map(len, iter(lambda: stream.read(1 << 20), b"")))

    with pytest.raises(errors.BadImage, match="more than 2 times"):
        size()
    settings.refresh(DecompressionSettings(formats=["gzip"], max_ratio=2000))
    assert size() == 65 << 20


def _named_for_ever():
    yield b"\x1f\x8b\x08\x08" + bytes(6)
    yield from itertools.repeat(b"n" * 65536)


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        *((name, [PACK[name](b"x"), *[PACK[name](b"") * 3000] * 2000]) for name in PACK),
        *((name, itertools.chain([PACK[name](b"x")], [bytes(65536)] * 2000)) for name in PACK),
        ("gzip", _named_for_ever()),
    ],
)
def test_input_that_never_brings_anything_is_refused(name, packed):
    taken = 0

    def read(size):
        nonlocal taken
        chunk = next(pieces, b"")
        taken += len(chunk)
        return chunk

    pieces = iter(packed)
    stream = decompressor().open(name, read)
    with pytest.raises(errors.BadImage):
        list(iter(lambda: stream.read(1000), b""))
    assert taken <= 5 << 20


def test_dictionary_that_takes_too_much_memory_is_refused():
    packed = bytearray(lzma.compress(b"x"))
    packed[16] = 37  # of the block header: a dictionary of 3 GiB, its checksum mended
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    with pytest.raises(errors.BadImage):
        unpack("xz", bytes(packed))
