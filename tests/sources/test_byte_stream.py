"""Chunks of any size as a stream with bounded reads."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from imsgate.sources.base import ByteStream


class Chunks:
    """An iterator that notes whether it was closed."""

    def __init__(self, *chunks):
        self._chunks = iter(chunks)
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._chunks)

    def close(self):
        self.closed = True


def drain(stream, size):
    return list(iter(lambda: stream.read(size), b""))


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=10),
    st.integers(1, 30),
    st.integers(0, 40),
)
def test_reads_are_bounded_and_complete(chunks, size, peeked):
    data, stream = b"".join(chunks), ByteStream.of(Chunks(*chunks))
    assert stream.peek(peeked) == data[:peeked]
    parts = drain(stream, size)
    assert b"".join(parts) == data
    assert all(len(part) <= size for part in parts)


def test_whole_chunk_is_not_copied():
    chunk = bytes(1 << 20)
    assert ByteStream.of(Chunks(chunk)).read(1 << 20) is chunk


def test_replaced_stream_is_closed_at_once_and_the_other_at_the_end():
    first, second = Chunks(b"first"), Chunks(b"second")
    with contextlib.closing(ByteStream.of(first)) as stream:
        stream.replace(ByteStream.of(second))
        assert (first.closed, second.closed) == (True, False)
        assert drain(stream, 10) == [b"second"]
    assert second.closed
