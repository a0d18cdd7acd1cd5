"""What a client gets of upstream's responses, and when a connection is used again."""

import dataclasses
import io
import json

import pytest

from imsgate.forward.links import Links
from imsgate.testing import servers
from tests.forward.conftest import IMAGE, request, served
from tests.forward.scripted import scripted

PUBLIC = "https://images.example.com/image"


def _serving(head, body=b""):
    """A script for one connection: the same response to each request on it."""

    def script(peer):
        while True:
            peer.head().body().send(head + body)

    return script


def _answer(forwards, head, body=b"", method="GET", **settings):
    with scripted(_serving(head, body)) as upstream:
        app = forwards(upstream, PUBLIC, **settings)
        answer = served(app, request(method))
        app.pool.close()
    return answer


def test_headers_pass_except_for_those_of_the_connection(forwards):
    head = (
        b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nETag: \"x\"\r\nServer: nginx\r\nDate: now\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n"
        b"Proxy-Authenticate: Basic\r\nTrailer: X\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        b"WWW-Authenticate: Keystone uri=\"x\"\r\nX-Text: \xe9\r\n\r\n"
    )  # fmt: skip
    answer = _answer(forwards, head, b"ok")
    assert (answer.status, answer.body) == ("200 Fine", b"ok")
    assert answer.headers == [
        ("Content-Length", "2"),
        ("ETag", '"x"'),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("WWW-Authenticate", 'Keystone uri="x"'),
        ("X-Text", "\xe9"),
        ("Via", "1.1 imsgate"),
    ]


BODILESS = {
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "9"),
    "HEAD, chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", None),
    "204 with a length": ("DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "0"),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "9"),
}


@pytest.mark.parametrize("row", BODILESS.values(), ids=BODILESS)
def test_responses_without_a_body(row, forwards):
    """The connection is free at once: the next request gets its own response."""
    method, head, length = row
    with scripted(_serving(head)) as upstream:
        app = forwards(upstream, requests_at_once=1)
        for _ in range(2):
            answer = served(app, request(method))
            assert (answer.body, answer.header("Content-Length")) == (b"", length)
        app.pool.close()


LOCATIONS = {
    "{upstream}/v2/images/1": PUBLIC + "/v2/images/1",
    "{upstream}": PUBLIC,
    "{upstream}?a": PUBLIC + "?a",
    "{secure}/v2": PUBLIC + "/v2",
    "https://GLANCE.example/v2": PUBLIC + "/v2",
    "https://glance.example:443/v2": PUBLIC + "/v2",
    "https://glance.example:444/v2": "https://glance.example:444/v2",
    "https://glance.example.evil/v2": "https://glance.example.evil/v2",
    "{upstream}1/v2": "{upstream}1/v2",
    "/v2/images/1": "/v2/images/1",
    "https://bucket.example/?u={upstream}/": "https://bucket.example/?u={upstream}/",
}


def _named(location, upstream):
    return location.format(upstream=upstream.url, secure=upstream.url.replace("http:", "https:"))


@pytest.mark.parametrize("location", LOCATIONS)
def test_location(location, forwards):
    def script(peer):
        peer.head().respond("302 Found", b"", f"Location: {_named(location, upstream)}")

    with scripted(script) as upstream:
        app = forwards(upstream, PUBLIC, upstream_names=["https://glance.example/"])
        answer = served(app, request())
        app.pool.close()
    assert answer.header("Location") == _named(LOCATIONS[location], upstream)


RECORD = {
    "self": "{url}/v2/images/1",
    "file": "/v2/images/1/file",
    "schema": "{url}/v2/schemas/image",
    "next": "{url}/v2/images?marker=1",
    "links": [{"rel": "self", "href": "{url}/v2/"}],
    "description": "from {url}/v2/",
    "origin": "{url}/v2/",
    "text": 'x "self": "{url}/',
}


def _filled(value, url):
    return json.loads(json.dumps(value).replace("{url}", url))


def _public(url):
    expected = _filled(RECORD, url)
    links = {name: RECORD[name].replace("{url}", PUBLIC) for name in ("self", "schema", "next")}
    return {**expected, **links, "links": [{"rel": "self", "href": PUBLIC + "/v2/"}]}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_links_in_json(indent, framing, forwards):
    def script(peer):
        body = json.dumps(_filled(RECORD, upstream.url), indent=indent).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\n"
        if framing == "length":
            peer.head().send(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        peer.head().send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 7):
            part = body[at : at + 7]
            peer.send(b"%x\r\n%s\r\n" % (len(part), part))
        peer.send(b"0\r\n\r\n")

    with scripted(script) as upstream:
        app = forwards(upstream, PUBLIC)
        answer = served(app, request())
        app.pool.close()
    assert json.loads(answer.body) == _public(upstream.url)
    if framing == "length":
        assert answer.header("Content-Length") == str(len(answer.body))
    else:
        assert answer.header("Content-Length") is None


@pytest.mark.parametrize("step", [1, 2, 3, 50, 1000])
def test_links_cut_anywhere(step):
    url = "https://glance.example:9292/image"
    links = Links([r"https?://glance\.example:9292/image"])
    text = json.dumps([_filled(RECORD, url)] * 3).replace("/", "\\/", 40).encode()
    rewriter, source, pieces = links.rewriter(PUBLIC), io.BytesIO(text), []
    while chunk := source.read(step):
        pieces.append(rewriter.feed(chunk))
    pieces.append(rewriter.finish())
    assert json.loads(b"".join(pieces)) == [_public(url)] * 3


UNCHANGED = {
    "image data": b"Content-Type: application/octet-stream\r\n",
    "compressed": b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    "a range": b"Content-Type: application/json\r\nContent-Range: bytes 0-9/10\r\n",
    "text": b"Content-Type: text/html\r\n",
}


@pytest.mark.parametrize("fields", UNCHANGED.values(), ids=UNCHANGED)
def test_other_bodies_are_unchanged(fields, forwards):
    def script(peer):
        body = b'{"self": "%s/v2"}' % upstream.url.encode()
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        peer.head().send(b"HTTP/1.1 200 OK\r\n" + fields + length + body)

    with scripted(script) as upstream:
        app = forwards(upstream, PUBLIC)
        answer = served(app, request())
        app.pool.close()
    assert answer.body == b'{"self": "%s/v2"}' % upstream.url.encode()


def test_without_a_public_endpoint_links_have_the_host_of_the_request(forwards):
    def script(peer):
        peer.head().respond("201 Created", b"", f"Location: {upstream.url}/v2/images/1")

    with scripted(script) as upstream:
        app = forwards(upstream)
        answer = served(app, request(HTTP_HOST="front:80", SCRIPT_NAME="/image"))
        app.pool.close()
    assert answer.header("Location") == "http://front/image/v2/images/1"


# Connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _count(forwards, script, requests, **settings):
    """The statuses of these requests, and how many connections they took."""
    with scripted(script) as upstream:
        app = forwards(upstream, **settings)
        codes = [served(app, each).code for each in requests]
        app.pool.close()
    return codes, len(upstream.peers)


def test_reads_share_a_connection_and_changes_do_not(forwards):
    def post():
        return request("POST", "/v2/images", b"{}", CONTENT_TYPE="application/json")

    script = _serving(OK)
    assert _count(forwards, script, [request(), request()]) == ([200, 200], 1)
    assert _count(forwards, script, [request(), post(), request()]) == ([200] * 3, 2)
    assert _count(forwards, script, [request(), request()], keep_alive=0.0) == ([200, 200], 2)


NOT_KEPT = {
    "asked to close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "bytes that nobody asked for": OK + OK,
}


@pytest.mark.parametrize("response", NOT_KEPT.values(), ids=NOT_KEPT)
def test_not_kept(response, forwards):
    assert _count(forwards, _serving(response), [request(), request()]) == ([200, 200], 2)


def test_what_arrives_between_two_requests_answers_none(forwards):
    """A response that was smuggled in would be that to the next client's request."""
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"

    def late(peer):
        peer.head().send(OK)
        peer.wait().send(smuggled).until_closed()

    with scripted(late, _serving(OK)) as upstream:
        app = forwards(upstream)
        assert served(app, request()).body == b"ok"
        [(_, connection)] = app.pool._unused
        upstream.answered.set()
        connection._wait(1, 60)  # until it is there
        assert served(app, request()).body == b"ok"
        app.pool.close()
    assert len(upstream.peers) == 2


@pytest.mark.parametrize("when", ["between", "at the request"])
def test_a_kept_connection_that_upstream_closes(when, forwards):
    def once(peer):
        peer.head().send(OK)
        if when == "at the request":
            peer.head()

    with scripted(once, _serving(OK)) as upstream:
        app = forwards(upstream)
        assert served(app, request()).code == 200
        if when == "between":
            [(_, connection)] = app.pool._unused
            connection._wait(1, 60)
        assert served(app, request()).code == 200
        app.pool.close()
    assert len(upstream.peers) == 2


def test_old_connections_are_not_used(forwards):
    now = [0.0]
    with scripted(_serving(OK)) as upstream:
        app = forwards(upstream, keep_alive=10.0)
        app.pool._clock = lambda: now[0]
        for now[0] in (0.0, 10.0, 20.5):
            assert served(app, request()).code == 200
        app.pool.close()
    assert len(upstream.peers) == 2


def test_what_the_pool_allows_changes_at_run_time(forwards):
    with scripted(_serving(OK), _serving(OK)) as upstream:
        app = forwards(upstream, requests_at_once=1, keep_alive=10.0)
        with app.pool.place():
            assert served(app, request()).reason == "busy"
            app._settings.refresh(
                dataclasses.replace(app._settings, requests_at_once=2, keep_alive=0.0)
            )
            assert served(app, request()).code == 200
        assert app.pool._unused == []


def test_a_client_that_leaves_closes_the_connection(forwards):
    def script(peer):
        peer.head().send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc").until_closed()

    with scripted(script) as upstream:
        app = forwards(upstream, requests_at_once=1)
        answer = servers.serve(app, request(path=f"{IMAGE}/file"), take=1, validated=False)
        assert answer.body == b"abc"
        app.pool.enter()
