"""Connections: which get a thread, and how they end. A real worker, its sockets and its threads."""

import errno
import logging
import socket
import struct
import threading
import time
import types

import pytest
from gunicorn.config import Config
from gunicorn.workers import gthread

from imsgate.server import bodies, connections
from imsgate.server.connections import HEAD_SECONDS, LINGER_SECONDS, ConnectionWorker
from imsgate.server.heads import MAX_BYTES

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Answers at once; a request of /held waits until it is let go on."""

    def __init__(self):
        self.go_on = threading.Event()
        self.reads_body = False

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/held":
            assert self.go_on.wait(300)
        if self.reads_body:
            environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


class Clock:
    def __init__(self):
        self.ahead = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead

    def sleep(self, seconds):
        self.ahead += seconds


class Bench:
    """A worker that this test turns over itself."""

    def __init__(self, worker, listener, app):
        self.worker = worker
        self.listener = listener
        self.app = app
        self.clients = []

    def connect(self, sent=b""):
        client = socket.create_connection(self.listener.getsockname(), timeout=300)
        self.clients.append(client)
        client.sendall(sent)
        return client

    def turn(self, until):
        """Let the worker look after its connections until something is so."""
        end = time.monotonic() + 60
        while not until():
            assert time.monotonic() < end
            self.turn_once()

    def turn_once(self):
        self.worker.wait_for_and_dispatch_events(0.01)
        self.worker.murder_keepalived()
        self.worker.murder_pending()

    def answer(self, client):
        """All that a client receives, up to the end of one response or of the connection."""
        received = []
        reader = threading.Thread(target=lambda: received.append(_response(client)))
        reader.start()
        self.turn(lambda: not reader.is_alive())
        return received[0]


def _response(client):
    """One response, and nothing of the next; all there is if the connection ends before."""
    text = b""
    while not text.endswith(b"\r\n\r\nok"):
        try:
            byte = client.recv(1)
        except ConnectionResetError:
            return text + b" RESET"
        if not byte:
            break
        text += byte
    return text


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(connections, "time", clock)
    return clock


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(ConnectionWorker, "RESERVED_PATHS", {"/healthcheck"})
    cfg = Config()
    cfg.set("threads", 2)
    cfg.set("worker_connections", 20)
    cfg.set("pre_request", bodies.read_directly)
    app, listener = App(), socket.create_server(("127.0.0.1", 0), backlog=128)
    log = logging.getLogger("test")
    log.access = lambda *_: None
    worker = ConnectionWorker(
        0, 0, [listener], types.SimpleNamespace(wsgi=lambda: app), 0, cfg, log
    )
    worker.wsgi = app
    # What ``init_process`` and ``run`` make, without the signals.
    worker.tpool = worker.get_thread_pool()
    worker._reserved = connections.futures.ThreadPoolExecutor(1)
    worker.poller = gthread.selectors.DefaultSelector()
    worker.method_queue.init()
    worker.poller.register(
        worker.method_queue.fileno(),
        gthread.selectors.EVENT_READ,
        worker.method_queue.run_callbacks,
    )
    worker.set_accept_enabled(True)
    bench = Bench(worker, listener, app)
    yield bench
    app.go_on.set()
    for client in bench.clients:
        client.close()
    worker.alive = False
    bench.turn(lambda: worker.nr_conns == 0)
    worker.tpool.shutdown()
    worker._reserved.shutdown()
    worker.poller.close()
    worker.method_queue.close()
    listener.close()
    worker.tmp.close()


@pytest.mark.parametrize("sent", [b"", b"GE", GET[:-1]], ids=["nothing", "GE", "no end"])
def test_clients_without_a_head_hold_no_thread(bench, sent):
    for _ in range(10):
        bench.connect(sent)
    assert bench.answer(bench.connect(GET)).startswith(b"HTTP/1.1 200")


def test_kept_connections_hold_no_thread(bench):
    for _ in range(6):
        client = bench.connect(GET)
        bench.answer(client)
        client.sendall(b"GE")
    assert bench.answer(bench.connect(GET)).startswith(b"HTTP/1.1 200")


def test_unread_bodies_hold_no_thread(bench):
    for _ in range(6):
        bench.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    assert bench.answer(bench.connect(GET)).startswith(b"HTTP/1.1 200")


def test_a_head_may_come_in_pieces(bench):
    client = bench.connect(GET[:9])
    bench.turn(lambda: bench.worker._heads)
    client.sendall(GET[9:])
    assert bench.answer(client).endswith(b"ok")


def test_requests_sent_at_once_are_all_answered(bench):
    client = bench.connect(GET + GET + GET[:5])
    assert bench.answer(client).endswith(b"ok")
    assert bench.answer(client).endswith(b"ok")
    client.sendall(GET[5:])
    assert bench.answer(client).endswith(b"ok")


def test_the_whole_head_has_a_deadline(bench, clock):
    client = bench.connect(b"GET / ")
    bench.turn(lambda: bench.worker._heads)
    clock.ahead = HEAD_SECONDS / 2
    client.sendall(b"HTTP")
    bench.turn(lambda: len(next(iter(bench.worker._heads)).head) == 10)
    clock.ahead = HEAD_SECONDS
    assert bench.answer(client) == b""


def test_a_head_without_end_is_refused(bench):
    client = bench.connect()
    client.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_BYTES)
    assert bench.answer(client).startswith(b"HTTP/1.1 431")


def test_reserved_paths_are_answered_while_all_threads_are_taken(bench):
    for _ in range(2):
        bench.connect(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
    health = bench.connect(b"GET /healthcheck?detail HTTP/1.1\r\nHost: x\r\n\r\n")
    assert bench.answer(health).endswith(b"ok")


def test_a_client_that_is_still_sending_gets_its_answer(bench):
    """And no reset, though it looks for the answer only when it cannot send any more."""
    client = bench.connect(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    sent = []

    def send():
        for _ in range(90):
            client.sendall(bytes(1 << 20))
            sent.append(1)

    sender = threading.Thread(target=send)
    sender.start()
    bench.turn(lambda: not sender.is_alive())
    assert len(sent) == 90
    assert bench.answer(client).endswith(b"ok")


def test_a_reset_after_the_response_is_no_error(bench, monkeypatch, caplog):
    """HAProxy ends kept connections like this, while a thread waits for the next request."""
    monkeypatch.setattr(ConnectionWorker, "NEXT_REQUEST_MILLISECONDS", 60_000)
    client = bench.connect(GET)
    assert bench.answer(client).endswith(b"ok")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    bench.turn(lambda: bench.worker.nr_conns == 0)
    assert not caplog.records


@pytest.mark.parametrize("trickles", [True, False])
def test_it_is_not_drained_for_ever(bench, clock, trickles):
    client = bench.connect(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    assert bench.answer(client).endswith(b"ok")
    bench.turn(lambda: bench.worker._lingering)
    while clock.ahead < LINGER_SECONDS and bench.worker._lingering:
        clock.ahead += 1
        if trickles:
            client.sendall(b"x")
            bench.turn(lambda: not _unread(bench))
        bench.turn_once()
    assert clock.ahead == (LINGER_SECONDS if trickles else connections.LINGER_IDLE_SECONDS)


def _unread(bench):
    for conn in bench.worker._lingering:
        try:
            return conn.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return b""
    return b""


def test_excess_connections_replace_those_without_a_request(bench):
    for _ in range(60):
        bench.connect(b"GE")
    client = bench.connect(GET)
    assert bench.answer(client).endswith(b"ok")
    assert bench.worker.nr_conns < 20


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM])
def test_a_failing_accept_ends_no_worker(bench, clock, error, caplog):
    waiting = bench.connect(b"GE")
    bench.turn(lambda: bench.worker._heads)
    full = types.SimpleNamespace(accept=lambda: (_ for _ in ()).throw(OSError(error, "no")))
    bench.worker.accept(full)
    assert "could not be accepted" in caplog.text
    # Its place is what the next one gets.
    if error in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        assert waiting.recv(1) == b""
    assert bench.answer(bench.connect(GET)).endswith(b"ok")


def test_a_stopping_worker_does_not_wait_for_heads(bench):
    bench.connect(b"GE")
    bench.turn(lambda: bench.worker._heads)
    bench.worker.alive = False
    bench.turn(lambda: bench.worker.nr_conns == 0)


EXPECT = "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
FRAMINGS = ["Content-Length: 5", "Content-Length: 100000000", "Transfer-Encoding: chunked"]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_no_100_continue_for_a_body_that_is_not_read(bench, framing):
    """Whether the client sends it all the same is not known, so the connection ends."""
    response = bench.answer(bench.connect(f"{EXPECT}{framing}\r\n\r\n".encode()))
    assert response.startswith(b"HTTP/1.1 200")
    assert b"100 Continue" not in response
    assert b"Connection: close" in response


@pytest.mark.parametrize(
    ("framing", "body", "closes"),
    [
        ("Content-Length: 5", b"12345", False),
        ("Content-Length: 70000", bytes(70_000), True),
        ("Transfer-Encoding: chunked", b"5\r\n12345\r\n0\r\n\r\n", True),
    ],
)
def test_100_continue_is_sent_at_the_first_read(bench, framing, body, closes):
    bench.app.reads_body = True
    client = bench.connect(f"{EXPECT}{framing}\r\n\r\n".encode())
    received = []
    waits = threading.Thread(target=lambda: received.append(client.recv(25)))
    waits.start()
    bench.turn(lambda: not waits.is_alive())
    assert received == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    client.sendall(body)
    response = bench.answer(client)
    assert response.startswith(b"HTTP/1.1 200")
    assert (b"Connection: close" in response) is closes
    if not closes:
        client.sendall(GET)
        assert bench.answer(client).endswith(b"ok")


@pytest.mark.parametrize("length", [1, 20, 60_000])
@pytest.mark.parametrize("missing", [0, 1])
def test_no_response_promises_to_wait_for_the_rest_of_a_body(bench, length, missing):
    """The client would lose its next request on the connection that the server closes."""
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    client = bench.connect(head.encode() + bytes(length - missing))
    response = bench.answer(client)
    assert (b"Connection: close" in response) is bool(missing)
    if not missing:
        client.sendall(GET)
        assert bench.answer(client).endswith(b"ok")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_no_100_continue_without_a_body(bench, version):
    bench.app.reads_body = True
    head = f"GET / HTTP/{version}\r\nHost: x\r\nExpect: 100-continue\r\n\r\n"
    assert b"100 Continue" not in bench.answer(bench.connect(head.encode()))


def test_no_100_continue_for_http_1_0(bench):
    bench.app.reads_body = True
    head = EXPECT.replace("1.1", "1.0") + "Content-Length: 5\r\n\r\n12345"
    assert bench.answer(bench.connect(head.encode())).startswith(b"HTTP/1.0 200")
