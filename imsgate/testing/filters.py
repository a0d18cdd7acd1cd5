"""The suite every filter passes.

A filter's test is a subclass that names the filter's factory, and what it needs
to let a request pass::

    class TestSizeLimit(FilterContract):
        @pytest.fixture
        def factory(self):
            return sizelimit.filter_factory

        def settings(self):
            return {"image_size_cap": str(self.SIZE)}

Nearly all checks run with ``wsgiref.validate`` on both sides of the filter.
"""

import concurrent.futures
import hashlib
import importlib.metadata
import io
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar
from wsgiref.validate import validator

import pytest

from imsgate.errors import BadConfig
from imsgate.testing import apps, servers
from imsgate.testing.servers import Environ

_READS = {
    "a byte at a time": apps.by(1),
    "7 bytes at a time": apps.by(7),
    "100 bytes at a time": apps.by(100),
    "much at a time": apps.by(1 << 24),
    "line by line": apps.by_lines,
    "by iteration": b"".join,
    "as lines": lambda stream: b"".join(stream.readlines()),
    "in two ways": lambda stream: stream.read(100) + stream.readline() + b"".join(stream),
}

#: Bytes that a server gives at a time; None: as many as it is asked for.
_STEPS = (1, 100, None)

_APPS = {
    "a list": apps.App,
    "a generator that starts late": apps.Late,
    "write()": apps.Writes,
}

#: Kind of application, and after how many chunks it fails; None: before it starts.
_FAILURES = {
    "before it answers": (apps.Fails, None),
    "before its late answer": (apps.LateFails, None),
    "after one chunk": (apps.Fails, 1),
    "after its first, late chunk": (apps.LateFails, 1),
    "after the last chunk": (apps.Fails, 3),
}


def body(size: int, seed: str = "") -> bytes:
    """``size`` bytes without pattern but with line ends, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


class FilterContract:
    """What a filter may do to a request and an answer: nothing, unless it refuses."""

    #: The length of the bodies that are sent. A filter that limits should be given
    #: exactly this as its limit: together, the bodies of any check are longer.
    SIZE: ClassVar[int] = 3000

    #: Response headers that the filter adds to every answer, in lower case.
    adds: ClassVar[frozenset[str]] = frozenset()

    #: Whether the filter answers for an application that fails.
    answers_failures: ClassVar[bool] = False

    # What a subclass provides.

    @pytest.fixture
    def factory(self) -> Callable[..., Any]:
        """The filter's ``paste.filter_factory``."""
        raise NotImplementedError("the filter's paste.filter_factory")

    @pytest.fixture
    def global_conf(self, tmp_path: Any) -> Mapping[str, str]:
        """Paste's global section."""
        return {"state_path": str(tmp_path)}

    def settings(self) -> Mapping[str, str]:
        """Paste keys the filter is built with."""
        return {}

    def passing(self) -> Mapping[str, Any]:
        """Environ entries of a request that the filter lets pass, whatever its body."""
        return {
            "REQUEST_METHOD": "PUT",
            "PATH_INFO": "/v2/images/71c675ab-d94f-49cd-a114-e12490b328d9/file",
            "CONTENT_TYPE": "application/octet-stream",
        }

    def refused(self) -> Mapping[str, Any] | None:
        """Entries on top of ``passing`` with which the filter refuses at once, if there are any."""
        return None

    def refused_body(self) -> bytes | None:
        """A body that the filter refuses while the application reads it, if there is one."""
        return None

    def options(self) -> Iterable[tuple[str | None, Iterable[Any]]]:
        """What ``oslo-config-generator`` finds in the filter's own distribution.

        By default the ``oslo.config.opts`` entry points of the filter's top package.
        """
        package = self.kind.__module__.partition(".")[0]
        for point in importlib.metadata.entry_points(group="oslo.config.opts"):
            if point.module.partition(".")[0] == package:
                yield from point.load()()

    # Help for the checks.

    @pytest.fixture
    def build(self, factory: Any, global_conf: Mapping[str, str]) -> Callable[[Any], Any]:
        """Put the filter in front of an application."""
        make = factory(dict(global_conf), **self.settings())
        self.kind = type(make(apps.App()))
        built: Callable[[Any], Any] = make
        return built

    @pytest.fixture
    def guarded(self, build: Any) -> Callable[[Any], Any]:
        """The same, with ``wsgiref.validate`` between the two."""
        return lambda app: build(validator(app))

    def request(self, data: bytes | servers.Input = b"", **how: Any) -> Environ:
        return servers.environ(data, **{**how, **self.passing()})

    # The request.

    @pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
    @pytest.mark.parametrize("read", _READS.values(), ids=_READS)
    def test_a_body_arrives_unchanged(self, guarded: Any, read: apps.Read, chunked: bool) -> None:
        app = apps.App(read)
        filtered = guarded(app)
        for step, size in itertools.product(_STEPS, (0, 1, 99, 100, 101, self.SIZE)):
            data = body(size)
            entries = self.request(servers.Input(data, step=step), length=size, chunked=chunked)
            if chunked:
                entries.pop("CONTENT_LENGTH", None)
            case = f"{size} bytes, {step or 'all'} at a time"
            assert servers.serve(filtered, entries).code == 200, case
            assert app.bodies == [data], case
            app.bodies.clear()

    @pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
    def test_a_body_read_without_a_size_arrives_unchanged(self, build: Any, chunked: bool) -> None:
        app = apps.App(lambda stream: stream.read() + stream.read() + stream.read(10))
        data = body(self.SIZE)
        servers.serve(build(app), self.request(data, chunked=chunked), validated=False)
        assert app.bodies == [data]

    @pytest.mark.parametrize("kind", [apps.App, apps.LateReader], ids=["at once", "late"])
    def test_a_body_is_not_read_before_the_application_asks(self, guarded: Any, kind: Any) -> None:
        stream = servers.Input(body(self.SIZE))
        asked = []

        def read(wrapped: Any) -> bytes:
            asked.append(stream.asked)
            first: bytes = wrapped.read(10)
            asked.append(stream.given)
            return first

        servers.serve(guarded(kind(read)), self.request(stream, length=self.SIZE))
        assert asked == [0, 10]
        assert stream.given == 10, "no more was read than the application asked for"

    def test_a_body_nobody_reads_stays_unread(self, guarded: Any) -> None:
        stream = servers.Input(body(self.SIZE))
        assert (
            servers.serve(guarded(apps.App()), self.request(stream, length=self.SIZE)).code == 200
        )
        assert stream.asked == 0

    def test_the_request_line_arrives_unchanged(self, guarded: Any) -> None:
        app = apps.App()
        entries = {**self.request(), "HTTP_X_TRACE": "a", "HTTP_ACCEPT": "text/plain"}
        before = dict(entries)
        servers.serve(guarded(app), entries)
        names = "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING CONTENT_TYPE CONTENT_LENGTH "
        names += "HTTP_HOST HTTP_X_TRACE HTTP_ACCEPT wsgi.url_scheme"
        for name in names.split():
            assert app.environs[0].get(name) == before.get(name), name

    # The answer.

    @pytest.mark.parametrize("status", ["200 OK", "299 Odd But Known", "404 Not Found"])
    @pytest.mark.parametrize("kind", _APPS.values(), ids=_APPS)
    def test_an_answer_passes_untouched(self, guarded: Any, kind: Any, status: str) -> None:
        app = kind(apps.by(100), status=status)
        answer = servers.serve(guarded(app), self.request(body(self.SIZE)))
        headers = [(name, text) for name, text in answer.headers if name.lower() not in self.adds]
        assert (answer.status, headers) == (status, app.headers)
        assert [chunk for chunk in answer.chunks if chunk] == list(app.chunks)

    @pytest.mark.parametrize("kind", _APPS.values(), ids=_APPS)
    def test_an_empty_answer_passes(self, guarded: Any, kind: Any) -> None:
        app = kind(status="204 No Content", headers=apps.HEADERS, chunks=())
        answer = servers.serve(guarded(app), self.request())
        assert (answer.status, answer.body) == ("204 No Content", b"")
        assert [answer.closed for answer in app.answers] == [1]

    @pytest.mark.parametrize("kind", [apps.App, apps.Late], ids=["a list", "late"])
    def test_an_answer_is_taken_chunk_by_chunk(self, guarded: Any, kind: Any) -> None:
        app = kind()
        with servers.Exchange(guarded(app), self.request()) as exchange:
            for count in range(1, 4):
                exchange.chunks(1)
                assert app.answers[0].taken <= count
            assert exchange.chunks().body == b"".join(app.chunks)

    @pytest.mark.parametrize("take", [0, 1, None], ids=["none taken", "one taken", "all taken"])
    @pytest.mark.parametrize("kind", _APPS.values(), ids=_APPS)
    def test_an_answer_is_closed_once(self, guarded: Any, kind: Any, take: int | None) -> None:
        app = kind()
        servers.serve(guarded(app), self.request(), take=take)
        assert [answer.closed for answer in app.answers] == [1]

    def test_a_file_stays_the_servers_own_object(self, build: Any) -> None:
        app = apps.SendsFile(io.BytesIO(b"data"))
        request = {**self.request(), "wsgi.file_wrapper": servers.FileWrapper}
        answer = servers.serve(build(app), request, validated=False)
        assert answer.result is app.sent
        assert answer.body == b"data"
        assert app.sent.closed == 1

    # Failures.

    @pytest.mark.parametrize(("kind", "after"), _FAILURES.values(), ids=_FAILURES)
    def test_a_failure_of_the_application_passes(
        self, guarded: Any, kind: Any, after: int | None
    ) -> None:
        app = kind(apps.Oops("secret"), after)
        if after is None and self.answers_failures:
            answer = servers.serve(guarded(app), self.request())
            assert answer.code == 500
            assert b"secret" not in answer.body
        else:
            with pytest.raises(apps.Oops):
                servers.serve(guarded(app), self.request())
        assert all(answer.closed == 1 for answer in app.answers)

    def test_an_application_may_change_its_mind(self, guarded: Any) -> None:
        """By start_response with exc_info, while nothing was sent."""

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", list(apps.TEXT))
            try:
                raise apps.Oops
            except apps.Oops as error:
                about = (type(error), error, error.__traceback__)
                start_response("500 Sorry", [("Content-Type", "text/html")], about)
            return [b"sorry"]

        answer = servers.serve(guarded(app), self.request())
        headers = [(name, text) for name, text in answer.headers if name.lower() not in self.adds]
        assert (answer.status, answer.body) == ("500 Sorry", b"sorry")
        assert headers == [("Content-Type", "text/html")]

    def test_an_application_cannot_change_its_mind_too_late(self, guarded: Any) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", list(apps.TEXT))
            yield b"first"
            try:
                raise apps.Oops
            except apps.Oops as error:
                about = (type(error), error, error.__traceback__)
                start_response("500 Sorry", [("Content-Type", "text/html")], about)
            yield b"sorry"

        with pytest.raises(apps.Oops), servers.Exchange(guarded(app), self.request()) as exchange:
            exchange.chunks()
        assert (exchange.answer.code, exchange.answer.body) == (200, b"first")

    # Requests beside one another.

    def test_requests_share_nothing(self, guarded: Any) -> None:
        """Each body is as long as is allowed, so that all of them are longer than that."""
        app = apps.App(apps.by(1000))
        filtered = guarded(app)
        data = [body(self.SIZE, str(number)) for number in range(4)]
        for one in data:
            assert servers.serve(filtered, self.request(one)).code == 200
        assert app.bodies == data

    def test_interleaved_requests_share_nothing(self, guarded: Any) -> None:
        filtered = guarded(apps.Echo())
        data = [body(self.SIZE, str(number)) for number in range(3)]
        exchanges = [servers.Exchange(filtered, self.request(one)) for one in data]
        for _ in range(self.SIZE // 100 + 1):
            for exchange in exchanges:
                exchange.chunks(1)
        for one, exchange in zip(data, exchanges, strict=True):
            exchange.close()
            assert exchange.answer.body == one

    def test_concurrent_requests_share_nothing(self, guarded: Any) -> None:
        count = 8
        app = apps.Meets(count, self.SIZE // 2)
        filtered = guarded(app)
        data = [body(self.SIZE, str(number)) for number in range(count)]

        def send(one: bytes) -> bytes:
            try:
                answer = servers.serve(filtered, self.request(one))
                assert answer.code == 200
            except BaseException:
                app.barrier.abort()
                raise
            return answer.body

        with concurrent.futures.ThreadPoolExecutor(count) as threads:
            assert list(threads.map(send, data)) == data

    def test_a_refused_request_leaves_the_next_alone(self, guarded: Any) -> None:
        refused = self._refused()
        app = apps.App(apps.by(100))
        filtered = guarded(app)
        servers.serve(filtered, {**self.request(), **refused})
        data = body(self.SIZE)
        assert servers.serve(filtered, self.request(data)).code == 200
        assert app.bodies == [data]

    # Refusals.

    def test_a_refusal_is_the_filters_alone(self, guarded: Any) -> None:
        app = apps.App(apps.by(100))
        stream = servers.Input(body(self.SIZE))
        request = {**self.request(stream, length=self.SIZE), **self._refused()}
        answer = servers.serve(guarded(app), request)
        assert 400 <= answer.code < 500
        assert not app.called
        assert stream.asked == 0

    @pytest.mark.parametrize("how", apps.ReadFails.HOW)
    def test_a_refused_body_is_refused_whatever_the_application_does(
        self, build: Any, how: str
    ) -> None:
        data = self.refused_body()
        if data is None:
            pytest.skip("this filter refuses no body by what is in it")
        filtered = build(apps.ReadFails("passes", 100))
        refusal = servers.serve(filtered, self.request(data, chunked=True))
        assert 400 <= refusal.code < 500
        app = apps.ReadFails(how, 100)
        answer = servers.serve(build(app), self.request(data, chunked=True))
        assert (answer.status, answer.body) == (refusal.status, refusal.body)
        assert app.bodies == []
        assert all(one.closed == 1 for one in app.answers)

    def _refused(self) -> Mapping[str, Any]:
        refused = self.refused()
        if refused is None:
            pytest.skip("this filter refuses no request at once")
        return refused

    # Configuration.

    def test_an_unknown_option_is_refused(self, factory: Any, global_conf: Any) -> None:
        with pytest.raises(BadConfig) as caught:
            factory(dict(global_conf), **self.settings(), no_such_option="1")(apps.App())
        assert "no_such_option" in caught.value.key

    def test_every_option_is_documented(self, build: Any) -> None:
        for option in self.kind.OPTS:
            assert option.help, option.name

    def test_every_option_is_in_the_sample(self, build: Any) -> None:
        listed = {(group, option.dest) for group, options in self.options() for option in options}
        assert {(self.kind.NAME, option.dest) for option in self.kind.OPTS} <= listed
