"""The worker of ``imsgate serve``: requests that follow one another on a connection."""

import socket
import types

import pytest
from gunicorn.workers import gthread

from imsgate.cmd import serve


@pytest.fixture
def connection():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield types.SimpleNamespace(sock=ours, client=theirs)


def served(monkeypatch, connection, ends, *, alive=True):
    """How often gunicorn's own ``handle`` runs, and what comes of it in the end.

    Each time it takes a byte for a request; ``ends`` are what it says.
    """
    said = iter(ends)

    def handle(self, conn):
        worker.handled += len(conn.sock.recv(1))
        return next(said)

    monkeypatch.setattr(gthread.ThreadWorker, "handle", handle)
    monkeypatch.setattr(gthread.ThreadWorker, "__init__", lambda self: None)
    worker = serve.Worker()
    worker.alive, worker.handled = alive, 0
    return worker.handle(connection), worker.handled


def test_what_follows_at_once_is_served_by_the_same_thread(monkeypatch, connection):
    connection.client.sendall(b"123")
    assert served(monkeypatch, connection, [True, True, True]) == (True, 3)


def test_a_silent_client_is_left_to_the_poller(monkeypatch, connection):
    connection.client.sendall(b"1")
    assert served(monkeypatch, connection, [True]) == (True, 1)


def test_a_client_that_has_gone_is_noticed(monkeypatch, connection):
    connection.client.sendall(b"1")
    connection.client.shutdown(socket.SHUT_WR)
    assert served(monkeypatch, connection, [True, False]) == (False, 1)


@pytest.mark.parametrize("end", [False, object()], ids=["closed", "deferred"])
def test_only_what_is_kept_is_waited_for(monkeypatch, connection, end):
    connection.client.sendall(b"12")
    assert served(monkeypatch, connection, [end]) == (end, 1)


def test_a_worker_that_stops_waits_for_nothing(monkeypatch, connection):
    connection.client.sendall(b"12")
    assert served(monkeypatch, connection, [True], alive=False) == (True, 1)
