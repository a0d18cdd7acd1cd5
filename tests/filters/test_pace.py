"""pace: slow clients are cut off, and uploads leave threads to others."""

import contextlib
import functools
import io
import socket
import threading
import time

import pytest

from imsgate import errors
from imsgate.filters import pace
from imsgate.http import body, connection
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import FILE, put

PATIENCE = 30


class TestPace(FilterContract):
    @pytest.fixture
    def factory(self):
        return pace.filter_factory


@pytest.fixture
def pair():
    """A server's side of a connection, and its client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Stream(servers.Input):
    """``wsgi.input`` as gunicorn has it: waits for all that is asked for, or the end."""

    def __init__(self, connection):
        super().__init__(b"")
        self._connection = connection
        self.reading = threading.Event()

    def read(self, size):
        self.reading.set()
        found = b""
        while len(found) < size and (chunk := self._connection.recv(size - len(found))):
            found += chunk
        return found


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
    tapped = body.Tapped(stream := Stream(ours), 1 << 20)
    watchdog = pace.Watchdog(rate=1000)
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
    tapped = body.Tapped(Stream(ours), 1 << 20)
    watchdog = pace.Watchdog(rate=1000)
    with watchdog.watch(tapped, ours):
        assert watchdog.end_late_reads(time.monotonic() + 1e6)
        theirs.sendall(b"data")
        assert tapped.read(4) == b"data"


def test_a_large_read_has_more_time(pair):
    ours, _ = pair
    tapped = body.Tapped(stream := Stream(ours), 1 << 20)
    watchdog = pace.Watchdog(rate=1000)
    with reading(tapped, 1_000_000) as raised, watchdog.watch(tapped, ours):
        assert stream.reading.wait(PATIENCE)
        for late in (1029.0, 1031.0):
            assert raised == []
            watchdog.end_late_reads(tapped.waiting[0] + late)
    assert [error.reason for error in raised] == ["too_slow"]


@pytest.mark.parametrize(("option", "seconds"), [("7", 7.0), ("0", None)])
def test_a_client_may_be_idle_no_longer_while_its_answer_goes_out(alone, pair, option, seconds):
    ours, _ = pair
    found = []

    def answer():
        yield b"some"
        found.append(ours.gettimeout())

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return answer()

    filtered = alone("pace", app, idle_timeout=option)
    request = servers.environ(servers.Input(b""), REQUEST_METHOD="GET")
    assert servers.serve(filtered, {**request, "gunicorn.socket": ours}).code == 200
    assert found == [seconds]


def test_silence_is_too_slow(alone, pair):
    ours, theirs = pair
    app = apps.App(apps.by(1 << 16))
    theirs.sendall(b"and then nothing")
    filtered = alone("pace", app, idle_timeout="1")
    answer = put(filtered, Stream(ours), length=100, **{"gunicorn.socket": ours})
    assert (answer.code, answer.reason) == (408, "too_slow")


@pytest.mark.parametrize("names", [["gunicorn.socket"], []], ids=["gunicorn", "other"])
def test_a_body_that_comes_passes(alone, pair, names):
    app = apps.App(apps.by(3))
    entries = dict.fromkeys(names, pair[0])
    assert put(alone("pace", app), b"whole", **entries).code == 200
    assert app.bodies == [b"whole"]


def test_more_uploads_than_may_be_are_refused_unread(alone):
    inner = apps.App(apps.by(10))
    asked = []

    def app(environ, start_response):
        """Another upload and another request come in while this upload runs."""
        if not asked:
            asked.append(put(filtered, stream, length=4))
            asked.append(put(filtered, b"4567", PATH_INFO="/v2/images/x/members"))
        return inner(environ, start_response)

    stream = servers.Input(b"data")
    filtered = alone("pace", app, uploads_at_once="1")
    assert put(filtered, b"first").code == 200
    busy, other = asked
    assert (busy.code, busy.reason) == (503, "busy")
    assert busy.header("Retry-After")
    assert stream.asked == 0
    assert other.code == 200
    assert put(filtered, b"later").code == 200


class Unsent(servers.Input):
    """A body that arrives while it is read; another request comes in meanwhile."""

    def __init__(self, data, meanwhile=lambda: None):
        super().__init__(data)
        self._meanwhile = meanwhile

    def may_wait(self):
        return True

    def read(self, size):
        self._meanwhile()
        return super().read(size)


def test_more_bodies_than_may_be_are_refused_unread(alone):
    """Each waits for its client; what has arrived, and uploads, pass nevertheless."""
    pace_alone = alone("pace", apps.App(apps.by(10)), uploads_at_once="1")
    found = []

    def filtered(environ, start_response):
        """Gets the stream itself, from the wrapper of the standard library's validator."""
        environ["wsgi.input"] = environ["wsgi.input"].input
        return pace_alone(environ, start_response)

    def ask(stream):
        found.append(put(filtered, stream, length=4, PATH_INFO="/v2/images/x/members/y"))

    def at_last():
        ask(last)
        ask(servers.Input(b"here"))
        found.append(put(filtered, b"data"))

    last, meanwhile = Unsent(b"last"), at_last
    for _ in range(4):
        meanwhile = functools.partial(ask, Unsent(b"body", meanwhile))
    meanwhile()
    assert [(answer.code, answer.reason) for answer in found[:3]] == [
        (503, "busy"),
        (200, None),
        (200, None),
    ]
    assert last.asked == 0
    assert {answer.code for answer in found[3:]} == {200}
    ask(last)
    assert found[-1].code == 200


def test_an_upload_that_fails_leaves_its_place(alone):
    app = apps.ReadFails("passes", 10)
    filtered = alone("pace", app, uploads_at_once="1")
    for _ in range(2):
        assert put(filtered, servers.Input(b"short"), length=10).reason == "body_cut"


def test_options_that_cannot_be(alone):
    with pytest.raises(errors.BadConfig, match="minimum_rate"):
        alone("pace", apps.App(), minimum_rate="-1")


# Responses


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
    watchdog = pace.Watchdog(rate=4096)
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
    watchdog = pace.Watchdog(rate=4096)
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


DOWNLOAD = {"REQUEST_METHOD": "GET", "PATH_INFO": FILE}


class Streams:
    """An application whose response is larger than any buffer."""

    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([bytes(1 << 16)])


def sends_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"image"))


@pytest.mark.parametrize("app", [Streams(), sends_file], ids=["stream", "file"])
@pytest.mark.parametrize("ends", ["closed", "forgotten"])
def test_more_downloads_than_may_be_are_refused(alone, app, ends):
    filtered = alone("pace", app, downloads_at_once="1")

    def download(**entries):
        request = {"wsgi.file_wrapper": servers.FileWrapper, **DOWNLOAD, **entries}
        started = []
        chunks = filtered(servers.environ(**request), lambda *start: started.append(start))
        return started[-1][0], dict(started[-1][1]), chunks

    _, _, first = download()
    status, headers, _ = download()
    assert (status[:3], headers["X-Imsgate-Reason"]) == ("503", "busy")
    assert headers["Retry-After"]
    assert download(PATH_INFO="/v2/images")[0] == "200 OK"
    if ends == "closed":
        first.close()
    del first
    assert download()[0] == "200 OK"


def test_a_download_that_fails_leaves_its_place(alone):
    filtered = alone("pace", apps.Fails(apps.Oops()), downloads_at_once="1")
    for _ in range(2):
        with pytest.raises(apps.Oops):
            filtered(servers.environ(**DOWNLOAD), lambda *_: None)


def test_a_wrapper_that_is_a_class_still_looks_like_one():
    """The application streams files itself where it is not; downloads took twice the CPU."""

    class Wrapper:
        def __init__(self, file, size=0):
            self.file = file

    outgoing = pace.Outgoing(contextlib.ExitStack())
    wrapper = outgoing.file_wrapper(Wrapper)
    assert isinstance(wrapper, type)
    file = wrapper(io.BytesIO(b"data"), 5)
    assert type(file) is Wrapper
    assert outgoing.of(file) is file
