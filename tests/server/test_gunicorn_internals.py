"""Private parts of gunicorn that ``imsgate serve`` depends on.

imsgate/server/gunicorn.py, connections.py and bodies.py are the only modules that use them. If a
test here fails after an upgrade of gunicorn, compare these with gunicorn's new source. Then
run tests/server and tests/functional/test_{broken_uploads,pace,refusals,configuration}.py with
it, and change the range below.
"""

import configparser
import importlib.metadata
import inspect
import socket

import pytest
from gunicorn import arbiter, config
from gunicorn.http import message, parser
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

from imsgate.config import Config
from imsgate.server import bodies
from imsgate.server.gunicorn import Server
from tests.functional.gateway import ROOT

#: Verified with this version, which setup.cfg requires, and with later ones up to this bound.
LOWEST, BOUND = (27, 0, 1), (28,)


def test_the_installed_version_has_been_verified():
    version = importlib.metadata.version("gunicorn")
    numbers = tuple(int(part) for part in version.split(".")[:3])
    assert LOWEST <= numbers < BOUND, f"gunicorn {version}: {__doc__}"


def test_setup_requires_the_lowest_verified_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lowest = ".".join(map(str, LOWEST))
    assert f"gunicorn>={lowest}" in setup["options.extras_require"]["server"].split()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (arbiter.Arbiter.spawn_worker, ["self"]),
        (arbiter.Arbiter.handle_hup, ["self"]),
        (arbiter.Arbiter.kill_workers, ["self", "sig"]),
        (gthread.ThreadWorker.init_signals, ["self"]),
        (gthread.ThreadWorker.run, ["self"]),
        (gthread.ThreadWorker.handle, ["self", "conn"]),
        (gthread.ThreadWorker.handle_request, ["self", "req", "conn"]),
        (gthread.ThreadWorker.accept, ["self", "listener"]),
        (gthread.ThreadWorker.enqueue_req, ["self", "conn"]),
        (gthread.ThreadWorker.finish_request, ["self", "conn", "fs"]),
        (gthread.ThreadWorker.on_client_socket_readable, ["self", "conn", "client"]),
        (gthread.ThreadWorker.murder_pending, ["self"]),
        (gthread.ThreadWorker._keepalive_after, ["self", "conn", "keepalive"]),
        (gthread.ThreadWorker.set_accept_enabled, ["self", "enabled"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_methods_that_we_override_or_call(method, parameters):
    assert list(inspect.signature(method).parameters) == parameters, __doc__


def test_names_that_we_use():
    assert gthread.STOP_KEEPALIVE_LINGER > 0, __doc__
    assert SocketUnreader.take_buffered, __doc__


def test_the_master_lists_its_signals():
    assert arbiter.Arbiter.SIGNALS, __doc__


def received(head):
    """gunicorn's request, as it comes to ``pre_request``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(head.encode())
        return next(parser.RequestParser(config.Config(), ours, ("127.0.0.1", 1)))


POST = "POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("field", "reader", "is_long"),
    [
        ("Content-Length: 65535", LengthReader, False),
        ("Content-Length: 65536", LengthReader, True),
        ("Transfer-Encoding: chunked", ChunkedReader, True),
    ],
)
def test_long_bodies_are_replaced_and_end_their_connection(field, reader, is_long):
    request = received(f"{POST}{field}\r\n\r\n")
    assert type(request.body.reader) is reader, __doc__
    bodies.read_directly(None, request)
    assert isinstance(request.body, bodies.DirectBody)  # a short one only if it has not arrived
    assert request.must_close is is_long


def test_a_short_body_that_has_arrived_is_not_replaced():
    request = received(f"{POST}Content-Length: 4\r\n\r\nbody")
    bodies.read_directly(None, request)
    assert not isinstance(request.body, bodies.DirectBody)
    assert not request.must_close


def test_gunicorn_discards_shorter_bodies_to_keep_their_connections():
    assert parser._DRAIN_MAX_BYTES == bodies.LONG_BODY_BYTES, __doc__


def test_a_request_line_of_16_kib_is_received(monkeypatch):
    monkeypatch.setattr(message, "MAX_REQUEST_LINE", message.MAX_REQUEST_LINE)
    server = Server(
        *(lambda: None, lambda: None),
        **{"bind": "unix:x", "workers": 1, "threads": 1, "grace": 1, "conf": Config()},
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(f"GET /{'x' * 16300} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        request = next(parser.RequestParser(server.cfg, ours, ("127.0.0.1", 1)))
    assert len(request.path) == 16301
