"""Requests arrive at the application unchanged, and bodies only when it reads them."""

import itertools
from typing import Any

import pytest

from imsgate.testing import apps, servers
from imsgate.testing.filters.base import FilterChecks, body

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

_QUERY = "limit=2&name=a%20b&empty=&sort=a:asc&sort=b"

#: What clients send, whatever the method is.
_HEADERS = {
    "HTTP_RANGE": "bytes=10-20",
    "HTTP_IF_RANGE": '"etag"',
    "HTTP_IF_MATCH": '"etag"',
    "HTTP_IF_NONE_MATCH": "*",
    "HTTP_IF_MODIFIED_SINCE": "Sat, 29 Oct 1994 19:43:31 GMT",
    "HTTP_ACCEPT": "text/plain;q=0.5, */*",
    "HTTP_ACCEPT_ENCODING": "zstd, gzip;q=0",
    "HTTP_ACCEPT_LANGUAGE": "de",
    "HTTP_CACHE_CONTROL": "no-cache",
    "HTTP_COOKIE": "a=b; c=d",
    "HTTP_IDEMPOTENCY_KEY": '"key"',
    "HTTP_REFERER": "https://horizon.example/",
    "HTTP_USER_AGENT": "kit/1.0",
    "HTTP_VIA": "1.1 proxy",
    "HTTP_X_IMAGE_META_PROPERTY_OS": "linux",
    "HTTP_X_TRACE": "a",
}
_OTHERS = {"kit.value": "x", "SERVER_SOFTWARE": "kit", "REMOTE_PORT": "1"}

#: The most bytes that a server returns for one read; None means as many as requested.
_STEPS = (1, 100, None)


class RequestChecks(FilterChecks):
    """What the application gets."""

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
        progress = []

        def read(wrapped: Any) -> bytes:
            progress.append(stream.asked)
            first: bytes = wrapped.read(10)
            progress.append(stream.given)
            return first

        servers.serve(guarded(kind(read)), self.request(stream, length=self.SIZE))
        assert progress == [0, 10]
        assert stream.given == 10, "no more was read than the application asked for"

    def test_a_body_nobody_reads_stays_unread(self, guarded: Any) -> None:
        stream = servers.Input(body(self.SIZE))
        assert (
            servers.serve(guarded(apps.App()), self.request(stream, length=self.SIZE)).code == 200
        )
        assert stream.asked == 0

    def test_the_request_line_arrives_unchanged(self, guarded: Any) -> None:
        """With all headers, and what the server and other filters have put into the environ."""
        app = apps.App()
        entries = {**_HEADERS, **_OTHERS, **self.request()}
        if "QUERY_STRING" not in self.passing():
            entries["QUERY_STRING"] = _QUERY
        before = dict(entries)
        answer = servers.serve(guarded(app), entries)
        assert app.called, f"the request must reach the application; the answer is {answer.status}"
        for name in sorted({*before} - {"wsgi.input", "wsgi.errors"} - self.changes):
            arrived = app.environs[0].get(name)
            assert arrived == before[name], (
                f"a filter changes nothing about a request that it passes on; {name} arrived as "
                f"{arrived!r} instead of {before[name]!r}. If that is its purpose, `changes` "
                "names the entry"
            )
