"""Long bodies, over a real connection behind gunicorn's own reader."""

import io
import os
import socket

import pytest
from gunicorn.http.unreader import SocketUnreader

from imsgate.cmd.bodies import LongBody

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


def body(connection, sent, held=b"", ended=True):
    """A body of which ``held`` came with the head of its request, and ``sent`` behind that."""
    ours, theirs = connection
    unreader = SocketUnreader(ours)
    unreader.unread(held)
    theirs.sendall(sent)
    if ended:
        theirs.shutdown(socket.SHUT_WR)
    return LongBody(unreader, len(DATA))


@pytest.mark.parametrize("held", [0, 1, 5000, 8192, 300_000])
@pytest.mark.parametrize("step", [1000, 8192, 65536, 1 << 20])
def test_all_of_it_comes_in_steps_as_large_as_asked_for(connection, held, step):
    found = body(connection, DATA[held:], DATA[:held], ended=False)
    steps = list(iter(lambda: found.read(step), b""))
    assert b"".join(steps) == DATA
    assert {len(one) for one in steps[:-1]} <= {step}


@pytest.mark.parametrize("held", [0, 100_000])
def test_reading_everything(connection, held):
    assert body(connection, DATA[held:], DATA[:held], ended=False).read() == DATA


def test_a_buffered_reader_round_it(connection):
    found = io.BufferedReader(body(connection, DATA, ended=False))
    assert found.readline() + found.read() == DATA


@pytest.mark.parametrize("held", [0, 290_000])
def test_what_comes_behind_it_is_not_part_of_it(connection, held):
    sent = DATA + NEXT
    found = body(connection, sent[held:], sent[:held], ended=False)
    assert found.read(1 << 20) == DATA
    assert found.read(1 << 20) == b""


def test_what_was_held_may_be_more_than_the_body(connection):
    found = body(connection, b"", DATA + NEXT, ended=False)
    assert found.read(1 << 20) + found.read(1 << 20) == DATA


@pytest.mark.parametrize("held", [0, 100, 200])
def test_a_client_that_has_gone_ends_it_before_its_length(connection, held):
    found = body(connection, DATA[held:200], DATA[:held])
    assert found.read(1000) == DATA[:200]
    assert found.read(1000) == b""


def test_nothing_is_read_before_it_is_asked_for(connection):
    body(connection, DATA[:100], ended=False)
    assert connection[0].recv(1000) == DATA[:100]


def test_a_timeout_of_the_socket_ends_the_read(connection):
    found = body(connection, DATA[:100], ended=False)
    connection[0].settimeout(0.01)
    with pytest.raises(TimeoutError):
        found.read(1000)
