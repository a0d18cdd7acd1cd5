"""What upstream gets of a request, and which requests it does not get."""

import hashlib
import json
import threading
import urllib.parse

import pytest

from imsgate import errors
from imsgate.auth import aksk
from imsgate.filters import sniff
from imsgate.http.request import REQUEST_ID, Request
from imsgate.testing import servers
from tests.forward.conftest import IMAGE, request, served, upload
from tests.forward.scripted import OK, scripted

JSON = {"CONTENT_TYPE": "application/json"}


def _ok(peer):
    return peer.head().body().respond("200 OK", b"ok")


def _sent(forwards, environ, public_endpoint=None, **settings):
    with scripted(_ok) as upstream:
        answer = served(forwards(upstream, public_endpoint, **settings), environ)
    assert answer.code == 200, answer.body
    return upstream.peers[0], upstream


def test_headers_pass_except_for_those_of_the_connection(forwards):
    environ = request(
        HTTP_X_AUTH_TOKEN="secret",
        HTTP_IF_NONE_MATCH='"x"',
        HTTP_CONNECTION="keep-alive, X-Hop, X-Auth-Token",
        HTTP_X_HOP="1",
        HTTP_KEEP_ALIVE="5",
        HTTP_TE="trailers",
        HTTP_TRAILER="X",
        HTTP_UPGRADE="h2c",
        HTTP_PROXY_AUTHORIZATION="Basic x",
        HTTP_PROXY_CONNECTION="close",
        HTTP_HOST="evil.example",
        HTTP_ACCEPT_ENCODING="br",
        HTTP_X_ROLES="admin",
        HTTP_X_USER_ID="u",
        HTTP_VIA="1.0 old",
        HTTP_UPLOAD_DRAFT_INTEROP_VERSION="8",
        HTTP_TUS_RESUMABLE="1.0.0",
    ) | {REQUEST_ID: "req-1"}
    peer, upstream = _sent(forwards, environ, "https://images.example.com/image")
    assert {name: peer.header(name) for name in peer.headers} == {
        "host": upstream.url.partition("//")[2],
        "x-auth-token": "secret",
        "if-none-match": '"x"',
        "x-openstack-request-id": "req-1",
        "via": "1.0 old, 1.1 imsgate",
        "accept-encoding": "identity",
        "forwarded": 'for="192.0.2.1";host="images.example.com";proto="https"',
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-host": "images.example.com",
        "x-forwarded-proto": "https",
    }
    assert peer.line == f"GET {IMAGE} HTTP/1.1"


def test_what_a_client_says_about_itself_is_discarded(forwards):
    environ = request(
        REMOTE_ADDR="2001:db8::1",
        HTTP_HOST='a"b',
        HTTP_FORWARDED="for=evil",
        HTTP_X_FORWARDED_FOR="evil",
        HTTP_X_FORWARDED_HOST="evil",
        HTTP_X_FORWARDED_PREFIX="/evil",
        HTTP_X_REAL_IP="evil",
    )
    peer, _ = _sent(forwards, environ)
    assert peer.header("forwarded") == 'for="[2001:db8::1]";proto="http"'
    assert peer.header("x-forwarded-for") == "2001:db8::1"
    assert "evil" not in str(peer.headers)


def test_a_token_of_a_file_replaces_the_credentials(forwards, tmp_path):
    file = tmp_path / "token"
    file.write_text("one\n")
    file.chmod(0o600)
    headers = {"HTTP_X_AUTH_TOKEN": "client", "HTTP_AUTHORIZATION": "x", "HTTP_COOKIE": "y"}
    with scripted(lambda peer: [_ok(peer), _ok(peer)]) as upstream:
        app = forwards(upstream, token_file=str(file))
        served(app, request(**headers))
        first = dict(upstream.peers[0].headers)
        file.write_text("two\n")
        served(app, request(**headers))
        second = dict(upstream.peers[0].headers)
        file.unlink()
        assert served(app, request(**headers)).code == 503
        app.pool.close()
    assert (first["x-auth-token"], second["x-auth-token"]) == (["one"], ["two"])
    assert not {"authorization", "cookie"}.intersection(first)


def test_requests_are_signed_anew(forwards):
    """Over what upstream sees; also the questions about a lost response."""
    data, query = b"x" * 100, "b=%20c&a=1"
    record = {"status": "active", "size": len(data)}
    headers = {
        "HTTP_AUTHORIZATION": "SDK-HMAC-SHA256 Access=client, SignedHeaders=host, Signature=0",
        "HTTP_X_SDK_DATE": "20000101T000000Z",
        "HTTP_X_SDK_CONTENT_SHA256": "client",
        "HTTP_X_AUTH_TOKEN": "client",
    }
    with scripted(
        lambda peer: peer.head().body().reset(),
        lambda peer: peer.head().respond("200 OK", json.dumps(record).encode()),
        lambda peer: peer.head().respond("200 OK", data),
        lambda peer: peer.head().body().respond("201 Created"),
    ) as upstream:
        keys = {"access_key": "AK", "secret_key": "SK"}
        app = forwards(upstream.url + "/image", continue_timeout=0.0, keep_alive=0.0, **keys)
        assert served(app, upload(data, QUERY_STRING=query, **headers)).code == 204
        body = b'{"name": "\xc3\xa9"}'
        assert served(app, request("POST", "/v2/images", body, **JSON, **headers)).code == 201
    empty = aksk.EMPTY_SHA256
    payloads = [aksk.UNSIGNED, empty, empty, hashlib.sha256(body).hexdigest()]
    for peer, payload in zip(upstream.peers, payloads, strict=True):
        method, target, _ = peer.line.split()
        authorization = aksk.parse(peer.header("authorization"))
        message = aksk.Message(
            method=method,
            path=urllib.parse.unquote_to_bytes(target.partition("?")[0]),
            query=target.partition("?")[2],
            headers=tuple((name, peer.header(name)) for name in authorization.headers),
            payload=payload,
            declared=True,
            empty=not peer.received,
        )
        assert authorization.access == "AK"
        assert "host" in authorization.headers
        aksk.verify(authorization, "SK", peer.header("x-sdk-date"), message)
        assert "client" not in str(peer.headers)


PATHS = {
    "/v2/images": "/v2/images",
    "": "/",
    "/v2/im%41ges/a b?c#d%": "/v2/im%2541ges/a%20b%3Fc%23d%25",
    "/v2/\xc3\xa9": "/v2/%C3%A9",
    "//evil.example/v2": "//evil.example/v2",
    "/v2/a\r\nHost: b": "/v2/a%0D%0AHost:%20b",
    "/v2/images/../x": None,
    "/v2/./images": None,
    "/v2/images/..": None,
    "/v2\\images": None,
}


@pytest.mark.parametrize("path", PATHS)
def test_the_path_is_the_one_that_the_filters_read(path, forwards):
    with scripted(_ok) as upstream:
        base = upstream.url + "/image/"
        answer = served(forwards(base), request(path=path, QUERY_STRING="a=%20b&c= \xe9#"))
    if PATHS[path] is None:
        assert (answer.code, answer.reason, upstream.peers) == (400, "bad_request", [])
    else:
        assert upstream.peers[0].line == f"GET /image{PATHS[path]}?a=%20b&c=%20%E9%23 HTTP/1.1"


REFUSED = {
    "an image of an older API": (
        *("POST", "/v1/images", {"CONTENT_TYPE": "application/octet-stream"}, 415),
    ),
    "no type": ("POST", "/v2/images", {"CONTENT_TYPE": ""}, 415),
    "a path that only upstream knows": (
        *("PUT", f"{IMAGE}/file;v=1", {"CONTENT_TYPE": "application/octet-stream"}, 415),
    ),
    "a part (IETF)": ("PUT", f"{IMAGE}/file", {"HTTP_UPLOAD_COMPLETE": "?0"}, 400),
    "parts (IETF)": ("POST", f"{IMAGE}/upload", JSON, 404),
    "parts (tus)": ("PATCH", "/v2/uploads/1", JSON, 404),
    "compressed": ("PUT", f"{IMAGE}/file", {"HTTP_CONTENT_ENCODING": "gzip"}, 415),
    "another method": ("TRACE", "/v2/images", JSON, 405),
    "a document that is too long": (
        *("POST", "/v2/images", {**JSON, "CONTENT_LENGTH": str((1 << 20) + 1)}, 413),
    ),
    "an invalid header": ("GET", IMAGE, {"HTTP_A": "b\r\nC: d", "CONTENT_LENGTH": "0"}, 400),
    "no length": (
        *("PUT", f"{IMAGE}/file", {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}),
        *(411,),
    ),
    "two lengths": ("PUT", f"{IMAGE}/file", {"HTTP_TRANSFER_ENCODING": "chunked"}, 400),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_refused_before_anything_is_sent(row, forwards):
    method, path, entries, code = row
    entries = {"wsgi.input_terminated": True, **entries}
    with scripted(_ok) as upstream:
        app = forwards(upstream, chunked=False)
        answer = served(app, request(method, path, bytes((1 << 20) + 1), **entries))
    assert answer.code == code
    assert upstream.peers == [] or not upstream.peers[0].line


DOCUMENTS = (
    "application/json",
    "application/openstack-images-v2.1-json-patch",
    "application/x+json",
)


@pytest.mark.parametrize("media_type", DOCUMENTS)
@pytest.mark.parametrize("chunked", [False, True])
def test_documents_have_a_length(media_type, chunked, forwards):
    body = json.dumps({"name": "x"}).encode()
    environ = servers.environ(
        body,
        chunked=chunked,
        REQUEST_METHOD="PATCH",
        PATH_INFO=IMAGE,
        CONTENT_TYPE=f"{media_type}; charset=UTF-8",
    )
    peer, _ = _sent(forwards, environ, chunked=False)
    assert (peer.received, peer.header("content-length")) == (body, str(len(body)))
    assert peer.header("transfer-encoding") is None


def test_a_chunked_image_with_an_announced_size_has_a_length(forwards):
    data = bytes(200_000)
    with scripted(lambda peer: peer.head().body().send(OK)) as upstream:
        app = forwards(upstream, chunked=False, continue_timeout=0.0)
        environ = upload(data, chunked=True, HTTP_X_OPENSTACK_IMAGE_SIZE=str(len(data)))
        assert served(app, environ).code == 204
    assert upstream.peers[0].header("content-length") == str(len(data))
    assert upstream.peers[0].received == data


@pytest.mark.parametrize("announced", [100_000, 300_000])
def test_another_size_than_announced_breaks_the_connection(announced, forwards):
    with scripted(lambda peer: peer.head().body()) as upstream:
        app = forwards(upstream, continue_timeout=0.0)
        environ = upload(bytes(200_000), chunked=True, HTTP_X_OPENSTACK_IMAGE_SIZE=str(announced))
        answer = served(app, environ)
    assert (answer.code, answer.reason) == (400, "size_mismatch")
    assert upstream.peers[0].end == "cut"


class Refusing:
    """A tap that refuses the whole at its end."""

    def feed(self, chunk):
        pass

    def finish(self):
        raise errors.TooLarge(limit=0)


@pytest.mark.parametrize("size", [1, 1 << 16, 200_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_refused_at_its_end_never_arrives_whole(size, chunked, forwards):
    """Also if upstream knows the length and waits for no end."""
    with scripted(lambda peer: peer.head().body()) as upstream:
        app = forwards(upstream, continue_timeout=0.0, chunked=False)
        environ = upload(bytes(size), chunked=chunked, HTTP_X_OPENSTACK_IMAGE_SIZE=str(size))
        Request(environ).tap(Refusing())
        answer = served(app, environ)
    assert (answer.code, answer.reason) == (413, "too_large")
    peer = upstream.peers[0]
    assert peer.end == "cut"
    assert len(peer.received) < size


def test_a_client_that_is_gone_breaks_the_connection(forwards):
    with scripted(lambda peer: peer.head().body()) as upstream:
        app = forwards(upstream, continue_timeout=0.0)
        environ = upload(servers.Input(bytes(200_000)), CONTENT_LENGTH="300000")
        answer = served(app, environ)
    assert (answer.code, answer.reason) == (400, "body_cut")
    assert upstream.peers[0].end == "cut"


def test_the_client_is_not_asked_for_what_upstream_refuses(forwards):
    body = servers.Input(bytes(10))
    with scripted(lambda peer: peer.head().respond("404 Not Found")) as upstream:
        assert served(forwards(upstream), upload(body, CONTENT_LENGTH="10")).code == 404
    assert body.asked == 0


def test_sniff_gets_the_declared_format_from_the_record(forwards):
    """The record is asked for with the token of the upload."""
    record = json.dumps({"disk_format": "qcow2", "container_format": "bare"}).encode()
    with scripted(
        lambda peer: peer.head().respond("200 OK", record).until_closed(),
        lambda peer: peer.head().send(b"HTTP/1.1 100 Continue\r\n\r\n").body(),
    ) as upstream:
        app = forwards(upstream)
        settings = sniff.SniffSettings(ask_record=True)
        answer = served(
            sniff.Sniff(app, settings), upload(bytes(100_000), HTTP_X_AUTH_TOKEN="secret")
        )
        app.pool.close()
    assert (answer.code, answer.reason) == (415, "format_mismatch")
    assert upstream.peers[0].header("x-auth-token") == "secret"
    assert upstream.peers[1].end == "cut"


def test_beyond_the_bound_requests_are_refused_at_once(forwards):
    begun = threading.Event()

    def slow(peer):
        peer.head()
        begun.set()
        peer.wait().respond("200 OK", b"late")

    with scripted(slow) as upstream:
        app = forwards(upstream, requests_at_once=1)
        first = []
        thread = threading.Thread(target=lambda: first.append(served(app, request())))
        thread.start()
        assert begun.wait(60)
        refused = served(app, request())
        upstream.answered.set()
        thread.join()
        assert first[0].body == b"late"
        assert served(app, request()).code == 200
    assert (refused.code, refused.reason) == (503, "busy")
    assert refused.header("Retry-After") == "30"


def test_the_description_of_the_api_is_that_of_upstream(forwards):
    peer, _ = _sent(forwards, request("GET", "/openapi.json"))
    assert peer.line == "GET /openapi.json HTTP/1.1"
