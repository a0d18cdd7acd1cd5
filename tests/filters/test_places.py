"""Places for uploads: who sends next to nothing gives way, and nobody else."""

import contextlib
import socket
import threading

import pytest

from imsgate import errors
from imsgate.filters.places import Places
from imsgate.http.body import Tapped

PATIENCE = 30
RATE = 4096


class Stream:
    """``wsgi.input`` of a connection."""

    def __init__(self, connection):
        self._connection = connection
        self.reading = threading.Semaphore(0)

    def read(self, size):
        self.reading.release()
        pieces = b""
        while len(pieces) < size and (piece := self._connection.recv(size - len(pieces))):
            pieces += piece
        return pieces


class Uploader:
    """A client, and the thread that receives its upload."""

    def __init__(self, stack, connect):
        self.ours, self.theirs = map(stack.enter_context, connect())
        self.stream = Stream(self.ours)
        self.body = Tapped(self.stream, 1 << 30)
        self.error = None
        self._thread = threading.Thread(target=self._receive)

    def start(self, places, client, now):
        self.place = places.take(client, self.body, self.ours, now)
        self._thread.start()
        assert self.stream.reading.acquire(timeout=PATIENCE)
        return self

    def _receive(self):
        try:
            while self.body.read(1 << 16):
                pass
        except errors.Error as error:
            self.error = error.reason

    def send(self, size):
        """Send bytes and wait until they are received."""
        self.theirs.sendall(bytes(size))
        for _ in range(size >> 16):
            assert self.stream.reading.acquire(timeout=PATIENCE)

    def outcome(self):
        """The reason with which it ended; ``body_cut`` if it was still alive."""
        self.theirs.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.error


def tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        return listener.accept()[0], theirs


@pytest.fixture(params=[tcp, socket.socketpair], ids=["tcp", "unix"])
def uploader(request):
    with contextlib.ExitStack() as stack:
        yield lambda: Uploader(stack, request.param)


@pytest.mark.parametrize(
    ("clients", "newcomer", "later", "gives_way"),
    [
        pytest.param(["a", "b"], "c", 4, False, id="a-stall"),
        pytest.param(["a", "b"], "c", 6, True, id="silent"),
        pytest.param(["a", "a"], "a", 4, False, id="its-own"),
        pytest.param(["a", "a"], "b", 0.5, False, id="above-its-share-at-first"),
        pytest.param(["a", "a"], "b", 2, True, id="above-its-share"),
    ],
)
def test_who_sends_nothing_gives_way(uploader, clients, newcomer, later, gives_way):
    places = Places(lambda: 2, lambda: RATE)
    holders = [uploader().start(places, client, 100.0) for client in clients]
    with contextlib.nullcontext() if gives_way else pytest.raises(errors.Busy):
        places.take(newcomer, None, None, 100.0 + later)
    outcomes = sorted(holder.outcome() for holder in holders)
    assert outcomes == ["body_cut", "too_slow" if gives_way else "body_cut"]


def test_an_upload_at_a_normal_speed_never_gives_way(uploader):
    places = Places(lambda: 2, lambda: RATE)
    normal, silent = (uploader().start(places, "a", 0.0) for _ in range(2))
    for now in range(1, 9):
        normal.send(1 << 16)
        places.measure(float(now))
    places.take("b", None, None, 9.0)
    with pytest.raises(errors.Busy):
        places.take("b", None, None, 9.0)
    assert (normal.outcome(), silent.outcome()) == ("body_cut", "too_slow")


def test_an_upload_that_nobody_reads_is_not_slow():
    ours, theirs = tcp()
    with ours, theirs:
        places = Places(lambda: 1, lambda: RATE)
        body = Tapped(Stream(ours), 1 << 30)
        places.take("a", body, ours, 0.0)
        with pytest.raises(errors.Busy):
            places.take("b", None, None, 1e6)
        assert body.failure is None


@pytest.mark.parametrize("rate", [0, RATE])
def test_nobody_gives_way_without_a_rate_or_a_connection(uploader, rate):
    places = Places(lambda: 1, lambda: rate)
    upload = uploader()
    if rate:
        places.take("a", upload.body, None, 0.0)
    else:
        upload.start(places, "a", 0.0)
    with pytest.raises(errors.Busy):
        places.take("b", None, None, 1e6)
    if not rate:
        assert upload.outcome() == "body_cut"


def test_a_place_that_was_given_up_is_not_freed_twice(uploader):
    places = Places(lambda: 1, lambda: RATE)
    slow = uploader().start(places, "a", 0.0)
    second = places.take("b", None, None, 10.0)
    places.leave(slow.place)
    with pytest.raises(errors.Busy):
        places.take("c", None, None, 10.0)
    places.leave(second)
    places.take("c", None, None, 10.0)
    assert slow.outcome() == "too_slow"


def unread(stack):
    """A server's side of a connection whose client takes nothing, and the client's."""
    ours, theirs = map(stack.enter_context, tcp())
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 12)
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(1 << 12))
    return ours, theirs


def test_a_response_that_its_client_does_not_take_gives_way():
    with contextlib.ExitStack() as stack:
        places = Places(lambda: 1, lambda: RATE)
        (slow, client), (second, _) = unread(stack), unread(stack)
        places.take_response("a", slow, 0.0)
        with pytest.raises(errors.Busy):
            places.take_response("b", second, 4.0)
        place = places.take_response("b", second, 1e6)
        client.settimeout(PATIENCE)
        while client.recv(1 << 16):
            pass  # up to the end of the connection
        places.leave(place)
        assert places.take_response("c", second, 1e6)


def test_a_response_has_no_place_where_nobody_knows_how_far_it_is():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert Places(lambda: 1, lambda: RATE).take_response("a", ours, 0.0) is None
