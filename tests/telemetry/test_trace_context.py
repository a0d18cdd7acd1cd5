"""W3C Trace Context: what is accepted, and which requests pass it on."""

import contextlib
import http.server
import logging
import re
import threading

import pytest
from oslo_config import cfg
from oslo_log import formatters

from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.jobs import arguments, log
from imsgate.notifications.events import Events
from imsgate.notifications.target import message_of
from imsgate.registry.outbox import Event
from imsgate.stores.http.connections import Connections
from imsgate.stores.http.options import HttpSettings
from imsgate.stores.s3.client import Client
from imsgate.stores.s3.options import S3Settings
from imsgate.telemetry import trace_context
from imsgate.testing import apps, servers
from imsgate.testing.records import image, job
from tests.filters.alone import alone, put
from tests.notifications.test_webhooks import hook
from tests.sources.test_web import fetch, opened

__all__ = ["alone", "opened"]

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
VALID = f"00-{ID}-{PARENT}-01"
STATE = "rojo=00f067aa0ba902b7,t61rcwkgmzesa@congo=t 1"
HEADER = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")


@pytest.fixture(autouse=True)
def _no_trace_is_left():
    yield
    trace_context.enter(None)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (VALID, 1),
        (f" {VALID}\t", 1),
        (f"00-{ID}-{PARENT}-00", 0),
        pytest.param(f"00-{ID}-{PARENT}-ff", 3, id="flags that this version does not know"),
        pytest.param(f"cc-{ID}-{PARENT}-01", 1, id="later version"),
        pytest.param(f"cc-{ID}-{PARENT}-01-what", 1, id="later version with more fields"),
    ],
)
def test_a_valid_traceparent_is_continued(text, flags):
    trace = trace_context.received(text, None)
    sent = HEADER.fullmatch(trace.headers["traceparent"])
    assert (sent["trace"], int(sent["flags"], 16)) == (ID, flags)
    assert sent["span"] not in (PARENT, "0" * 16)
    assert "tracestate" not in trace.headers


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        ID,
        pytest.param(VALID.upper(), id="capitals"),
        pytest.param(f"ff-{ID}-{PARENT}-01", id="forbidden version"),
        pytest.param(f"0-{ID}-{PARENT}-01", id="short version"),
        pytest.param(f"00-{'0' * 32}-{PARENT}-01", id="no trace"),
        pytest.param(f"00-{ID}-{'0' * 16}-01", id="no parent"),
        pytest.param(f"00-{ID[1:]}-{PARENT}-01", id="short trace"),
        pytest.param(f"00-{ID}0-{PARENT}-01", id="long trace"),
        pytest.param(f"00-{ID[1:]}g-{PARENT}-01", id="not hexadecimal"),
        pytest.param(f"00-{ID[1:]}٣-{PARENT}-01", id="digit of another script"),
        pytest.param(f"00-{ID}-{PARENT}-1", id="short flags"),
        pytest.param(f"{VALID}-what", id="version 00 with more fields"),
        pytest.param(f"cc-{ID}-{PARENT}-01.what", id="later version without a dash"),
        pytest.param(f"{VALID},{VALID}", id="twice"),
        pytest.param(f"{VALID}\n", id="line end"),
    ],
)
def test_without_a_valid_one_a_new_trace_begins(text):
    first, second = (trace_context.received(text, STATE) for _ in range(2))
    found = HEADER.fullmatch(first.headers["traceparent"])
    assert found["trace"] not in (ID, "0" * 32, second.trace_id)
    assert first.state == ""


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (STATE, STATE),
        (" foo=1 ,\tbar=2,, ", "foo=1,bar=2"),
        ("foo=a=b", ""),
        ("foo=", ""),
        ("foo =1", ""),
        ("FOO=1", ""),
        ("foo.bar=1", ""),
        ("1foo=1", ""),
        ("foo@=1,bar=2", ""),
        ("@foo=1", ""),
        ("foo@bar@baz=1", ""),
        ("foo=é", ""),
        pytest.param("foo=1,foo=2", "", id="the same key twice"),
        pytest.param("z" * 256 + "=1", "z" * 256 + "=1", id="longest key"),
        pytest.param("z" * 257 + "=1", "", id="longer key"),
        pytest.param(
            "t" * 241 + "@" + "v" * 14 + "=1", "t" * 241 + "@" + "v" * 14 + "=1", id="tenant"
        ),
        pytest.param("t" * 242 + "@v=1", "", id="longer tenant"),
        pytest.param("t@" + "v" * 15 + "=1", "", id="longer system"),
        pytest.param("a=" + "v" * 256, "a=" + "v" * 256, id="longest value"),
        pytest.param("a=" + "v" * 257, "", id="longer value"),
        pytest.param(
            ",".join(f"k{n}=1" for n in range(32)),
            ",".join(f"k{n}=1" for n in range(32)),
            id="most members",
        ),
        pytest.param(",".join(f"k{n}=1" for n in range(33)), "", id="more members"),
        pytest.param(f"a=1,b={'v' * 200},c={'v' * 256},d={'v' * 100}",
                     f"a=1,b={'v' * 200},d={'v' * 100}", id="long members go first"),
        pytest.param(",".join(f"k{n}={'v' * 100}" for n in range(6)),
                     ",".join(f"k{n}={'v' * 100}" for n in range(4)), id="then the last ones"),
    ],
)  # fmt: skip
def test_tracestate(text, kept):
    assert trace_context.received(VALID, text).state == kept


def test_the_trace_is_that_of_a_thread_and_can_be_carried_to_another():
    seen = []
    trace_context.enter(trace_context.received(VALID, STATE))
    for function in (seen.append, trace_context.carried(seen.append)):
        thread = threading.Thread(
            target=lambda call=function: call(None) or seen.append(trace_context.headers())
        )
        thread.start()
        thread.join()
    assert seen == [None, {}, None, {}]
    carried = trace_context.carried(trace_context.headers)
    thread = threading.Thread(target=lambda: seen.append(carried()))
    thread.start()
    thread.join()
    assert seen[-1] == trace_context.headers() != {}


# Requests to other services


class Peer(http.server.ThreadingHTTPServer):
    """Any HTTP service. ``seen`` has the headers of each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(self.headers)
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def serving():
    with Peer() as peer:
        thread = threading.Thread(target=peer.serve_forever, args=(0.01,))
        thread.start()
        yield peer
        peer.shutdown()
        thread.join()


@pytest.fixture
def peer(serving):
    serving.seen.clear()
    return serving


@pytest.fixture
def trace():
    """The trace of this thread."""
    current = trace_context.received(VALID, STATE)
    trace_context.enter(current)
    return current


def _sent(peer):
    return {
        (headers.get_all("traceparent") or [None])[0]: headers.get_all("tracestate")
        for headers in peer.seen
    }


def _http_store(peer):
    settings = HttpSettings(http_store_url=f"{peer.url}/images")
    return contextlib.closing(Connections("files", settings, 1))


def _get_from_http_store(peer):
    with _http_store(peer) as connections, connections.request("GET", "x"):
        pass


def _put_to_http_store(peer):
    with _http_store(peer) as connections:
        connection, uploads = connections.begin_put("x", {"Content-Length": "0"})
        connection.getresponse().read()
        connection.close()
        uploads.release()


def _put_to_s3(peer):
    settings = S3Settings(
        s3_store_host=peer.url,
        s3_store_bucket="b",
        s3_store_access_key="a",
        s3_store_secret_key="s",
        s3_store_bucket_url_format="path",
    )
    with contextlib.closing(Client(settings, 1)) as client:
        client.get().put_object(Bucket="b", Key="k", Body=b"")


def _forward(peer):
    app = Forward(ForwardSettings(upstream=peer.url), None)
    forged = {"HTTP_TRACEPARENT": "x", "HTTP_TRACESTATE": "x"}
    with contextlib.closing(app.pool):
        assert servers.serve(app, servers.environ(**forged), validated=False).code == 200


def _send_webhook(peer):
    events = Events(targets=("t",), publisher_id="p")
    (event,) = events.image(None, image())
    trace_context.enter(None)  # it is sent by a thread of its own, perhaps of another process
    assert "trace" not in message_of(event)
    hook(f"{peer.url}/hook").send(Event(id=event.id, body=dict(event.body)))


@pytest.mark.parametrize(
    "send", [_get_from_http_store, _put_to_http_store, _put_to_s3, _forward, _send_webhook]
)
def test_a_request_to_another_service_passes_it_on(peer, trace, send):
    send(peer)
    assert _sent(peer) == {trace.headers["traceparent"]: [STATE]}


def test_without_a_trace_there_are_no_headers(peer):
    _put_to_s3(peer)
    _get_from_http_store(peer)
    assert _sent(peer) == {None: None}


def test_a_server_that_a_user_chose_does_not_get_the_state(peer, trace, opened):
    assert fetch(opened(), f"{peer.url}/image") == b""
    assert _sent(peer) == {trace.headers["traceparent"]: None}


ACCOUNT = {"auth_type": "password", "username": "u", "password": "p"}


def test_keystone_gets_it_when_a_token_is_validated(alone, peer, trace):
    pytest.importorskip("keystonemiddleware")
    account = {**ACCOUNT, "auth_url": f"{peer.url}/v3", "user_domain_id": "default"}
    put(alone("authtoken", apps.App(), **account), HTTP_X_AUTH_TOKEN="t")
    assert _sent(peer) == {trace.headers["traceparent"]: [STATE]}


# Logs and jobs


def test_a_job_belongs_to_the_trace_of_its_request(trace):
    stored = arguments.requested_by(user_id="u", request_id="r")
    trace_context.enter(None)
    assert trace_context.headers() == {}
    with log.requested(job(arguments=stored)):
        headers = trace_context.headers()
        assert HEADER.fullmatch(headers["traceparent"])["trace"] == ID
        assert headers["tracestate"] == STATE
        assert headers["traceparent"] != trace.headers["traceparent"]
    assert trace_context.current() is None


def test_a_job_without_a_request_has_a_trace_of_its_own():
    with log.requested(job()):
        assert HEADER.fullmatch(trace_context.headers()["traceparent"])
    assert trace_context.current() is None


def test_each_line_of_a_request_can_have_the_trace(alone, caplog):
    """In the access log, and with oslo.log in any line."""
    formatter = formatters.ContextFormatter(
        config=_log_options("%(trace_id)s %(request_id)s %(message)s")
    )
    caplog.set_level(logging.INFO)
    lines = []

    def app(environ, start_response):
        record = logging.LogRecord("x", logging.INFO, "", 0, "hello", (), None)
        lines.append((formatter.format(record), environ["imsgate.request_id"]))
        return apps.App()(environ, start_response)

    put(alone("faults", app), HTTP_TRACEPARENT=VALID)
    ((line, request_id),) = lines
    assert line == f"{ID} {request_id} hello"
    (access,) = caplog.records
    assert access.extra["trace"] == ID
    assert access.getMessage().endswith(f"image: - trace: {ID}")
    assert trace_context.current() is None


def _log_options(context_format):
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [
            cfg.StrOpt("logging_context_format_string", default=context_format),
            cfg.StrOpt("logging_default_format_string", default="%(message)s"),
            cfg.StrOpt("logging_user_identity_format", default="%(user)s"),
            cfg.StrOpt("logging_exception_prefix", default=""),
            cfg.StrOpt("logging_debug_format_suffix", default=""),
        ]
    )
    conf([])
    return conf
