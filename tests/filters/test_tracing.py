"""tracing: spans of requests as a collector receives them."""

import contextlib
import http.server
import io
import sys
import threading

import pytest
from osprofiler import profiler
from osprofiler import web as osprofiler_web

from imsgate import errors, filters
from imsgate.filters import spans, tracing
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.telemetry import trace_context
from imsgate.telemetry.dependencies import Dependency
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import put
from tests.functional.collector import collecting

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
ROUTE = "/v2/images/{image_id}/file"


@pytest.fixture(scope="module")
def collecting_all():
    with collecting() as collector:
        yield collector


@pytest.fixture
def collector(collecting_all):
    collecting_all.spans.clear()
    return collecting_all


@pytest.fixture(autouse=True)
def providers(monkeypatch):
    """The providers of all pipelines, which are shut down at the end."""
    made = []
    kind = spans.TracerProvider

    def make(**options):
        made.append(kind(**options, shutdown_on_exit=False))
        return made[-1]

    monkeypatch.setattr(spans, "TracerProvider", make)
    yield made
    for provider in made:
        provider.shutdown()
    trace_context.enter(None)


class TestTracing(FilterContract):
    @pytest.fixture
    def factory(self):
        return tracing.filter_factory

    def settings(self):
        return {"sample_ratio": "0"}


@pytest.fixture
def traced(alone, collector, providers):
    """Serve one request behind faults and tracing; the response and the span."""

    def serve(app, *, wrapper=None, **entries):
        options = {"endpoint": collector.url}
        pipeline = alone("faults", alone("tracing", app, **options))
        environ = servers.environ(**entries)
        if wrapper:
            environ["wsgi.file_wrapper"] = wrapper
        answer = servers.serve(pipeline, environ, validated=False)
        providers[-1].force_flush()
        (span,) = collector.spans
        return answer, span

    return serve


class Routed(apps.App):
    """As imsgate's application; ``sent`` are the headers for other services."""

    def __call__(self, environ, start_response):
        request = Request(environ)
        request.notes.route, request.notes.image_id = ROUTE, "71c6"
        self.sent = trace_context.headers()
        return super().__call__(environ, start_response)


def test_a_request_has_a_span(traced, caplog):
    caplog.set_level("INFO")
    app = Routed()
    answer, span = traced(
        app,
        PATH_INFO="/v2/images/71c6/file",
        QUERY_STRING="a=b&X-Auth-Token=s3cret",
        RAW_URI="/v2/images/71c6/file?X-Auth-Token=s3cret",
        HTTP_TRACEPARENT=f"00-{ID}-{PARENT}-01",
        HTTP_TRACESTATE="rojo=1",
    )
    assert (span.name, span.trace_id, span.parent_id) == (f"GET {ROUTE}", ID, PARENT)
    assert app.sent == {"traceparent": f"00-{ID}-{span.id}-01", "tracestate": "rojo=1"}
    found = span.attributes
    assert found["http.method"] == "GET"
    assert found["http.status_code"] == 200
    assert found["http.route"] == ROUTE
    assert found["imsgate.image_id"] == "71c6"
    assert found["imsgate.request_id"] == answer.header("X-Openstack-Request-Id")
    assert "s3cret" not in str(found)
    assert span.resource["service.name"] == "imsgate"
    assert f"trace: {ID}" in caplog.records[-1].getMessage()


def test_a_request_without_a_trace_has_that_of_its_span(traced, caplog):
    caplog.set_level("INFO")
    app = Routed()
    _, span = traced(app, HTTP_TRACEPARENT="00-0-0-01")
    assert span.parent_id == ""
    sent, _, flags = app.sent["traceparent"].rpartition("-")
    assert (sent, int(flags) & 1) == (f"00-{span.trace_id}-{span.id}", 1)
    assert f"trace: {span.trace_id}" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("sampled", ["00", "01"])
def test_the_client_decides_whether_its_trace_is_sampled(alone, collector, providers, sampled):
    app = Routed()
    put(
        alone("tracing", app, endpoint=collector.url, sample_ratio=0),
        HTTP_TRACEPARENT=f"00-{ID}-{PARENT}-{sampled}",
    )
    providers[-1].force_flush()
    assert len(collector.spans) == int(sampled)
    assert app.sent["traceparent"].startswith(f"00-{ID}-")
    assert app.sent["traceparent"].endswith(f"-{sampled}")


def test_a_refusal_says_why(traced):
    def app(environ, start_response):
        return responses.refusal(errors.TooLarge(limit=5))(environ, start_response)

    _, span = traced(app)
    assert span.attributes["imsgate.reason"] == "too_large"
    assert span.attributes["http.status_code"] == 413


def test_a_bug_is_an_error(traced):
    _, span = traced(apps.Fails(apps.Oops("oops")))
    assert span.is_error


def test_a_span_ends_when_the_response_is_sent(alone, collector, providers):
    exchange = servers.Exchange(
        alone("tracing", Routed(), endpoint=collector.url), servers.environ()
    )
    exchange.chunks()
    providers[-1].force_flush()
    assert collector.spans == []
    exchange.close()
    providers[-1].force_flush()
    assert len(collector.spans) == 1


def test_a_file_is_sent_by_the_server_and_then_the_span_ends(alone, collector, providers):
    app = apps.SendsFile(io.BytesIO(b"12345"))
    environ = {**servers.environ(), "wsgi.file_wrapper": servers.FileWrapper}
    response = alone("tracing", app, endpoint=collector.url)(environ, lambda *_: None)
    assert response is app.sent
    providers[-1].force_flush()
    assert collector.spans == []
    response.close()
    assert app.sent.closed == 1
    providers[-1].force_flush()
    assert len(collector.spans) == 1


@pytest.mark.parametrize(
    "entries",
    [
        {"HTTP_HOST": "a:b:c\x00"},
        {"SERVER_PORT": ""},
        {"PATH_INFO": "/\xff\xfe"},
        {"QUERY_STRING": "\xff=%"},
        {"REQUEST_METHOD": "BREW"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_PORT": "x"},
        {"SERVER_PROTOCOL": "x"},
        {"HTTP_BAGGAGE": "a=\xff,,=;"},
        {"HTTP_TRACESTATE": "\xff", "HTTP_TRACEPARENT": f"00-{ID}-{PARENT}-01"},
        {"HTTP_USER_AGENT": "\xff"},
    ],
    ids=str,
)
def test_odd_requests_pass(traced, entries):
    answer, _ = traced(apps.App(), **entries)
    assert answer.code == 200


def test_a_collector_that_is_away_is_reported_once(alone, providers, caplog, monkeypatch):
    """OpenTelemetry would log each attempt, and a traceback."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(400)

        def log_message(self, *_):
            pass

    monkeypatch.setattr(spans, "COLLECTOR", Dependency("The trace collector", spans.LOG))
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with contextlib.ExitStack() as stack:
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            app = alone(
                "tracing", apps.App(), endpoint=f"http://127.0.0.1:{server.server_port}/otlp/"
            )
            for _ in range(2):
                assert put(app).code == 200
                providers[-1].force_flush()
    (record,) = [each for each in caplog.records if each.levelname != "DEBUG"]
    assert record.getMessage().startswith("The trace collector fails: ")
    assert record.levelname == "ERROR"


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "ftp://host", "http://", "http://h:x"])
def test_an_endpoint_that_cannot_work_refuses_to_start(alone, endpoint):
    with pytest.raises(errors.BadConfig) as caught:
        alone("tracing", apps.App(), endpoint=endpoint)
    assert caught.value.key == "[tracing] endpoint"


def test_without_opentelemetry_the_start_names_the_extra(alone, monkeypatch):
    monkeypatch.delattr(filters, "spans")
    monkeypatch.setitem(sys.modules, "imsgate.filters.spans", None)
    with pytest.raises(errors.BadConfig, match=r"imsgate\[tracing\]"):
        alone("tracing", apps.App())


def test_nothing_is_sent_before_the_first_request_of_a_process(alone, providers):
    """A server may fork after it has built the pipeline."""
    app = alone("tracing", apps.App(), sample_ratio=0)
    assert providers == []
    put(app)
    put(app)
    assert len(providers) == 1
    app._pid = 0  # as in a process that was forked
    put(app)
    assert len(providers) == 2


def test_osprofiler_fits_the_pipeline(alone):
    """It passes the file of the server on, and gives the trace to clients such as keystoneauth."""
    seen, files = [], []

    def app(environ, start_response):
        seen.append(osprofiler_web.get_trace_id_headers())
        files.append(apps.SendsFile(io.BytesIO(b"12345")))
        return files[-1](environ, start_response)

    profiler.init("hush")
    try:
        client = dict(osprofiler_web.get_trace_id_headers())
    finally:
        profiler.clean()
    inner = osprofiler_web.WsgiMiddleware.factory({}, hmac_keys="hush", enabled="yes")(app)
    pipeline = alone("faults", alone("tracing", inner, sample_ratio=0))
    for headers in (client, {}):
        entries = {f"HTTP_{name.upper().replace('-', '_')}": headers[name] for name in headers}
        environ = {**servers.environ(**entries), "wsgi.file_wrapper": servers.FileWrapper}
        answer = servers.serve(pipeline, environ, validated=False)
        assert answer.result is files[-1].sent
    assert set(seen[0]) == {"X-Trace-Info", "X-Trace-HMAC"}
    assert seen[1] == {}
