"""What the store asks a real server at start: its methods, its credentials and its certificate."""

import os
import subprocess

import pytest

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.stores.mark import MARK
from tests.functional.gateway import free_port
from tests.stores.http import nginx
from tests.stores.s3.proxy import between

MOVES = {
    "webdav": True,
    "move without options": True,
    "options without move": False,
    "put only": False,
}

KEY = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1"


def put(store, data=b"data", size=None):
    with store.create(KEY, size) as sink:
        sink.write(data)
        return sink.commit()


@pytest.mark.parametrize(("kind", "moves"), MOVES.items(), ids=MOVES)
def test_whether_the_server_renames_is_found_out_and_said(serve, kind, moves, caplog):
    server = serve(kind)
    store = server.store()
    assert store.properties()["move"] is moves
    assert ("written under their final names" in caplog.text) is not moves
    with store.create(KEY, None) as sink:
        sink.write(b"data")
        location = sink.commit()
    assert b"".join(store.read(location)) == b"data"
    store.delete(location)
    assert server.files("images") == []
    store.close()


@pytest.mark.parametrize("wanted", ["always", "never"])
def test_the_option_decides_without_asking(serve, wanted):
    store = serve("put only").store(http_store_move=wanted)
    assert store.properties()["move"] is (wanted == "always")
    if wanted == "always":
        with pytest.raises(errors.StoreUnavailable, match="405 to MOVE"):
            put(store)
    assert serve("put only").files("images") == []
    store.close()


def test_the_server_has_a_mark_that_is_kept(serve):
    server = serve("webdav")
    store = server.store("small")
    assert store.unmarked() == "[web] http_store_url"
    store.mark()
    mark = (server.home / "root/small" / MARK).read_bytes()
    again = server.store("small")
    assert store.unmarked() is again.unmarked() is None
    again.mark()
    assert (server.home / "root/small" / MARK).read_bytes() == mark
    for each in (store, again):
        each.close()


@pytest.mark.parametrize("kind", ["webdav", "put only"])
def test_two_processes_that_mark_at_once_agree(serve, kind):
    server = serve(kind)
    (server.home / "root/small" / MARK).unlink(missing_ok=True)
    with between(server.port) as proxy:
        first = server.store("small")
        second = server.store(http_store_url=f"{proxy.url}/small")
        first.mark()
        asked = iter([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"])
        proxy.rules.append(lambda line: next(asked, None) if line.startswith("GET") else None)
        second.mark()
        assert next(asked, None) is None
        for each in (first, second):
            each.check()
            each.close()
    assert os.listdir(server.home / "root/small") == [MARK]


ACCESS = {
    "basic": ("images", {}, None),
    "basic, wrong": ("images", {"http_store_password": "wrong-secret"}, "user"),
    "basic, none": ("images", {"http_store_user": None, "http_store_password": None}, "user"),
    "bearer": ("bearer", {"http_store_token": nginx.TOKEN}, None),
    "bearer, wrong": ("bearer", {"http_store_token": "wrong-secret"}, "token"),
    "redirect": ("moved", {}, "url"),
}


@pytest.mark.parametrize(("place", "changed", "option"), ACCESS.values(), ids=ACCESS)
def test_credentials(serve, place, changed, option, caplog):
    caplog.set_level("DEBUG")
    server = serve("webdav")
    if option is None:
        store = server.store(place, **changed)
        store.delete(put(store))
        store.close()
    else:
        with pytest.raises(BadConfig, match=rf"\[web\] http_store_{option}"):
            server.store(place, **changed)
    for secret in (nginx.PASSWORD, nginx.TOKEN, "wrong-secret"):
        assert secret not in caplog.text


@pytest.mark.parametrize("method", ["OPTIONS", "MOVE"])
def test_a_server_that_is_overloaded_is_not_taken_for_one_without_move(serve, method):
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with between(serve("webdav").port) as proxy:
        proxy.rules.append(lambda line: busy if line.startswith(method) else None)
        if method == "OPTIONS":
            store = serve("webdav").store(http_store_url=f"{proxy.url}/images")
            assert store.properties()["move"]
            store.close()
        else:
            with pytest.raises(BadConfig, match=r"\[web\] http_store_url.*overloaded"):
                serve("webdav").store(http_store_url=f"{proxy.url}/images")


def test_a_server_that_is_away_is_refused_at_start(serve):
    server = serve("webdav")
    with pytest.raises(BadConfig, match=r"\[web\] http_store_url.*cannot be reached"):
        server.store(http_store_url=f"http://127.0.0.1:{free_port()}/images")


def test_a_collection_that_lacks_or_is_read_only(serve):
    server = serve("webdav")
    store = server.store("not-there")
    with pytest.raises(errors.StoreUnavailable, match="500 to PUT"):  # 409 on other servers
        store.mark()
    with pytest.raises(errors.StoreUnavailable, match="500 to PUT"):
        put(store)
    readonly = server.store("readonly")
    with pytest.raises(errors.StoreDenied, match="403 to PUT"):
        readonly.mark()
    for each in (store, readonly):
        each.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for the server, which also is that of the client."""
    home = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-batch"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", home / "key.pem", "-out", home / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return home


@pytest.fixture
def served(certificate, tmp_path):
    """A server that requires a client certificate."""
    directives = (
        f"ssl_certificate {certificate}/cert.pem; ssl_certificate_key {certificate}/key.pem;"
        f"ssl_client_certificate {certificate}/cert.pem; ssl_verify_client on;"
        "ssl_protocols TLSv1.2 TLSv1.3;"
    )
    with nginx.running(tmp_path, "webdav", directives) as server:
        yield server


def test_tls_with_a_client_certificate(served, certificate):
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    ours = {"http_store_cert_file": cert, "http_store_key_file": key}
    store = served.store(http_store_ca_file=cert, **ours)
    data = bytes(range(256)) * 9000
    for size in (None, len(data)):
        location = put(store, data, size)
        assert b"".join(store.read(location)) == data
        store.delete(location)
    store.close()
    with pytest.raises(BadConfig, match="certificate is not trusted"):
        served.store(**ours)
    with pytest.raises(BadConfig, match="it answered 400"):
        served.store(http_store_ca_file=cert)
