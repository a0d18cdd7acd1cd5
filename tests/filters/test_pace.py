"""pace: slow clients are cut off, and uploads leave threads to others."""

import functools
import io

import pytest

from imsgate import errors
from imsgate.filters import pace
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import FILE, put
from tests.filters.waiting import WaitingInput


class TestPace(FilterContract):
    @pytest.fixture
    def factory(self):
        return pace.filter_factory


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
    answer = put(filtered, WaitingInput(ours), length=100, **{"gunicorn.socket": ours})
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
