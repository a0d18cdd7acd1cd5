"""Which failures of the service a job waits out, and which end it at once."""

import contextlib
import http.server
import re
import threading
import types

import pytest
from botocore import exceptions

from imsgate import errors
from imsgate.buckets import base
from imsgate.buckets.s3 import S3Buckets
from imsgate.config import Config
from imsgate.stores.s3 import failures, reader


def answered(status, code):
    reply = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(reply, "GetObject")


CASES = {
    "refused connection": (
        exceptions.EndpointConnectionError(endpoint_url="http://x"),
        errors.SourceUnavailable,
    ),
    "timeout": (exceptions.ReadTimeoutError(endpoint_url="http://x"), errors.SourceUnavailable),
    "cut": (exceptions.ResponseStreamingError(error="cut"), errors.SourceUnavailable),
    "500": (answered(500, "InternalError"), errors.SourceUnavailable),
    "503": (answered(503, "SlowDown"), errors.SourceUnavailable),
    "429": (answered(429, "TooManyRequests"), errors.SourceUnavailable),
    "400": (answered(400, "InvalidRequest"), errors.SourceFailed),
    "412": (answered(412, "PreconditionFailed"), errors.SourceFailed),
    "416": (answered(416, "InvalidRange"), errors.SourceFailed),
    "403": (answered(403, "AccessDenied"), errors.BucketNotAccessible),
    "no bucket": (answered(404, "NoSuchBucket"), errors.BucketNotAccessible),
}


@pytest.mark.parametrize(("cause", "kind"), CASES.values(), ids=CASES)
def test_failures_that_may_pass(cause, kind):
    buckets = object.__new__(S3Buckets)
    buckets._report_wrong_keys = lambda bucket: None
    with pytest.raises(errors.Error) as caught, buckets._reporting("bucket"):
        raise failures.translate("ims_buckets", "get_object", cause)
    assert type(caught.value) is kind


SIZE = 3 << 20


class Trickling(http.server.BaseHTTPRequestHandler):
    """An object of zeros, which trickles in the block that contains byte ``slow_from``."""

    protocol_version = "HTTP/1.1"
    slow_from = SIZE
    gone = threading.Event()

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._head(200, SIZE)

    def do_GET(self):
        first, last = map(int, re.findall(r"\d+", self.headers["Range"]))
        last = min(last, SIZE - 1)
        self._head(206, last + 1 - first, f"bytes {first}-{last}/{SIZE}")
        if not first <= self.slow_from <= last:
            self.wfile.write(bytes(last + 1 - first))
            return
        with contextlib.suppress(OSError):
            while not self.gone.wait(0.001):
                self.wfile.write(b"\0")
        self.close_connection = True

    def _head(self, status, length, content_range=""):
        self.send_response(status)
        for name, text in (
            ("Content-Length", str(length)),
            ("Content-Range", content_range),
            ("ETag", '"1"'),
        ):
            if text:
                self.send_header(name, text)
        self.end_headers()


@pytest.fixture
def trickling():
    class Handler(Trickling):
        gone = threading.Event()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server, Handler
        finally:
            Handler.gone.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("own", "slow_from", "fails"),
    [
        ("", 0, True),
        ("", 1 << 20, True),
        ("", SIZE, False),
        ("minimum_rate = 0", SIZE, False),
    ],
)
def test_a_service_that_trickles_is_cut_off(
    trickling, tmp_path, monkeypatch, own, slow_from, fails
):
    """By a clock that the test moves: each read takes two seconds."""
    server, handler = trickling
    handler.slow_from = slow_from
    now = [0.0]

    def monotonic():
        now[0] += 2
        return now[0]

    (tmp_path / "c.conf").write_text(
        f"[ims_buckets]\ndriver = s3\ns3_store_host = http://127.0.0.1:{server.server_port}\n"
        f"s3_store_access_key = a\ns3_store_secret_key = b\n{own}\n"
    )
    buckets = base.load(Config([str(tmp_path / "c.conf")])).of(None)
    monkeypatch.setattr(reader, "time", types.SimpleNamespace(monotonic=monotonic))
    if not fails:
        assert sum(map(len, buckets.read("bucket", "key"))) == SIZE
        return
    with pytest.raises(errors.SourceUnavailable, match="too slowly"):
        for _ in buckets.read("bucket", "key"):
            pass
