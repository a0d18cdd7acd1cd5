"""Signing in at a Keystone: a small HTTP server that answers as one, or fails."""

import contextlib
import http.server
import json
import threading

import pytest

from imsgate import errors
from imsgate.config import Config
from imsgate.page import sign_in
from imsgate.page.page import PasswordCredentials
from imsgate.page.sign_in import KeystoneSignIn

WHO = PasswordCredentials("demo", "secret", "project", "", "Elsewhere")
TOKEN = {
    "token": {
        "methods": ["password"],
        "user": {"id": "u", "name": "demo", "domain": {"id": "d", "name": "Default"}},
        "project": {"id": "p", "name": "project", "domain": {"id": "d", "name": "Default"}},
        "roles": [{"id": "r", "name": "member"}],
        "issued_at": "2026-11-29T08:00:00.000000Z",
        "expires_at": "2026-11-29T09:00:00.000000Z",
    }
}


class Keystone(http.server.ThreadingHTTPServer):
    """Answers each request for a token with ``status`` and ``document``."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.document = 201, TOKEN
        self.asked = []
        #: Not set while it answers nothing.
        self.answers = threading.Event()
        self.answers.set()

    @contextlib.contextmanager
    def silent(self):
        self.answers.clear()
        try:
            yield
        finally:
            self.answers.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v3"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        links = [{"rel": "self", "href": f"{self.server.url}/"}]
        version = {"id": "v3.14", "status": "stable", "links": links}
        self._send(200, {"version": version})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body["auth"], self.headers["Forwarded"]))
        self._send(self.server.status, self.server.document)

    def _send(self, status, document):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.server.answers.wait(300)
        self.send_response(status)
        self.send_header("X-Subject-Token", "gAAAA")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def keystone():
    with Keystone() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def signing(tmp_path, text):
    path = tmp_path / "imsgate.conf"
    path.write_text(f"[keystone_authtoken]\n{text}\n")
    return KeystoneSignIn(Config([str(path)]).native)


OWN = "auth_type = password\nusername = svc\npassword = svc\nproject_name = service\n"


@pytest.mark.parametrize(
    "text",
    [
        "www_authenticate_uri = {url}",
        OWN + "auth_url = {url}\nwww_authenticate_uri = http://127.0.0.1:1/v3",
        "auth_section = elsewhere\n[elsewhere]\n" + OWN + "auth_url = {url}",
    ],
    ids=["public", "own", "own section"],
)
def test_a_password_becomes_a_token(keystone, tmp_path, text):
    """At the URL where this service signs in, or else at the public one."""
    signed = signing(tmp_path, text.format(url=keystone.url)).sign_in(WHO, "192.0.2.7")
    assert signed == {
        "token": "gAAAA",
        "user": "demo",
        "project": "project",
        "expires_at": "2026-11-29T09:00:00+00:00",
    }
    ((path, auth, forwarded),) = keystone.asked
    assert path == "/v3/auth/tokens"
    assert auth["identity"]["password"]["user"] == {
        "name": "demo",
        "password": "secret",
        "domain": {"name": "Default"},
    }
    assert auth["scope"]["project"] == {"name": "project", "domain": {"name": "Elsewhere"}}
    assert forwarded.startswith("for=192.0.2.7;")


@pytest.mark.parametrize(
    ("status", "document", "error"),
    [
        (401, {"error": {"code": 401, "message": "No."}}, errors.SignInRefused),
        (400, {"error": {"code": 400, "message": "No."}}, errors.SignInRefused),
        (403, {"error": {"code": 403, "message": "No."}}, errors.SignInRefused),
        (404, {"error": {"code": 404, "message": "No."}}, errors.Unavailable),
        (500, {"error": {"code": 500, "message": "No."}}, errors.Unavailable),
        (503, b"<html>busy", errors.Unavailable),
        (201, b"<html>a login page", errors.Unavailable),
    ],
)
def test_a_refusal_or_a_failure(keystone, tmp_path, status, document, error):
    keystone.status, keystone.document = status, document
    with pytest.raises(error) as caught:
        signing(tmp_path, f"auth_url = {keystone.url}\n{OWN}").sign_in(WHO, None)
    assert ("No." in str(caught.value)) is (error is errors.SignInRefused)
    assert "secret" not in str(caught.value)


def test_a_keystone_that_is_away(tmp_path):
    with pytest.raises(errors.Unavailable):
        signing(tmp_path, "www_authenticate_uri = http://127.0.0.1:1/v3").sign_in(WHO, None)


def test_a_keystone_that_does_not_answer(keystone, tmp_path, monkeypatch):
    monkeypatch.setattr(sign_in, "_SECONDS", 0.2)
    with keystone.silent(), pytest.raises(errors.Unavailable):
        signing(tmp_path, f"www_authenticate_uri = {keystone.url}").sign_in(WHO, None)


def test_not_everybody_waits_for_keystone_at_once(keystone, tmp_path):
    made = signing(tmp_path, f"www_authenticate_uri = {keystone.url}")
    with contextlib.ExitStack() as waiting:
        for _ in range(8):
            waiting.enter_context(made._place())
        with pytest.raises(errors.Unavailable) as caught:
            made.sign_in(WHO, None)
        assert caught.value.headers == {"Retry-After": "5"}
    assert keystone.asked == []
    assert made.sign_in(WHO, None)["token"] == "gAAAA"
