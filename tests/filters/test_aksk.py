"""aksk: who signed, what was signed, and when."""

import hashlib
import json
import pathlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imsgate import errors
from imsgate.auth import aksk as signing
from imsgate.auth import key_file
from imsgate.filters import aksk
from imsgate.http.request import REAUTHENTICATE
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import FILE, put

NOW = 1717243200.0  # 20240601T120000Z
ACCESS, SECRET = "AKEXAMPLE0000000000", "SKexampleSKexampleSKexampleSKexample0000"
HOST = "ims.example.test:8080"
LIMIT = 12 << 20


def environ_name(header):
    key = header.upper().replace("-", "_")
    return key if key.startswith("CONTENT_") else f"HTTP_{key}"


def signed(
    body=b"",
    *,
    method="PUT",
    path=FILE,
    query="",
    when=NOW,
    access=ACCESS,
    secret=SECRET,
    hashed=signing.UNSIGNED,
    scope=None,
    unsigned=(),
    **more,
):
    """The environ entries of a signed request. ``hashed`` is what the hash header says, "real"
    for the truth, None for no such header; ``unsigned`` names headers left out of the signature."""
    date = signing.format_date(when)
    headers = {"content-type": "application/octet-stream", "host": HOST, "x-sdk-date": date}
    digest = hashlib.sha256(body).hexdigest()
    if hashed:
        headers["x-sdk-content-sha256"] = digest if hashed == "real" else hashed
    headers |= {name.replace("_", "-"): text for name, text in more.items()}
    covered = tuple(sorted((name, headers[name]) for name in headers if name not in unsigned))
    request = signing.Message(
        method=method,
        path=path.encode("latin-1"),
        query=query,
        headers=covered,
        payload=headers.get("x-sdk-content-sha256", digest),
        declared=bool(hashed),
        empty=not body,
    )
    names = tuple(name for name, _ in covered)
    claim = signing.AuthorizationHeader(access, scope, names, "")
    text = next(iter(signing.canonical_requests(request, scoped=bool(scope))))
    who = f"Credential={access}/{'/'.join(scope)}/sdk_request" if scope else f"Access={access}"
    proof = signing.signature(claim, secret, date, text)
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        **{environ_name(name): text for name, text in headers.items()},
        "HTTP_AUTHORIZATION": f"SDK-HMAC-SHA256 {who}, SignedHeaders={';'.join(names)}, "
        f"Signature={proof}",
    }


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(aksk.time, "time", lambda: NOW)


@pytest.fixture
def files(tmp_path):
    return str(tmp_path / "keys"), str(tmp_path / "keys.seal")


def add(files, access=ACCESS, secret=SECRET, **more):
    how = {"user": "u1", "projects": ["p1", "p2"], "roles": ["member"], **more}
    return key_file.add(*files, pair=(access, secret), **how)


@pytest.fixture(autouse=True)
def keys(files):
    """A key of the projects p1 and p2."""
    add(files)


class TestAksk(FilterContract):
    @pytest.fixture
    def factory(self):
        return aksk.filter_factory

    def passing(self):
        return {**super().passing(), **signed(b"something", query="limit=2&name=a%20b&empty=")}

    def refused(self):
        return {"HTTP_HOST": "elsewhere"}


def refusal(answer, status, reason, code="APIGW.0301"):
    """The refusal is this one, in the form of the vendor's gateway; its message."""
    assert (answer.code, answer.reason) == (status, reason), answer.body
    page = json.loads(answer.body)
    assert set(page) == {"error_code", "error_msg", "request_id"}
    assert page["error_code"] == code
    assert answer.header("X-Request-Id") == page["request_id"] != ""
    assert SECRET not in page["error_msg"]
    return page["error_msg"].removeprefix("Incorrect IAM authentication information: ")


VARIANTS = {
    "unsigned-payload": {},
    "real-hash": {"hashed": "real"},
    "capital-hash": {"hashed": hashlib.sha256(b"body").hexdigest().upper()},
    "no-hash-header": {"hashed": None},
    "no-host": {"unsigned": ("host",)},
    "scope": {"scope": ("20240601", "eu-de", "ims")},
    "empty-scope": {"scope": ("20240601", "", ""), "hashed": None},
    "query": {"query": "b=1&a=%20%C3%BC&c"},
    "latin-1": {"user_agent": "caf\xe9"},
    "spaces": {"user_agent": "  a  b "},
    "odd-path": {"path": "/v2/images/a b+%25\xc3\xbc/file"},
    "minor-version": {"path": FILE.replace("/v2", "//v2.5/", 1)},
    "late": {"when": NOW - 900},
    "early": {"when": NOW + 900},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_signature_authenticates(alone, variant):
    app = apps.App(apps.by(3))
    assert put(alone("aksk", app), b"body", **signed(b"body", **variant)).code == 200
    environ = app.environs[0]
    assert environ["HTTP_X_IDENTITY_STATUS"] == "Confirmed"
    assert (environ["HTTP_X_USER_ID"], environ["HTTP_X_PROJECT_ID"]) == ("u1", "p1")
    assert environ["HTTP_X_ROLES"] == "member,reader"
    assert app.bodies == [b"body"]


@pytest.mark.parametrize("hashed", [signing.UNSIGNED, "real", None], ids=str)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_empty_body(alone, hashed, chunked):
    app = apps.App(apps.by(3))
    answer = put(alone("aksk", app), b"", chunked=chunked, **signed(hashed=hashed))
    assert (answer.code, app.bodies) == (200, [b""])


LATIN = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=40)
HEADERS = "authorization host x-sdk-date x-sdk-content-sha256 x-security-token x-project-id"


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_header_at_all_is_a_bug(files, data):
    """Whatever stands in one, the request is let in or refused for a reason."""
    key_file, seal_file = files
    made = aksk.filter_factory({}, key_file=key_file, seal_file=seal_file)(apps.App())
    request = signed(b"body", hashed="real", x_security_token="", x_project_id="p1")
    for header in data.draw(st.sets(st.sampled_from(HEADERS.split()), min_size=1)):
        name = environ_name(header)
        text = request[name]
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        request[name] = text[:at] + data.draw(LATIN) + text[at + cut :]
    answer = put(made, b"body", **request)
    assert answer.code == 200 or answer.reason.startswith(("sign", "key_", "security_token"))


# The project

PROJECTS = {
    "none": ({}, "p1"),
    "first": ({"x_project_id": "p1"}, "p1"),
    "second": ({"x_project_id": "p2"}, "p2"),
    "unsigned": ({"x_project_id": "p2", "unsigned": ("x-project-id",)}, "p2"),
}


@pytest.mark.parametrize("behind_faults", [True, False])
@pytest.mark.parametrize(("how", "project"), PROJECTS.values(), ids=PROJECTS)
def test_the_project_may_be_named(alone, how, project, behind_faults):
    app = apps.App()
    filtered = alone("aksk", app)
    if behind_faults:
        filtered = alone("faults", filtered)
    assert put(filtered, **signed(**how)).code == 200
    assert app.environs[0]["HTTP_X_PROJECT_ID"] == project


def test_a_foreign_project_is_refused(alone):
    app = apps.App()
    answer = put(alone("aksk", app), **signed(x_project_id="p3"))
    refusal(answer, 403, "key_forbidden", "APIGW.0302")
    assert not app.called


def test_identity_headers_of_a_client_are_ignored(alone):
    app = apps.App()
    forged = {
        "HTTP_X_ROLES": "admin",
        "HTTP_X_USER_ID": "root",
        "HTTP_OPENSTACK_SYSTEM_SCOPE": "all",
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
    }
    assert put(alone("aksk", app), **signed(), **forged).code == 200
    environ = app.environs[0]
    assert (environ["HTTP_X_USER_ID"], environ["HTTP_X_ROLES"]) == ("u1", "member,reader")
    assert "HTTP_OPENSTACK_SYSTEM_SCOPE" not in environ


# Strangers

BASIC = {"HTTP_AUTHORIZATION": "Basic YTpi"}
V11 = {"HTTP_AUTHORIZATION": "V11-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=a, Signature=b"}


@pytest.mark.parametrize("entries", [{}, BASIC, V11, {"HTTP_AUTHORIZATION": ""}], ids=str)
def test_who_does_not_sign_is_refused_or_left_to_identity(alone, entries):
    app, stream = apps.App(), servers.Input(bytes(10))
    answer = put(alone("aksk", app), stream, length=10, **entries)
    assert refusal(answer, 401, "signature_missing") == "x-auth-token not found"
    assert answer.header("WWW-Authenticate") == "SDK-HMAC-SHA256"
    assert not app.called
    assert stream.asked == 0
    forged = {"HTTP_X_IDENTITY_STATUS": "Confirmed", "HTTP_X_ROLES": "admin"}
    filtered = alone("aksk", app, delay_auth_decision="true")
    assert put(filtered, **entries, **forged).code == 200
    assert app.environs[0]["HTTP_X_IDENTITY_STATUS"] == "Invalid"


def test_an_authenticated_request_passes(alone):
    """By a token; a client cannot set this key."""
    app = apps.App()
    entries = {
        REAUTHENTICATE: dict,
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": "t",
    }
    assert put(alone("aksk", app), **entries).code == 200
    assert app.environs[0]["HTTP_X_USER_ID"] == "t"


OTHER = {
    "method": {"REQUEST_METHOD": "POST"},
    "path": {"PATH_INFO": FILE + "x"},
    "query": {"QUERY_STRING": "a=1"},
    "host": {"HTTP_HOST": "elsewhere"},
    "type": {"CONTENT_TYPE": "application/json"},
    "no-type": {"CONTENT_TYPE": None},
    "hash": {"HTTP_X_SDK_CONTENT_SHA256": "0" * 64},
    "header-twice": {"HTTP_HOST": f"{HOST},{HOST}"},
    "date": {"HTTP_X_SDK_DATE": "20240601T120001Z"},
    "unsigned-project": {"HTTP_X_PROJECT_ID": "p2"},
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_is_signed_cannot_be_changed(alone, change):
    app, stream = apps.App(), servers.Input(b"body")
    request = {**signed(b"body", x_project_id="p1"), **change}
    answer = put(alone("aksk", app, delay_auth_decision="true"), stream, length=4, **request)
    message = refusal(answer, 401, "signature_mismatch")
    assert message.startswith("verify aksk signature fail, canonicalRequest:")
    assert not app.called
    assert stream.asked == 0


def test_the_shown_canonical_request_is_the_vendors(alone):
    answer = put(alone("aksk", apps.App()), **signed(secret="wrong", x_security_token="hush"))
    message = refusal(answer, 401, "signature_mismatch")
    date = signing.format_date(NOW)
    assert message.partition("canonicalRequest:")[2] == (
        f"PUT|{FILE}/||content-type:application/octet-stream|host:{HOST}|"
        f"x-sdk-content-sha256:UNSIGNED-PAYLOAD|x-sdk-date:{date}|x-security-token:***||"
        "content-type;host;x-sdk-content-sha256;x-sdk-date;x-security-token|UNSIGNED-PAYLOAD"
    )


def malformed(change, **how):
    return {**signed(**how), **change}


MALFORMED = {
    "cut": malformed({"HTTP_AUTHORIZATION": "SDK-HMAC-SHA256 Access=a"}),
    "twice": malformed({"HTTP_AUTHORIZATION": ",".join([signed()["HTTP_AUTHORIZATION"]] * 2)}),
    "date-twice": malformed({"HTTP_X_SDK_DATE": "20240601T120000Z,20240601T120000Z"}),
    "no-date": malformed({"HTTP_X_SDK_DATE": None}),
    "date-unsigned": malformed({}, unsigned=("x-sdk-date",)),
    "other-day": malformed({}, scope=("20240602", "", "")),
    "hash-that-is-none": malformed({}, hashed="STREAMING"),
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_refused(alone, request_):
    app = apps.App()
    refusal(put(alone("aksk", app), **request_), 401, "signature_malformed")
    assert not app.called


@pytest.mark.parametrize("when", [NOW - 901, NOW + 901, 0.0])
def test_outside_of_the_window_it_is_refused(alone, when):
    answer = put(alone("aksk", apps.App()), **signed(when=when))
    assert refusal(answer, 401, "signature_expired") == (
        f"calc aksk signature fail:signature expired, signature time:{signing.format_date(when)},"
        "server time:20240601T120000Z"
    )


def test_the_window_can_be_set(alone):
    filtered = alone("aksk", apps.App(), clock_window="10")
    assert put(filtered, **signed(when=NOW - 10)).code == 200
    assert put(filtered, **signed(when=NOW - 11)).reason == "signature_expired"


def test_a_repeated_request_passes(alone):
    """Two equal calls in one second are signed alike, and so is an SDK's retry."""
    filtered = alone("aksk", apps.App())
    request = signed()
    assert [put(filtered, **request).code for _ in range(3)] == [200] * 3


# Keys


def test_unknown_and_removed_keys(alone, files):
    filtered = alone("aksk", apps.App())
    message = refusal(put(filtered, **signed(access="AKOTHER")), 401, "key_unknown")
    assert message == "Get secretKey failed,ak:AKOTHER,err:ak not exist"
    add(files, "AKOTHER", projects=["p9"])
    assert put(filtered, **signed(access="AKOTHER")).code == 200
    assert key_file.remove(files[0], ACCESS)
    assert put(filtered, **signed()).reason == "key_unknown"


@pytest.mark.parametrize(("expires", "code"), [(NOW, 401), (NOW + 1, 200)])
def test_a_key_expires(alone, files, expires, code):
    add(files, "AKOTHER", expires=expires)
    assert put(alone("aksk", apps.App()), **signed(access="AKOTHER")).code == code


def test_a_temporary_key_needs_its_token(alone, files):
    token = add(files, "AKOTHER", temporary=True).token
    filtered = alone("aksk", apps.App())
    for more, code in (
        ({}, 401),
        ({"x_security_token": token[:-1]}, 401),
        ({"x_security_token": token}, 200),
        ({"x_security_token": token, "unsigned": ("x-security-token",)}, 200),
    ):
        answer = put(filtered, **signed(access="AKOTHER", **more))
        assert answer.code == code
        if code == 401:
            refusal(answer, 401, "security_token_refused")
    answer = put(filtered, **signed(x_security_token=token))
    refusal(answer, 401, "security_token_refused")


def test_a_broken_file_lets_nobody_in_until_it_is_mended(alone, files, caplog):
    filtered = alone("aksk", apps.App())
    good = pathlib.Path(files[0]).read_text()
    pathlib.Path(files[0]).write_text("{")
    assert put(filtered, **signed()).reason == "key_unknown"
    assert "No access key is accepted until this is fixed" in caplog.text
    pathlib.Path(files[0]).write_text(good)
    assert put(filtered, **signed()).code == 200


def test_a_bad_line_shuts_out_nobody_else(alone, files, caplog):
    filtered = alone("aksk", apps.App())
    with open(files[0], "a", encoding="utf-8") as file:
        file.write("# a comment\n{")
    for _ in range(3):
        assert put(filtered, **signed()).code == 200
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    number = pathlib.Path(files[0]).read_text().count("\n") + 1
    assert f"{files[0]} line {number}: " in record.getMessage()


def test_without_its_files_it_does_not_start(alone, tmp_path, files):
    for option, broken in (("key_file", files[1]), ("seal_file", files[0])):
        for path in (broken, str(tmp_path / "none")):
            with pytest.raises(errors.BadConfig) as caught:
                alone("aksk", apps.App(), **{option: path})
            if path != broken:
                assert caught.value.key == f"[aksk] {option}"


def test_reauthentication_uses_the_current_files(alone, files):
    app = apps.App()
    filtered = alone("aksk", app)
    put(filtered, **signed(x_project_id="p2"))
    reauthenticate = app.environs[0][REAUTHENTICATE]
    assert reauthenticate()["HTTP_X_PROJECT_ID"] == "p2"
    key_file.remove(files[0], ACCESS)
    with pytest.raises(errors.KeyUnknown):
        reauthenticate()
    add(files, projects=["p1"], roles=["reader"])
    with pytest.raises(errors.KeyForbidden):
        reauthenticate()
    add(files, "AKOTHER")
    key_file.remove(files[0], ACCESS)
    add(files, roles=["reader"])
    assert reauthenticate()["HTTP_X_ROLES"] == "reader"


# Bodies


@pytest.mark.parametrize("how", apps.ReadFails.HOW)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("sent", [b"bodY", b"body2", b"bod"], ids=["other", "longer", "shorter"])
def test_another_body_than_was_signed_is_refused_at_its_end(alone, sent, chunked, how):
    app = apps.ReadFails(how, 2)
    request = signed(b"body", hashed="real")
    answer = put(alone("aksk", app), sent, chunked=chunked, **request)
    refusal(answer, 401, "signed_body_differs")
    assert app.bodies == []


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_another_body_than_was_signed_without_a_header_is_refused_at_once(alone, chunked):
    app = apps.App()
    answer = put(alone("aksk", app), b"bodY", chunked=chunked, **signed(b"body", hashed=None))
    refusal(answer, 401, "signature_mismatch")
    assert not app.called


def test_a_body_behind_an_empty_hash_is_refused(alone):
    """A body added to a request that was signed without one."""
    for hashed, reason in (
        ("real", "signed_body_differs"),
        (None, "signature_mismatch"),
    ):
        answer = put(alone("aksk", apps.ReadFails("passes", 9)), b"x", **signed(hashed=hashed))
        refusal(answer, 401, reason)
    answer = put(alone("aksk", apps.App()), b"", **signed(b"gone", hashed="real"))
    refusal(answer, 401, "signed_body_differs")


@pytest.mark.parametrize("hashed", ["real", None], ids=str)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_hashed_body_above_the_limit_is_refused(alone, hashed, chunked):
    limit = {"max_signed_body": "100"}
    app = apps.ReadFails("passes", 64)
    request = signed(bytes(101), hashed=hashed)
    stream = servers.Input(bytes(1000), step=50)
    how = {"chunked": True} if chunked else {"length": 101}
    message = refusal(
        put(alone("aksk", app, **limit), stream, **how, **request), 401, "signed_body_too_large"
    )
    assert message == "calc aksk signature fail:body too large"
    assert app.bodies == []
    assert stream.given <= (150 if chunked else 0)
    app = apps.App(apps.by(64))
    filtered = alone("aksk", app, **limit)
    for size, way in ((100, hashed), (1000, signing.UNSIGNED)):
        answer = put(filtered, bytes(size), chunked=chunked, **signed(bytes(size), hashed=way))
        assert answer.code == 200
    assert app.bodies == [bytes(100), bytes(1000)]


def test_the_limit_is_the_vendors(alone):
    stream = servers.Input(b"")
    request = {**signed(b"x", hashed="real"), "HTTP_HOST": "elsewhere"}
    for length, reason in ((LIMIT, "signature_mismatch"), (LIMIT + 1, "signed_body_too_large")):
        answer = put(alone("aksk", apps.App()), stream, length=length, **request)
        assert answer.reason == reason
    assert stream.asked == 0


def test_a_stranger_with_a_long_body_is_not_read(alone):
    stream = servers.Input(bytes(1000))
    request = signed(bytes(1000), hashed=None, access="AKOTHER")
    refusal(put(alone("aksk", apps.App()), stream, length=1000, **request), 401, "key_unknown")
    assert stream.asked == 0


def test_a_cut_body_is_told_from_a_forged_one(alone):
    stream = servers.Input(b"bod")
    request = signed(b"body", hashed=None)
    answer = put(alone("aksk", apps.App()), stream, length=4, **request)
    assert (answer.code, answer.reason) == (400, "body_cut")


def test_each_body_is_counted_by_who_watches_it(alone):
    """A body that was read ahead is tapped like any other."""
    app = apps.App(apps.by(10))
    filtered = alone("aksk", alone("sizelimit", app, image_size_cap="5"))
    answer = put(filtered, b"larger", chunked=True, **signed(b"larger", hashed=None))
    assert answer.reason == "too_large"
