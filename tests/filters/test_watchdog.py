"""The watchdog of pace: it ends what waits too long for its client, and nothing else."""

import contextlib
import socket
import threading
import time

import pytest

from imsgate import errors
from imsgate.filters.watchdog import Watchdog
from imsgate.http import body, connection
from tests.filters.waiting import WaitingInput

PATIENCE = 30


@contextlib.contextmanager
def reading(tapped, size):
    """A read that waits on a thread; yields what it raised in the end."""
    raised = []

    def read():
        try:
            tapped.read(size)
        except errors.Error as error:
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    yield raised
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize(("late", "ended"), [(0.5, False), (30.0, False), (32.0, True)])
def test_a_read_is_ended_when_it_is_late(pair, late, ended):
    ours, theirs = pair
    tapped = body.Tapped(stream := WaitingInput(ours), 1 << 20)
    watchdog = Watchdog(lambda: 1000)
    with reading(tapped, 1000) as raised, watchdog.watch(tapped, ours):
        theirs.sendall(b"some")
        assert stream.reading.wait(PATIENCE)
        assert watchdog.end_late_reads(tapped.waiting[0] + late)
        if not ended:
            theirs.sendall(bytes(996))
    assert [error.reason for error in raised] == (["too_slow"] if ended else [])
    assert not watchdog.end_late_reads(time.monotonic())
    theirs.close()
    with pytest.raises(errors.TooSlow if ended else errors.BodyCut):
        tapped.read(5)


def test_who_is_not_read_from_is_not_late(pair):
    ours, theirs = pair
    tapped = body.Tapped(WaitingInput(ours), 1 << 20)
    watchdog = Watchdog(lambda: 1000)
    with watchdog.watch(tapped, ours):
        assert watchdog.end_late_reads(time.monotonic() + 1e6)
        theirs.sendall(b"data")
        assert tapped.read(4) == b"data"


def test_a_large_read_has_more_time(pair):
    ours, _ = pair
    tapped = body.Tapped(stream := WaitingInput(ours), 1 << 20)
    watchdog = Watchdog(lambda: 1000)
    with reading(tapped, 1_000_000) as raised, watchdog.watch(tapped, ours):
        assert stream.reading.wait(PATIENCE)
        for late in (1029.0, 1031.0):
            assert raised == []
            watchdog.end_late_reads(tapped.waiting[0] + late)
    assert [error.reason for error in raised] == ["too_slow"]


@pytest.fixture
def tcp():
    """A server's side of a TCP connection, and that of a client with a small window."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        ours.settimeout(PATIENCE)
        yield ours, theirs


def send_file(connection, file):
    connection.sendfile(file)


def send_bytes(connection, file):
    connection.sendall(file.read())


@pytest.mark.parametrize("send", [send_file, send_bytes])
def test_a_client_that_takes_too_little_of_its_response_is_ended(tcp, tmp_path, send):
    ours, theirs = tcp
    (tmp_path / "image").write_bytes(bytes(32 << 20))
    watchdog = Watchdog(lambda: 4096)
    failures = []

    def serve():
        with open(tmp_path / "image", "rb") as file, watchdog.watch_response(ours):
            try:
                send(ours, file)
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    while not theirs.recv(1000):
        pass
    began = time.monotonic()
    assert watchdog.end_late_responses(began + 1)
    assert thread.is_alive()
    watchdog.end_late_responses(began + 1000)
    thread.join(PATIENCE)
    assert [isinstance(error, BrokenPipeError) for error in failures] == [True]
    assert not watchdog.end_late_responses(began)


def test_who_has_taken_all_there_is_is_not_late(tcp):
    """A store that is slow is not the client's fault."""
    ours, theirs = tcp
    watchdog = Watchdog(lambda: 4096)
    with watchdog.watch_response(ours):
        ours.sendall(b"first")
        assert theirs.recv(5) == b"first"
        while connection.has_unsent(ours):  # until the acknowledgement is here
            pass
        assert watchdog.end_late_responses(time.monotonic() + 1e6)
        ours.sendall(b"second")


def test_progress_counts_step_by_step():
    progress = connection.Progress(1000, 0.0, 0)
    assert progress.seconds_late(10.0, 10_000, True) == 0
    assert progress.seconds_late(20.0, 10_000, True) == 10
    assert progress.seconds_late(30.0, 10 << 20, True) == 0  # fast once more
    assert progress.seconds_late(35.0, 10 << 20, True) == 5  # but that was then
    assert progress.seconds_late(99.0, 10 << 20, False) == 0  # not its turn
