"""Bodies of requests: their size is known before a proxy refuses it."""

import random

import pytest

from imsgate.client import encoder

ZSTD = encoder.zstd()
PIECE = 1 << 16
RANDOM = random.Random(5).randbytes(PIECE)


def text(number):
    return f"line {number} of a text that is not quite the same\n".encode() * 1200


@pytest.mark.parametrize(
    "pieces",
    [
        [RANDOM] * 40,
        [bytes(PIECE)] * 40,
        [text(number) for number in range(40)],
        [RANDOM[:4096], bytes(PIECE)] * 20,
        [RANDOM[number : number + 512] for number in range(0, PIECE, 512)],
    ],
    ids=["random", "zeros", "text", "extents", "small"],
)
@pytest.mark.parametrize("limit", [PIECE, 1 << 17, 1 << 20, None])
def test_a_stream_of_its_own_within_the_limit(pieces, limit):
    body = encoder.PartBody(pieces, module=ZSTD, limit=limit)
    wire = b"".join(body)
    assert len(wire) == body.wire_bytes
    assert limit is None or len(wire) <= max(limit, encoder.largest(len(pieces[0])))
    data = ZSTD.decompress(wire)
    assert data == b"".join(pieces)[: len(data)]
    assert len(data) == body.image_bytes >= len(pieces[0])
    if limit is None:
        assert body.image_bytes == sum(map(len, pieces))


def test_what_surely_fits():
    for length in (1, 1000, PIECE, 3 * PIECE + 1):
        pieces = [RANDOM[:length]] if length <= PIECE else [RANDOM] * 3 + [RANDOM[:1]]
        assert sum(map(len, encoder.PartBody(pieces, module=ZSTD))) <= encoder.largest(length)


def test_zeros_are_next_to_nothing():
    body = encoder.PartBody([bytes(PIECE)] * 1024, module=ZSTD)
    chunks = list(body)
    assert sum(map(len, chunks)) < 16384
    assert len(chunks) == 1


def test_a_plain_body_reports_its_progress():
    seen = []
    body = encoder.SizedPartBody(
        [b"ab", b"c"], 3, report=lambda body: seen.append((body.image_bytes, body.wire_bytes))
    )
    assert (len(body), b"".join(body), seen) == (3, b"abc", [(2, 2), (3, 3)])
