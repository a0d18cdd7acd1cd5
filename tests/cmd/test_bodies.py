"""Long bodies, over a real connection behind gunicorn's own readers."""

import concurrent.futures
import io
import os
import socket

import pytest
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import InvalidChunkSize, NoMoreData
from gunicorn.http.unreader import SocketUnreader
from hypothesis import given
from hypothesis import strategies as st

from imsgate.cmd import bodies

DATA = os.urandom(300_000)
NEXT = b"GET / HTTP/1.1\r\n\r\n"


@pytest.fixture
def connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
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
def test_all_of_it_comes_in_steps_as_large_as_asked_for(connection, make, sent, held, step):
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
def test_a_buffered_reader_round_it(connection, make, sent):
    found = io.BufferedReader(make(connection, sent))
    assert found.readline() + found.read() == DATA


@given(st.lists(st.binary(min_size=1)), st.lists(st.integers(0, 300)))
def test_pieces_are_cut_and_joined_as_asked(pieces, sizes):
    coming = iter(pieces)
    found = bodies.LongBody(lambda _: next(coming, None))
    whole = io.BytesIO(b"".join(pieces))
    for size in sizes:
        assert found.read(size) == whole.read(size)
    assert found.read(None) == whole.read()
    assert found.read(1) == b""


@KINDS
@pytest.mark.parametrize("held", [0, 290_000, None])
def test_what_comes_behind_it_is_not_part_of_it(connection, make, sent, held):
    found = make(connection, sent + NEXT, held)
    assert found.read(1 << 20) == DATA
    assert found.read(1 << 20) == b""


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
        found.read(1 << 20)


@KINDS
def test_nothing_is_received_before_it_is_asked_for(connection, make, sent):
    make(connection, sent[:100])
    assert connection[0].recv(1000) == sent[:100]


@KINDS
def test_a_timeout_of_the_socket_ends_the_read(connection, make, sent):
    found = make(connection, sent[:100])
    connection[0].settimeout(0.01)
    with pytest.raises(TimeoutError):
        found.read(1000)


class Counted:
    """A connection that counts what is received from it at a time."""

    def __init__(self, connection):
        self._connection = connection
        self.received = []

    def recv(self, size):
        piece = self._connection.recv(size)
        self.received.append(len(piece))
        return piece

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.fixture
def reading(connection, monkeypatch):
    """Call with milliseconds of patience: 200 kB behind the first byte, being read, and in what
    pieces."""
    ours, theirs = connection
    counted = Counted(ours)
    theirs.sendall(DATA[:1])
    found = of_length((counted, theirs), b"")
    assert found.read(1) == DATA[:1]
    counted.received.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def begin(patience):
            monkeypatch.setattr(bodies, "_PATIENCE", patience)
            return pool.submit(found.read, 200_000), counted.received

        yield begin


def await_wait(connection, read):
    """Return when it waits for all that it was asked for."""
    while connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1 and not read.done():
        pass


def test_a_small_piece_wakes_nobody(connection, reading):
    """Each did, so that many uploads at once waited for each other."""
    ours, theirs = connection
    theirs.sendall(DATA[1:1000])
    read, pieces = reading(30_000)
    await_wait(ours, read)
    theirs.sendall(DATA[1000:200_001])
    assert read.result(30) == DATA[1:200_001]
    assert pieces == [200_000]


def test_what_has_come_of_a_slow_client_is_taken_after_a_while(connection, reading):
    theirs = connection[1]
    theirs.sendall(DATA[1:1000])
    read, pieces = reading(10)
    while not pieces:
        pass
    theirs.sendall(DATA[1000:200_001])
    assert read.result(30) == DATA[1:200_001]
    assert pieces[0] == 999


@pytest.mark.parametrize("end", [socket.SHUT_WR, socket.SHUT_RDWR])
def test_a_client_that_leaves_is_not_waited_for(connection, reading, end):
    ours, theirs = connection
    theirs.sendall(DATA[1:1000])
    read, _ = reading(30_000)
    await_wait(ours, read)
    theirs.shutdown(end)
    assert read.result(10) == DATA[1:1000]


def test_a_connection_that_is_shut_down_is_not_waited_for(connection, reading):
    """As ``pace`` does with one that is too slow."""
    ours, _ = connection
    read, _ = reading(30_000)
    await_wait(ours, read)
    ours.shutdown(socket.SHUT_RD)
    assert read.result(10) == b""
