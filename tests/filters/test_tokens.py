"""tokens: who may come in, by a file that may change at any time."""

import json
import resource

import pytest

from imsgate import errors
from imsgate.auth import jsonl, token_file
from imsgate.filters import tokens
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import put, refused

IDENTITY = ("HTTP_X_USER_ID", "HTTP_X_PROJECT_ID", "HTTP_X_ROLES")


class TestTokens(FilterContract):
    @pytest.fixture(autouse=True)
    def token(self, tmp_path):
        path = str(tmp_path / "tokens")
        self.valid = token_file.add(path, user="u", project="p", roles=["member"])

    @pytest.fixture
    def factory(self):
        return tokens.filter_factory

    def passing(self):
        return {**super().passing(), "HTTP_X_AUTH_TOKEN": self.valid}

    def refused(self):
        return {"HTTP_X_AUTH_TOKEN": "guessed"}


@pytest.fixture
def path(tmp_path):
    """The token file, with nobody in it."""
    path = tmp_path / "tokens"
    path.write_text("")
    return path


def add(path, user="u1", **more):
    return token_file.add(str(path), user=user, project="p1", roles=["member", "reader"], **more)


def enter(app, token):
    return put(app, HTTP_X_AUTH_TOKEN=token)


def test_a_token_authenticates(alone, path):
    token, app = add(path), apps.App()
    assert enter(alone("tokens", app), token).code == 200
    environ = app.environs[0]
    assert [environ[name] for name in IDENTITY] == ["u1", "p1", "member,reader"]
    assert environ["HTTP_X_IDENTITY_STATUS"] == "Confirmed"


def strangers(token):
    return {
        "none": None,
        "empty": "",
        "wrong": "wrong",
        "capitals": token.swapcase(),
        "shorter": token[:-1],
        "longer": token + "A",
        "space": f" {token}",
        "its-digest": jsonl.digest(token),
        "latin-1": "caf\xe9",
        "line": f"{token}\n{token}",
    }


@pytest.mark.parametrize("which", strangers("token"))
def test_a_stranger_is_refused(alone, path, which):
    token, app, stream = add(path), apps.App(), servers.Input(bytes(10))
    request = {"HTTP_X_AUTH_TOKEN": strangers(token)[which]}
    answer = put(alone("tokens", app), stream, length=10, **request)
    refused(answer, app, 401, "unauthenticated")
    assert answer.header("WWW-Authenticate")
    assert stream.asked == 0


@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_stranger_may_be_left_to_identity(alone, path, token):
    app = apps.App()
    filtered = alone("tokens", app, delay_auth_decision="true")
    assert enter(filtered, token).code == 200
    assert app.environs[0]["HTTP_X_IDENTITY_STATUS"] == "Invalid"


@pytest.mark.parametrize("status", ["Confirmed", None])
def test_a_stranger_who_names_himself_stays_one(alone, path, status):
    """Without ``faults`` before it, the filter must still authenticate nobody."""
    app = apps.App()
    filtered = alone("tokens", app, delay_auth_decision="true")
    forged = {"HTTP_X_ROLES": "admin", "HTTP_X_USER_ID": "root", "HTTP_X_PROJECT_ID": "p"}
    put(filtered, HTTP_X_IDENTITY_STATUS=status, **forged)
    assert app.environs[0]["HTTP_X_IDENTITY_STATUS"] == "Invalid"


@pytest.mark.parametrize(
    ("expires", "code"),
    [pytest.param(999.0, 401, id="past"), pytest.param(1000.0, 401, id="now"),
     pytest.param(1000.5, 200, id="future")],
)  # fmt: skip
def test_a_token_expires(alone, path, monkeypatch, expires, code):
    token, app = add(path, expires=expires), apps.App()
    monkeypatch.setattr(tokens.time, "time", lambda: 1000.0)
    assert enter(alone("tokens", app), token).code == code


def test_a_new_token_needs_no_restart(alone, path):
    app = apps.App()
    filtered = alone("tokens", app)
    assert enter(filtered, "soon").code == 401
    assert enter(filtered, add(path)).code == 200
    second = add(path, "u2")
    assert enter(filtered, second).code == 200
    assert [environ["HTTP_X_USER_ID"] for environ in app.environs] == ["u1", "u2"]


def test_a_token_taken_out_no_longer_helps(alone, path):
    first, second = add(path), add(path)
    filtered = alone("tokens", apps.App())
    assert enter(filtered, first).code == 200
    path.write_text(path.read_text().splitlines(keepends=True)[1])
    assert enter(filtered, first).code == 401
    assert enter(filtered, second).code == 200


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.write_text("{"), id="no-json"),
        pytest.param(lambda path: path.write_bytes(b"\xff\n"), id="no-text"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="directory"),
    ],
)
def test_a_file_that_breaks_lets_nobody_in_until_it_is_mended(alone, path, caplog, broken):
    token, app = add(path), apps.App()
    filtered = alone("tokens", app)
    good = path.read_text()
    broken(path)
    refused(enter(filtered, token), app, 401, "unauthenticated")
    assert "No token is accepted until this is fixed" in caplog.text
    assert token not in caplog.text
    if path.is_dir():
        path.rmdir()
    path.write_text(good)
    assert enter(filtered, token).code == 200


def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(alone, path):
    filtered = alone("tokens", apps.App())
    token = add(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # no file can be opened
    try:
        answer = enter(filtered, token)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert answer.code == 401
    assert enter(filtered, token).code == 200


LINE = {"sha256": "0" * 64, "user": "u", "project": "p", "roles": ["member"]}
BROKEN = {
    "no-json": "{",
    "no-object": "[]",
    "no-text": "\udcff",
    "too-deep": "[" * 100_000,
    "a-number": "1",
    "no-digest": json.dumps({key: LINE[key] for key in LINE if key != "sha256"}),
    "no-roles": json.dumps({key: LINE[key] for key in LINE if key != "roles"}),
    "short-digest": json.dumps({**LINE, "sha256": "00"}),
    "digest-in-capitals": json.dumps({**LINE, "sha256": "A" * 64}),
    "digest-with-spaces": json.dumps({**LINE, "sha256": "00 " * 32}),
    "no-hexadecimal": json.dumps({**LINE, "sha256": "x" * 64}),
    "digest-is-a-number": json.dumps({**LINE, "sha256": 1}),
    "unknown-key": json.dumps({**LINE, "rolls": []}),
    "expires-some-day": json.dumps({**LINE, "expires": "tomorrow"}),
    "roles-is-a-number": json.dumps({**LINE, "roles": 1}),
    "role-is-a-number": json.dumps({**LINE, "roles": [1]}),
    "roles-is-a-word": json.dumps({**LINE, "roles": "admin"}),
    "user-is-a-number": json.dumps({**LINE, "user": 1}),
    "project-is-null": json.dumps({**LINE, "project": None}),
    "expires-is-text": json.dumps({**LINE, "expires": "1000"}),
    "user-holds-a-line": json.dumps({**LINE, "user": "a\nb"}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("running", [False, True], ids=["at-start", "running"])
def test_a_bad_line_shuts_out_nobody_else(alone, path, caplog, text, running):
    token = add(path)
    filtered = alone("tokens", apps.App()) if running else None
    path.write_text(f"# who is who\n\n{text}\n{path.read_text()}", errors="surrogateescape")
    filtered = filtered or alone("tokens", apps.App())
    for _ in range(3):
        assert enter(filtered, token).code == 200
    (record,) = [record for record in caplog.records if f"{path} line 3: " in record.getMessage()]
    assert (record.levelname, len(caplog.records)) == ("ERROR", 1)
    path.write_bytes(path.read_bytes() + b"#\n")
    assert enter(filtered, token).code == 200
    assert len(caplog.records) == 2


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_file_without_a_good_line_refuses_to_start(alone, path, text):
    path.write_text("#\n\n" + text + "\n", errors="surrogateescape")
    with pytest.raises(errors.BadConfig) as caught:
        alone("tokens", apps.App())
    assert caught.value.key == "[tokens] token_file"
    assert f"{path} line 3: " in str(caught.value)


def test_a_commented_line_is_no_token(alone, path, caplog):
    token, other = add(path), add(path)
    lines = path.read_text().splitlines()
    path.write_text(f"  # {lines[0]}\n{lines[1]}\n")
    filtered = alone("tokens", apps.App())
    assert (enter(filtered, token).code, enter(filtered, other).code) == (401, 200)
    assert caplog.records == []


def test_a_missing_file_refuses_to_start(alone, tmp_path):
    with pytest.raises(errors.BadConfig) as caught:
        alone("tokens", apps.App(), token_file=str(tmp_path / "none"))
    assert caught.value.key == "[tokens] token_file"
