"""The page as a WSGI application: files, conditional requests, and who may be asked what."""

import json
import re
from importlib import resources

import pytest

from imsgate.errors import BadConfig, SignInRefused, Unavailable
from imsgate.page import page
from imsgate.testing import servers

STATIC = resources.files("imsgate.page") / "static"
TYPES = {
    ".js": "text/javascript; charset=UTF-8",
    ".css": "text/css; charset=UTF-8",
    ".svg": "image/svg+xml; charset=UTF-8",
    ".html": "text/html; charset=UTF-8",
}
PASSWORD = {"user": "demo", "password": "secret", "project": "p"}


class Signing:
    """Stands for Keystone. The real one is in test_sign_in.py."""

    def __init__(self, error=None):
        self.error = error
        self.asked = []

    def sign_in(self, credentials, client):
        self.asked.append((credentials, client))
        if self.error:
            raise self.error
        return {"token": "t"}


def called(app, path, method="GET", body=b"", **entries):
    request = servers.environ(body, PATH_INFO=path, REQUEST_METHOD=method, **entries)
    return servers.serve(app, request)


def signed_in(app, document, kind="application/json", **entries):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return called(app, "/sign-in", "POST", body, CONTENT_TYPE=kind, **entries)


@pytest.fixture(scope="module")
def app():
    return page.WebPage({"buckets": False})


FILES = sorted(path.name for path in STATIC.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_with_its_type(app, name):
    path = "/" if name == "index.html" else f"/{name}"
    answer = called(app, path)
    assert (answer.code, answer.body) == (200, (STATIC / name).read_bytes())
    assert answer.header("Content-Type") == TYPES[name[name.rindex(".") :]]
    head = called(app, path, "HEAD")
    assert (head.code, head.body) == (200, b"")
    assert head.header("Content-Length") == str(len(answer.body))


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_no_module_makes_markup_or_asks_another_host(name):
    text = (STATIC / name).read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)
    assert not [url for url in re.findall(r"https?://[\w.]+", text) if "example" not in url]


def test_a_file_is_sent_once(app):
    first = called(app, "/page.js")
    assert first.header("Cache-Control") == "no-cache"
    again = called(app, "/page.js", HTTP_IF_NONE_MATCH=first.header("ETag"))
    assert (again.code, again.body) == (304, b"")
    assert called(app, "/page.js", HTTP_IF_NONE_MATCH='"older"').code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/index.html", 404),
        ("GET", "", 404),
        ("GET", "/nothing.js", 404),
        ("GET", "/../page.py", 404),
        ("GET", "/..%2fpage.py", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/static/page.js", 404),
        ("GET", "/page.js/", 404),
        ("GET", "/page.js\0", 404),
        ("GET", "/\xff", 404),
        ("POST", "/", 405),
        ("PUT", "/page.js", 405),
        ("DELETE", "/settings.json", 405),
        ("OPTIONS", "/page.js", 405),
        ("POST", "/sign-in", 404),
    ],
)
def test_nothing_else_is_served(app, method, path, status):
    answer = called(app, path, method)
    assert answer.code == status
    assert answer.header("Allow") == ("GET, HEAD" if status == 405 else None)


@pytest.mark.parametrize("path", ["/", "/page.js", "/settings.json", "/nothing"])
def test_every_response_has_the_policy(app, path):
    answer = called(app, path)
    policy = answer.header("Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Referrer-Policy") == "no-referrer"


@pytest.mark.parametrize("keystone", [None, Signing()])
def test_the_settings_say_what_is_offered(keystone):
    app = page.WebPage({"buckets": True}, keystone)
    answer = called(app, "/settings.json")
    assert json.loads(answer.body) == {"buckets": True, "keystone": keystone is not None}
    assert answer.header("Cache-Control") == "no-store"


# Signing in


def test_a_token_for_a_password():
    keystone = Signing()
    answer = signed_in(page.WebPage({}, keystone), {**PASSWORD, "user_domain": "d", "more": 1})
    assert (answer.code, json.loads(answer.body)) == (200, {"token": "t"})
    assert answer.header("Cache-Control") == "no-store"
    credentials = page.PasswordCredentials(**PASSWORD, user_domain="d", project_domain="")
    assert keystone.asked == [(credentials, "192.0.2.1")]
    assert "secret" not in repr(credentials)


@pytest.mark.parametrize(
    ("document", "status", "reason"),
    [
        (b"", 400, "bad_json"),
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_json"),
        ({}, 400, "bad_json"),
        ({**PASSWORD, "password": ""}, 400, "bad_json"),
        ({**PASSWORD, "user": None}, 400, "bad_json"),
        ({**PASSWORD, "user": ["demo"]}, 400, "bad_json"),
        ({**PASSWORD, "user_domain": "d" * 1025}, 400, "bad_json"),
        ({**PASSWORD, "user": "\0"}, 400, "bad_json"),
        ({**PASSWORD, "more": "x" * 20000}, 413, "too_large"),
    ],
)
def test_an_unusable_request_does_not_reach_keystone(document, status, reason):
    keystone = Signing()
    answer = signed_in(page.WebPage({}, keystone), document)
    assert (answer.code, answer.reason) == (status, reason)
    assert keystone.asked == []


def test_a_form_of_another_page_cannot_sign_in():
    """A browser sends JSON to another origin only if that allows it, and this one does not."""
    keystone = Signing()
    app = page.WebPage({}, keystone)
    assert signed_in(app, PASSWORD, kind="text/plain").reason == "unsupported_media_type"
    assert called(app, "/sign-in").code == 405
    assert keystone.asked == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(SignInRefused(problem="Wrong."), 401), (Unavailable(what="Keystone"), 503)],
)
def test_keystone_refuses(error, status):
    answer = signed_in(page.WebPage({}, Signing(error)), PASSWORD, HTTP_ACCEPT="application/json")
    assert answer.code == status
    assert json.loads(answer.body)["message"] == str(error)


# The factory


@pytest.mark.parametrize(
    ("text", "keys", "offered"),
    [
        ("", {}, {"buckets": False, "keystone": False}),
        ("[ims]\nprofile = huawei\n", {}, {"buckets": False, "keystone": False}),
        ("[ims_buckets]\ndriver = s3\n", {}, {"buckets": False, "keystone": False}),
        (
            "[ims]\nprofile = otc\n[ims_buckets]\ndriver = s3\n",
            {},
            {"buckets": True, "keystone": False},
        ),
        (
            "[keystone_authtoken]\nwww_authenticate_uri = http://127.0.0.1:1/v3\n",
            {"keystone_sign_in": "true"},
            {"buckets": False, "keystone": True},
        ),
    ],
)
def test_the_configuration_decides_what_is_offered(tmp_path, text, keys, offered):
    path = tmp_path / "imsgate.conf"
    path.write_text(text)
    made = page.app_factory({"config_file": str(path)}, **keys)
    assert json.loads(called(made, "/settings.json").body) == offered


@pytest.mark.parametrize(
    ("text", "keys", "key"),
    [
        ("", {"keystone_sign_in": "true"}, "[keystone_authtoken] auth_url"),
        ("", {"keystone_sign_in": "perhaps"}, "page.keystone_sign_in"),
        ("", {"no_such": "true"}, "page.no_such"),
        (
            "[keystone_authtoken]\nauth_type = none_such\n",
            {"keystone_sign_in": "true"},
            "[keystone_authtoken]",
        ),
    ],
)
def test_a_page_on_which_nobody_could_sign_in_is_not_made(tmp_path, text, keys, key):
    path = tmp_path / "imsgate.conf"
    path.write_text(text)
    with pytest.raises(BadConfig) as caught:
        page.app_factory({"config_file": str(path)}, **keys)
    assert caught.value.key == key
