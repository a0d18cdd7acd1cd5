"""Heads: when a request is worth a thread."""

import itertools
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate.server.heads import MAX_BYTES, MAX_LINE_BYTES, Head, HeadState

HEAD = b"GET /healthcheck?detail=1 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        (b"", HeadState.INCOMPLETE),
        (b"GE", HeadState.INCOMPLETE),
        (HEAD[:-1], HeadState.INCOMPLETE),
        (HEAD, HeadState.READY),
        (HEAD + b"and a body", HeadState.READY),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * MAX_BYTES, HeadState.TOO_LONG),
        (b"GET /" + b"a" * MAX_LINE_BYTES, HeadState.READY),
    ],
    ids=["nothing", "a beginning", "all but the end", "whole", "more", "no end", "a long line"],
)
def test_the_parser_is_asked_when_it_need_not_wait(pair, sent, state):
    ours, theirs = pair
    head = Head()
    for at in range(0, len(sent), 60_000):
        theirs.sendall(sent[at : at + 60_000])
        found = head.receive(ours)
    assert (found if sent else head.receive(ours)) is state
    if state is HeadState.READY:
        assert head.take() == sent
        assert len(head) == 0


def test_the_parser_handles_a_client_that_has_closed(pair):
    ours, theirs = pair
    theirs.sendall(b"GE")
    theirs.shutdown(socket.SHUT_WR)
    assert Head().receive(ours) is HeadState.READY


def test_what_came_with_the_last_request_begins_the_next_head(pair):
    assert Head(HEAD).receive(pair[0]) is HeadState.READY
    assert Head(HEAD[:9]).receive(pair[0]) is HeadState.INCOMPLETE


@given(st.lists(st.integers(1, len(HEAD) - 1), max_size=5))
def test_a_head_may_come_in_any_pieces(cuts):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        head, edges = Head(), [0, *sorted(set(cuts)), len(HEAD)]
        for begin, end in itertools.pairwise(edges):
            assert head.state is HeadState.INCOMPLETE
            theirs.sendall(HEAD[begin:end])
            state = head.receive(ours)
        assert state is HeadState.READY


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (HEAD, b"/healthcheck?detail=1"),
        (b"GET / HTTP/1.1\r\n\r\n", b"/"),
        (b"GET /\r\n\r\n", b""),
        (b"\r\n\r\n", b""),
    ],
)
def test_the_request_target(line, target):
    assert Head(line).target() == target
