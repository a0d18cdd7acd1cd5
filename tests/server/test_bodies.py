"""Long bodies, over a real connection behind gunicorn's own readers."""

import io
import os
import socket

import pytest
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import InvalidChunkSize, NoMoreData
from gunicorn.http.unreader import SocketUnreader
from hypothesis import given
from hypothesis import strategies as st

from imsgate.server import bodies

DATA = os.urandom(300_000)
NEXT = b"GET / HTTP/1.1\r\n\r\n"


@pytest.fixture
def connection():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for one in (ours, theirs):
            one.settimeout(10)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        yield ours, theirs


def unreader(connection, sent, held=0, ended=False):
    """gunicorn's source, where ``held`` bytes of what is sent came with the request's head."""
    ours, theirs = connection
    source = SocketUnreader(ours)
    source.unread(sent[:held])
    theirs.sendall(sent[held:])
    if ended:
        theirs.shutdown(socket.SHUT_WR)
    return source


def of_length(*args, **options):
    return bodies.of_length(LengthReader(unreader(*args, **options), len(DATA)))


def chunked(*args, **options):
    return bodies.chunked(ChunkedReader(None, unreader(*args, **options)))


def in_chunks(data, size):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


KINDS = pytest.mark.parametrize(
    ("make", "sent"),
    [
        (of_length, DATA),
        (chunked, in_chunks(DATA, 65536)),
        (chunked, in_chunks(DATA, 1000)),
        (chunked, in_chunks(DATA, 1 << 20)),
    ],
    ids=["of length", "chunks of 64 KiB", "small chunks", "one chunk"],
)
HELD = pytest.mark.parametrize("held", [0, 1, 5000, 8192, 290_000])


@KINDS
@HELD
@pytest.mark.parametrize("step", [1000, 8192, 65536, 1 << 20])
def test_everything_is_read_in_steps_of_the_requested_size(connection, make, sent, held, step):
    found = make(connection, sent, held)
    steps = list(iter(lambda: found.read(step), b""))
    assert b"".join(steps) == DATA
    assert {len(one) for one in steps[:-1]} <= {step}
    assert all(type(one) is bytes for one in steps)


@KINDS
@HELD
def test_reading_everything(connection, make, sent, held):
    assert make(connection, sent, held).read() == DATA


@KINDS
def test_a_buffered_reader_around_it(connection, make, sent):
    found = io.BufferedReader(make(connection, sent))
    assert found.readline() + found.read() == DATA


@given(st.lists(st.binary(min_size=1)), st.lists(st.integers(0, 300)))
def test_pieces_are_split_and_joined_to_the_requested_size(pieces, sizes):
    coming = iter(pieces)
    found = bodies.DirectBody(lambda _: next(coming, None))
    whole = io.BytesIO(b"".join(pieces))
    for size in sizes:
        assert found.read(size) == whole.read(size)
    assert found.read(None) == whole.read()
    assert found.read(1) == b""


@KINDS
@pytest.mark.parametrize("held", [0, 290_000, None])
def test_bytes_after_the_body_are_not_part_of_it(connection, make, sent, held):
    found = make(connection, sent + NEXT, held)
    assert found.read(1 << 20) == DATA
    assert found.read(1 << 20) == b""


def read_twice(found):
    """What arrived before a failure is returned first."""
    found.read(1 << 20)
    found.read(1 << 20)


@pytest.mark.parametrize("held", [0, 100, 200])
def test_a_client_that_has_gone_ends_it_before_its_length(connection, held):
    found = of_length(connection, DATA[:200], held, ended=True)
    assert found.read(1000) == DATA[:200]
    assert found.read(1000) == b""


@pytest.mark.parametrize(
    ("sent", "error"),
    [(in_chunks(DATA, 1000)[:-3], NoMoreData), (b"3\r\nabc\r\nxyz\r\n", InvalidChunkSize)],
    ids=["cut", "malformed"],
)
def test_a_bad_chunk_is_an_error(connection, sent, error):
    found = chunked(connection, sent, ended=True)
    with pytest.raises(error):
        read_twice(found)


@KINDS
def test_nothing_is_received_before_the_first_read(connection, make, sent):
    make(connection, sent[:100])
    assert connection[0].recv(1000) == sent[:100]


@KINDS
def test_a_timeout_of_the_socket_ends_the_read(connection, make, sent):
    found = make(connection, sent[:100])
    connection[0].settimeout(0.01)
    with pytest.raises(TimeoutError):
        read_twice(found)


@KINDS
def test_what_arrived_before_a_failure_is_returned_first(connection, make, sent):
    found = make(connection, sent[:100])
    connection[0].settimeout(0.01)
    arrived = found.read(1000)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            found.read(1000)
    assert DATA.startswith(arrived)
