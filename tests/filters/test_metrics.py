"""metrics: requests are counted once, whatever becomes of them."""

import pathlib

import pytest

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.filters import metrics
from imsgate.http.request import Request
from imsgate.metrics import values
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import put

FILE = "/v2/images/{image_id}/file"


@pytest.fixture(autouse=True)
def stop_counting():
    values.end()
    yield
    values.end()


class TestMetrics(FilterContract):
    @pytest.fixture
    def factory(self):
        return metrics.filter_factory


@pytest.fixture
def counted(tmp_path):
    """The numbers that are not 0, without those of seconds."""

    def read():
        _, living, _ = values.collect(str(tmp_path / "metrics"))
        return {
            (key[0].removeprefix("imsgate_"), *key[1:]): number
            for key, number in living.items()
            if number and "seconds" not in key[0]
        }

    return read


@pytest.fixture
def counting(alone):
    """Load the filter before an app and after ``faults``."""
    return lambda app: alone("faults", alone("metrics", app))


class Routed(apps.App):
    """An application that sets the template of a path, as imsgate's does."""

    def __call__(self, environ, start_response):
        Request(environ).notes.route = FILE
        return super().__call__(environ, start_response)


def test_a_request_is_counted_when_its_response_is_complete(counting, counted):
    exchange = servers.Exchange(
        counting(Routed()), {**servers.environ(b"12345"), "REQUEST_METHOD": "PUT"}
    )
    assert counted() == {("threads_in_use", "requests"): 1}
    exchange.chunks(10)
    exchange.close()
    call = (FILE, "PUT", "200")
    assert counted() == {("requests", *call): 1, ("sent_bytes", *call): len(b"".join(apps.CHUNKS))}


@pytest.mark.parametrize(
    "app", [apps.App, apps.Late, apps.LateReader], ids=lambda app: app.__name__
)
def test_bytes_are_those_that_came_and_went(alone, counting, counted, app):
    """A filter after this one has wrapped the body."""
    limited = alone("sizelimit", app(apps.by(2)))
    assert put(counting(limited), b"12345").code == 200
    call = ("other", "PUT", "200")
    assert counted() == {
        ("requests", *call): 1,
        ("received_bytes", *call): 5,
        ("sent_bytes", *call): len(b"".join(apps.CHUNKS)),
    }


def test_a_file_that_the_server_sends_stays_one(counting, counted, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"123456789")

    def app(environ, start_response):
        start_response("206 Partial Content", [("Content-Length", "7")])
        return environ["wsgi.file_wrapper"](path.open("rb"))

    class Wrapper:
        def __init__(self, file, size=0):
            self.file = file
            self.close = file.close

        def __iter__(self):
            return iter(())

    environ = {**servers.environ(), "wsgi.file_wrapper": Wrapper}
    response = counting(app)(environ, lambda *_: None)
    assert isinstance(response, Wrapper)
    assert ("sent_bytes", "other", "GET", "206") not in counted()
    response.close()
    assert response.file.closed
    assert counted()["sent_bytes", "other", "GET", "206"] == 7


def test_a_refusal_is_counted_with_what_had_come(alone, counting, counted):
    filtered = counting(alone("sizelimit", apps.App(apps.by(4)), image_size_cap=10))
    answer = put(filtered, servers.Input(b"x" * 50), chunked=True)
    assert (answer.code, answer.reason) == (413, "too_large")
    numbers = counted()
    assert numbers["refusals", "too_large", ""] == 1
    assert (
        10
        < numbers["refused_bytes", "too_large", ""]
        == numbers["received_bytes", "other", "PUT", "413"]
    )


def test_a_refused_image_is_counted_by_its_check(alone, counting, counted):
    class Refuses(apps.App):
        def answer(self, environ, start_response):
            raise errors.BadImage(check="backing_file", offset=8, problem="it has one")

    filtered = counting(alone("headers", Refuses()))
    assert put(filtered).code == 415
    assert counted()["refusals", "image_refused", "backing_file"] == 1


@pytest.mark.parametrize("app", [apps.Fails, apps.LateFails], ids=["at-once", "late"])
def test_a_bug_is_a_500(counting, counted, app, caplog):
    filtered = counting(app(apps.Oops("secret")))
    assert put(filtered).code == 500
    numbers = counted()
    assert numbers["requests", "other", "PUT", "500"] == 1
    assert ("threads_in_use", "requests") not in numbers


@pytest.mark.parametrize(
    ("method", "label"), [("GET", "GET"), ("TRACE", "other"), ("X-1", "other"), ("get", "other")]
)
def test_what_clients_invent_is_no_label(counting, counted, method, label):
    environ = {**servers.environ(), "REQUEST_METHOD": method, "PATH_INFO": "/v2/anything"}
    counting(apps.App())(environ, lambda *_: None).close()
    assert counted()["requests", "other", label, "200"] == 1


def test_without_faults_it_says_why_it_counts_nothing(alone, counted, caplog):
    filtered = alone("metrics", apps.App())
    assert [put(filtered).code for _ in range(2)] == [200, 200]
    assert caplog.messages == [
        "Requests are not counted: put the filter faults before metrics in the pipeline"
    ]
    assert counted() == {}


def test_disabled_it_is_not_there(alone, tmp_path):
    app = apps.App()
    assert alone("metrics", app, enabled="false") is app
    assert not (tmp_path / "metrics").exists()


def test_a_directory_that_cannot_be_used_ends_the_start(alone, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match="directory") as caught:
        alone("metrics", apps.App(), directory=str(tmp_path / "file" / "metrics"))
    assert caught.value.key == "[metrics] directory"


def test_a_full_disk_does_not_end_the_start(alone, monkeypatch, caplog):
    def allocate(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", allocate)
    assert put(alone("metrics", apps.App())).code == 200
    assert "counts no metrics" in caplog.text


def test_only_its_owner_can_read_the_directory(alone, tmp_path):
    alone("metrics", apps.App())
    assert pathlib.Path(tmp_path, "metrics").stat().st_mode & 0o777 == 0o700
