"""faults: request ids, forged identities, bugs, and the access log."""

import io
import json
import logging
import re

import pytest
from oslo_context import context

from imsgate import errors
from imsgate.filters import faults
from imsgate.http import request, responses
from imsgate.model import Identity
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import put

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
GLOBAL = "req-0b4b9b5e-4b0f-4d0e-9d2f-0a5a3c1f2e3d"


class TestFaults(FilterContract):
    adds = frozenset({"x-openstack-request-id"})
    answers_failures = True

    @pytest.fixture
    def factory(self):
        return faults.filter_factory


@pytest.fixture
def lines(caplog):
    """The access log."""
    caplog.set_level(logging.INFO, "imsgate.faults")
    return lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]


# Request ids


def test_every_answer_has_the_id_that_the_application_saw(alone):
    app = apps.App()
    answer = put(alone("faults", app))
    found = answer.header("X-Openstack-Request-Id")
    assert REQUEST_ID.fullmatch(found)
    environ = app.environs[0]
    assert environ[request.REQUEST_ID] == environ["openstack.request_id"] == found


def test_every_request_has_an_id_of_its_own(alone):
    filtered = alone("faults", apps.App())
    assert len({put(filtered).header("X-Openstack-Request-Id") for _ in range(10)}) == 10


@pytest.mark.parametrize(
    ("inbound", "kept"),
    [
        pytest.param(GLOBAL, True, id="well-formed"),
        pytest.param(GLOBAL.upper(), False, id="capitals"),
        pytest.param(GLOBAL[4:], False, id="bare-uuid"),
        pytest.param(GLOBAL + "0", False, id="longer"),
        pytest.param(GLOBAL + "\n", False, id="line"),
        pytest.param("req-1", False, id="short"),
        pytest.param("", False, id="empty"),
    ],
)
def test_an_inbound_global_id_is_kept_when_it_is_one(alone, inbound, kept):
    app = apps.App()
    answer = put(alone("faults", app), HTTP_X_OPENSTACK_REQUEST_ID=inbound)
    assert answer.header("X-Openstack-Request-Id") != inbound
    assert app.environs[0].get("openstack.global_request_id") == (GLOBAL if kept else None)


def test_an_id_the_application_gives_is_replaced(alone):
    app = apps.App(headers=[*apps.TEXT, ("x-openstack-request-id", "req-its-own")])
    answer = put(alone("faults", app))
    names = [name.lower() for name, _ in answer.headers]
    assert names.count("x-openstack-request-id") == 1
    assert REQUEST_ID.fullmatch(answer.header("X-Openstack-Request-Id"))


# Forged identities

FORGED = """
    X-Identity-Status X-Service-Identity-Status X-Roles X-Role X-Service-Roles X-User X-User-Id
    X-User-Name X-Service-User-Id X-Service-User-Name X-User-Domain-Id X-User-Domain-Name
    X-Service-User-Domain-Id X-Service-User-Domain-Name X-Project-Id X-Project-Name
    X-Service-Project-Id X-Service-Project-Name X-Project-Domain-Id X-Project-Domain-Name
    X-Service-Project-Domain-Id X-Service-Project-Domain-Name X-Tenant X-Tenant-Id X-Tenant-Name
    X-Domain-Id X-Domain-Name X-Service-Domain-Id X-Service-Domain-Name X-Is-Admin-Project
    X-Service-Catalog X-Catalog X-Trust-Id X-Token-Info
    X-Service-Token-Info OpenStack-System-Scope X-System-Scope Remote-User
""".split()


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_identity_is_taken_away(alone, name):
    app = apps.App()
    # X-Roles and X_Roles have one name in WSGI.
    forged = "HTTP_" + name.upper().replace("-", "_")
    put(alone("faults", app), **{forged: "admin"})
    assert forged not in app.environs[0]


def test_remote_user_is_taken_away(alone):
    app = apps.App()
    put(alone("faults", app), REMOTE_USER="root")
    assert "REMOTE_USER" not in app.environs[0]


@pytest.mark.parametrize(
    "name",
    [
        "HTTP_X_AUTH_TOKEN",
        "HTTP_X_SERVICE_TOKEN",
        "HTTP_X_IMAGE_META_STORE",
        "HTTP_X_FORWARDED_FOR",
        "HTTP_X_USER_AGENT",
        "HTTP_X_ROLESX",
        "HTTP_X_OPENSTACK_IMAGE_SIZE",
    ],
)
def test_other_headers_stay(alone, name):
    app = apps.App()
    put(alone("faults", app), **{name: "kept"})
    assert app.environs[0][name] == "kept"


# Bugs


@pytest.mark.parametrize("app", [apps.Fails, apps.LateFails], ids=["at-once", "late"])
def test_a_bug_is_a_500_with_the_id_and_nothing_else(alone, caplog, app):
    answer = put(alone("faults", app(apps.Oops("secret of the house"))))
    found = answer.header("X-Openstack-Request-Id")
    assert answer.code == 500
    assert answer.header("X-Request-Id") == found
    assert answer.body.decode() == f"The server failed unexpectedly. Request id: {found}\n"
    assert answer.header("Content-Type").startswith("text/plain")
    assert "Traceback" in caplog.text
    assert "secret of the house" in caplog.text


@pytest.mark.parametrize(
    "environ",
    [{"PATH_INFO": "/v2/cloudimages"}, {"HTTP_X_SDK_DATE": "20240601T120000Z"}],
    ids=["path", "signed"],
)
@pytest.mark.parametrize("app", [apps.Fails, apps.LateFails], ids=["at-once", "late"])
def test_a_bug_as_clients_of_the_other_service_see_it(alone, caplog, app, environ):
    answer = put(alone("faults", app(apps.Oops("secret of the house"))), **environ)
    told = json.loads(answer.body)["error"]
    assert (answer.code, told["code"], answer.reason) == (500, "IMG.0061", "internal_error")
    assert answer.header("X-Request-Id") == answer.header("X-Openstack-Request-Id")
    assert b"secret" not in answer.body
    assert "secret of the house" in caplog.text


@pytest.mark.parametrize("app", [apps.Fails, apps.LateFails], ids=["at-once", "late"])
def test_an_error_that_is_meant_is_rendered(alone, caplog, app):
    answer = put(alone("faults", app(errors.StoreDenied(store="fast", problem="no"))))
    assert (answer.code, answer.reason) == (503, "store_denied")
    assert answer.header("Retry-After") == "30"
    assert answer.header("X-Openstack-Request-Id")
    assert "Traceback" not in caplog.text


def test_a_failure_amid_the_answer_ends_it_and_is_logged(alone, caplog, lines):
    filtered = alone("faults", apps.Fails(apps.Oops("late"), after=1))
    exchange = servers.Exchange(filtered, servers.environ())
    with pytest.raises(apps.Oops):
        exchange.chunks()
    assert exchange.answer.body == apps.CHUNKS[0]
    exchange.close()
    assert "Failure while sending the response" in caplog.text
    assert f"status: 200 in: 0 out: {len(apps.CHUNKS[0])} " in lines()[-1]


def test_a_failure_after_the_start_still_becomes_a_500(alone):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        raise apps.Oops

    assert put(alone("faults", app)).code == 500


# The access log

LINE = re.compile(
    r'192\.0\.2\.1 "PUT /v2/images/[^ "]+/file" status: 200 in: \d+ out: 18 time: \d+\.\d{3} '
    "user: - project: - image: - trace: [0-9a-f]{32}"
)


@pytest.mark.parametrize("app", [apps.App, apps.Late], ids=["list", "late"])
def test_a_request_is_logged_once_when_its_answer_is_finished(alone, lines, app):
    filtered = alone("faults", app())
    request = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": "/v2/images/71c675ab-d94f-49cd-a114-e12490b328d9/file",
    }
    with servers.Exchange(filtered, servers.environ(**request)) as exchange:
        exchange.chunks()
        assert lines() == []
    [line] = lines()
    assert LINE.fullmatch(line)


def test_the_bytes_that_came_are_logged(alone, lines):
    app = apps.App(apps.by(100))
    put(alone("faults", alone("sizelimit", app)), bytes(1234))
    assert " in: 1234 out: 18 " in lines()[0]


def test_what_a_client_took_is_logged(alone, lines):
    put(alone("faults", apps.App()), take=1)
    assert f" out: {len(apps.CHUNKS[0])} " in lines()[0]


@pytest.mark.parametrize("name", ["Content-Length", "content-length"])
def test_a_file_the_server_sends_counts_by_its_length(alone, lines, name):
    app = apps.SendsFile(io.BytesIO(b"12345"), headers=[*apps.TEXT, (name, "5")])
    request = servers.environ(**{"wsgi.file_wrapper": servers.FileWrapper})
    answer = servers.serve(alone("faults", app), request, validated=False)
    assert answer.result is app.sent
    assert " out: 5 " in lines()[0]
    assert app.sent.closed == 1


@pytest.mark.parametrize("length", [None, "many"])
def test_a_file_of_unknown_length_is_sent_anyway(alone, lines, length):
    extra = [("Content-Length", length)] if length else []
    app = apps.SendsFile(io.BytesIO(b"12345"), headers=[*apps.TEXT, *extra])
    request = servers.environ(**{"wsgi.file_wrapper": servers.FileWrapper})
    assert servers.serve(alone("faults", app), request, validated=False).body == b"12345"
    assert len(lines()) == 1


def test_a_servers_own_type_is_sent_unchanged(alone, lines):
    class Slotted(servers.FileWrapper):
        __slots__ = ()

        def __setattr__(self, name, value):
            if name == "close":
                raise AttributeError(name)
            super().__setattr__(name, value)

    app = apps.SendsFile(io.BytesIO(b"12345"))
    request = servers.environ(**{"wsgi.file_wrapper": Slotted})
    answer = servers.serve(alone("faults", app), request, validated=False)
    assert answer.result is app.sent
    assert len(lines()) == 1


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({"PATH_INFO": '/a" status: 200\r\nforged'}, id="line-in-path"),
        pytest.param({"QUERY_STRING": "a=\r\nforged"}, id="line-in-query"),
        pytest.param({"QUERY_STRING": 'a=" status: 200 in: 0'}, id="quote-in-query"),
        pytest.param({"QUERY_STRING": "\x1b[31m\x85forged"}, id="terminal"),
        pytest.param({"PATH_INFO": "/\xff\xfe"}, id="not-utf-8"),
        pytest.param({"PATH_INFO": "/%s%d%(a)s"}, id="format"),
        pytest.param({"SCRIPT_NAME": "/ima\nges"}, id="line-in-script"),
        pytest.param({"REQUEST_METHOD": "G\r\nET"}, id="line-in-method"),
        pytest.param({"REMOTE_ADDR": "::1\r\nforged"}, id="line-in-address"),
        pytest.param({"REMOTE_ADDR": None}, id="no-address"),
    ],
)
def test_no_request_forges_a_line(alone, lines, entries):
    request = servers.environ(**entries)
    answer = servers.serve(alone("faults", apps.App()), request, validated=False)
    assert answer.code == 200
    [line] = lines()
    assert line.isascii()
    assert line.isprintable()
    assert line.count('"') == 2


def test_a_token_is_never_logged(alone, caplog):
    caplog.set_level(logging.DEBUG)
    put(alone("faults", apps.Fails(apps.Oops())), HTTP_X_AUTH_TOKEN="very-secret-token")
    assert "very-secret-token" not in caplog.text


def test_what_the_log_says_of_a_request(alone, caplog):
    """As text, and as fields for oslo.log's JSON."""
    caplog.set_level(logging.INFO)

    def app(environ, start_response):
        asked = request.Request(environ)
        asked.notes.set_user(Identity(user_id="alice", project_id="demo\nforged"))
        asked.notes.image_id = "71c675ab"
        asked.reader().read()
        error = errors.BadImage(check="backing_file", offset=8, problem="it names\x1b a file")
        return responses.refusal(error)(environ, start_response)

    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer = put(alone("faults", app), b"data", HTTP_TRACEPARENT=traceparent)
    refused, access = caplog.records
    assert refused.levelname == "WARNING"
    assert refused.getMessage() == (
        "Image 71c675ab was refused: backing_file at byte 8: it names\\x1b a file"
    )
    end = (
        "user: alice project: demo%0Aforged image: 71c675ab "
        "reason: image_refused check: backing_file offset: 8 "
        "trace: 4bf92f3577b34da6a3ce929d0e0e4736"
    )
    assert access.getMessage().endswith(end)
    fields = dict(access.extra)
    assert fields.pop("trace") == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert fields.pop("time") >= 0
    assert fields == {
        "client": "192.0.2.1",
        "method": "PUT",
        "target": access.getMessage().split('"')[1].removeprefix("PUT "),
        "status": "415",
        "in": 4,
        "out": len(answer.body),
        "user": "alice",
        "project": "demo%0Aforged",
        "image": "71c675ab",
        "reason": "image_refused",
        "check": "backing_file",
        "offset": 8,
    }
    current = context.get_current()
    assert (current.user_id, current.project_id) == ("alice", "demo\nforged")


def test_a_refusal_that_was_replaced_is_not_logged(alone, lines):
    def app(environ, start_response):
        list(
            responses.refusal(errors.BadImage(check="size", offset=0, problem="x"))(environ, {}.get)
        )
        return responses.refusal(errors.TooLarge(limit=5))(environ, start_response)

    put(alone("faults", app))
    [line] = lines()
    assert "image: - reason: too_large trace: " in line


@pytest.mark.parametrize(
    ("query", "logged"),
    [
        ("limit=2&X-Auth-Token=s3cret&a=b", "limit=2&X-Auth-Token=***&a=b"),
        ("X-Amz-Signature=s3cret", "X-Amz-Signature=***"),
        ("Password=s3cret&client_secret=s3cret", "Password=***&client_secret=***"),
        ("X-Amz-Credential=s3cret&name=token", "X-Amz-Credential=***&name=token"),
    ],
)
def test_credentials_in_a_query_are_masked(alone, lines, query, logged):
    put(alone("faults", apps.App()), QUERY_STRING=query)
    [line] = lines()
    assert f'?{logged}"' in line
