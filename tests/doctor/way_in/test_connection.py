"""What the doctor's connection makes of what a proxy sends."""

import contextlib
import socket
import threading

import pytest

from imsgate.doctor.way_in.connection import Lost, ProbeConnection

OURS = b"HTTP/1.1 415 X\r\nX-Openstack-Request-Id: req-1\r\nContent-Length: 2\r\n\r\nno"
THEIRS = b"HTTP/1.1 413 Too Large\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@contextlib.contextmanager
def exchange(received, *, ends=True):
    """A connection whose other side has sent this in response to a GET, and ends perhaps."""
    ours, theirs = socket.socketpair()
    with theirs, ProbeConnection(ours) as made:
        made.head("GET", "/", [("Host", "x")])
        made.finish()
        theirs.sendall(received)
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        yield made


@pytest.mark.parametrize(
    ("received", "status", "ours", "body"),
    [
        (OURS, 415, True, b"no"),
        (THEIRS, 413, False, b""),
        (CONTINUE + OURS, 415, True, b"no"),
        (b"HTTP/1.1 404 X\r\nX-Imsgate-Reason: not_found\r\n\r\n", 404, True, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, False, b"to the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            200,
            False,
            b"a",
        ),
    ],
    ids=["imsgate", "nginx", "after 100", "a reason", "HTTP/1.0", "chunked"],
)
def test_answers(received, status, ours, body):
    with exchange(received) as made:
        answer = made.answer(60)
    assert (answer.status, answer.is_ours, answer.body) == (status, ours, body)


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (b"", "closed without a response"),
        (CONTINUE, "closed without a response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "was cut"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "is not HTTP"),
    ],
    ids=["nothing", "only 100", "half", "SSH"],
)
def test_lost_answers(received, words):
    with exchange(received) as made, pytest.raises(Lost, match=words):
        made.answer(60)


def test_interim_responses_are_seen():
    interim = b"HTTP/1.1 104 Upload Resumption Supported\r\n\r\n"
    with exchange(CONTINUE + interim + OURS) as made:
        assert [made.next(60).status for _ in range(3)] == [100, 104, 415]
        assert made.interim == [100, 104]


def test_silence_is_no_answer():
    with exchange(CONTINUE, ends=False) as made:
        assert made.answer(0.01) is None
        assert made.interim == [100]


def test_an_answer_that_stops_halfway_is_lost():
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    with exchange(half, ends=False) as made, pytest.raises(Lost, match="stopped halfway"):
        made.answer(0.01)


def test_a_connection_serves_again():
    with exchange(OURS, ends=False) as made:
        assert made.answer(60).status == 415
        made.again()
        made.head("GET", "/", [("Host", "x")])
        made.finish()
        assert not made.broken


def test_a_connection_that_ends_does_not_serve_again():
    with exchange(OURS.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)) as made:
        made.answer(60)
        with pytest.raises(Lost, match="ended"):
            made.again()


def test_a_refused_body_does_not_hide_the_answer():
    """The other side answers and closes while the body is sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    with (
        listener,
        ProbeConnection(socket.create_connection(listener.getsockname(), timeout=60)) as made,
    ):
        other = listener.accept()[0]
        made.head("PUT", "/", [("Host", "x"), ("Content-Length", str(64 << 20))])
        sending = threading.Thread(target=made.send, args=(bytes(64 << 20),))
        sending.start()
        other.sendall(OURS)
        other.close()
        sending.join()
        assert made.broken
        with contextlib.suppress(Lost):  # depends on when the reset arrived
            assert made.answer(60).status == 415
