"""The WSGI edge: requests, answers, and other applications called."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.errors import BadImage, Error
from imsgate.http import body, responses, wsgi
from imsgate.http.request import IDENTITY, INSPECTION, REQUEST_ID, Request
from imsgate.model import Identity
from imsgate.testing import apps, servers

# Requests


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", "/v2/images/x/file", True),
        ("PUT", "/v2/images/x/file/", True),
        ("PUT", "/v2/images/x/stage", True),
        ("PUT", "/v2/images/\xff/file", True),
        ("POST", "/v2/images/x/file", False),
        ("GET", "/v2/images/x/file", False),
        ("PUT", "/v2/images/x", False),
        ("PUT", "/v2/images//file", False),
        ("PUT", "/v2/images/x/y/file", False),
        ("PUT", "/v2/images/x/files", False),
        ("PUT", "/v2/images/x/file//", True),
        ("PUT", "/v2.17/images/x/file", True),
        ("PUT", "//v2/images/x//file", True),
        ("PUT", "", False),
    ],
)
def test_which_requests_carry_an_image(method, path, expected):
    request = Request(servers.environ(REQUEST_METHOD=method, PATH_INFO=path))
    assert request.carries_image is expected


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("/a", "/a"),
        ("/caf\xc3\xa9", "/caf\u00e9"),
        ("/\xff", "/\ufffd"),
        (None, ""),
        ("//", "/"),
        ("//versions", "/versions"),
        ("//v2/images", "/v2/images"),
        ("///v2.17///images//", "/v2/images/"),
        ("/v2.0", "/v2"),
        ("/v2.5/images/x/file", "/v2/images/x/file"),
        ("/v2.14/images", "/v2/images"),
        ("/v2.5/v2.5/images", "/v2/v2.5/images"),
        ("/x/v2.5/images", "/x/v2.5/images"),
        ("/v2.5x/images", "/v2.5x/images"),
        ("/v2.\xd9\xa5/images", "/v2.\u0665/images"),
        ("/v2./images", "/v2./images"),
        ("/v1.5/images", "/v1.5/images"),
        ("/v2.1/cloudimages", "/v2.1/cloudimages"),
        ("/v2.1//cloudimages/action", "/v2.1/cloudimages/action"),
        ("/v2.1/cloudimagesx", "/v2/cloudimagesx"),
    ],
)
def test_a_route_is_text_whatever_came(raw, text):
    environ = servers.environ()
    environ.pop("PATH_INFO")
    if raw is not None:
        environ["PATH_INFO"] = raw
    assert Request(environ).route == text


def test_what_filters_leave_is_found_by_name():
    request = Request(servers.environ())
    assert (request.identity, request.request_id, request.inspection) == (None, None, None)
    who = Identity(user_id="u")
    request.environ |= {IDENTITY: who, REQUEST_ID: "req-1", INSPECTION: "i"}
    assert (request.identity, request.request_id, request.inspection) == (who, "req-1", "i")


def test_the_store_that_a_request_names():
    assert Request(servers.environ()).store_id is None
    assert Request(servers.environ(HTTP_X_IMAGE_META_STORE="fast")).store_id == "fast"
    with pytest.raises(errors.BadHeader):
        _ = Request(servers.environ(HTTP_X_IMAGE_META_STORE="../fast")).store_id


def test_there_is_one_wrapper_however_many_ask():
    environ = servers.environ(b"body")
    first, second = Request(environ), Request(environ)
    assert first.tapped() is None
    wrapper = first.reader()
    assert isinstance(wrapper, body.Tapped)
    assert first.reader() is second.reader() is second.tapped() is wrapper
    assert environ["wsgi.input"] is wrapper


@pytest.mark.parametrize(
    ("entries", "length"),
    [
        pytest.param({"CONTENT_LENGTH": "4"}, 4, id="length"),
        pytest.param({"CONTENT_LENGTH": None}, 0, id="none"),
        pytest.param({"CONTENT_LENGTH": ""}, 0, id="empty"),
        pytest.param(
            {"CONTENT_LENGTH": None, "wsgi.input_terminated": True}, None, id="terminated"
        ),
        pytest.param(
            {
                "CONTENT_LENGTH": None,
                "HTTP_TRANSFER_ENCODING": "chunked",
                "wsgi.input_terminated": True,
            },
            None,
            id="chunked",
        ),
    ],
)
def test_how_long_a_body_is(entries, length):
    assert Request(servers.environ(b"body", **entries)).reader().length == length


def test_a_body_without_an_end_is_refused():
    entries = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}
    with pytest.raises(errors.LengthRequired):
        Request(servers.environ(b"body", **entries)).reader()


# Refusals


def every_error(kind=Error):
    for sub in kind.__subclasses__():
        yield sub
        yield from every_error(sub)


BY_DETAIL = {BadImage: {"check": "<x>", "offset": 1, "problem": "<x>", "hint": "<x>"}}
ERRORS = sorted(set(every_error()), key=lambda kind: kind.__name__)


def made(kind):
    asked = (name for _, name, *_ in string.Formatter().parse(kind.message) if name)
    details = BY_DETAIL[BadImage] if issubclass(kind, BadImage) else dict.fromkeys(asked, "<x>")
    if issubclass(kind, errors.Coded):
        return kind("IMG.0017", **details)
    if kind is errors.Unavailable or issubclass(kind, errors.Unavailable):
        return kind(retry_after=7, **details)
    return kind(**details)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("accept", [None, "", "*/*", "text/html", "application/json", "image/png"])
def test_every_error_is_rendered(kind, accept):
    answer = servers.serve(responses.refusal(made(kind)), servers.environ(HTTP_ACCEPT=accept))
    assert (answer.code, answer.reason) == (kind.status, kind.reason)
    assert answer.header("Content-Length") == str(len(answer.body))
    if issubclass(kind, errors.Unavailable):
        assert answer.header("Retry-After") == "7"
    if kind.gateway_code:
        told = json.loads(answer.body)
        assert (told["error_code"], told["error_msg"]) == (kind.gateway_code, str(made(kind)))
        assert answer.header("Content-Type").startswith("application/json")
    elif kind.problem_type:
        _check_problem(answer, made(kind))
    elif accept == "application/json":
        told = json.loads(answer.body)
        assert told["reason"] == kind.reason
        assert told["message"] == str(made(kind))
        assert told["code"].startswith(str(kind.status))
    elif accept != "image/png":
        assert answer.header("Content-Type").startswith("text/html")
        assert b"<x>" not in answer.body


def _check_problem(answer, error):
    """RFC 9457, and the reason as in the other formats."""
    assert answer.header("Content-Type").startswith("application/problem+json")
    told = json.loads(answer.body)
    assert told["type"] == error.problem_type
    assert (told["status"], told["detail"]) == (error.status, str(error))
    assert told["reason"] == answer.reason == error.reason
    assert "<x>" not in told["title"]


def test_no_two_errors_share_a_reason_by_chance():
    shared = {}
    for kind in ERRORS:
        shared.setdefault(kind.reason, set()).add(kind.status)
    assert all(len(statuses) == 1 for statuses in shared.values())


IMS = [
    "/v1/cloudimages",
    "/v1/cloudimages/x/upload",
    "/v2/cloudimages",
    "/v2.1/cloudimages/action",
    "/v1/p/jobs/x",
    "/v2/p/images/x/tags",
]
GLANCE = [
    "/",
    "/v1",
    "/v1/images",
    "/v2/images",
    "/v2/images/x/file",
    "/v2/cloudimagesx",
    "/v2/tasks",
]


@pytest.mark.parametrize("path", [*IMS, *GLANCE])
def test_the_path_decides_the_dialect(path):
    entries = {"PATH_INFO": path, REQUEST_ID: "req-1"}
    answer = servers.serve(
        responses.refusal(errors.NotFound(what="It")), servers.environ(**entries)
    )
    assert answer.code == 404
    if path in GLANCE:
        assert b"<h1>404" in answer.body
    else:
        told = {"reason": "not_found", "what": "It", "code": "IMG.0027"}
        assert json.loads(answer.body)["error"] == {**told, "message": "It could not be found"}
        assert answer.header("X-Request-Id") == "req-1"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_signed_requests_get_the_vendors_codes(kind):
    entries = {"PATH_INFO": "/v2/images/x/file", "HTTP_X_SDK_DATE": "x"}
    error = made(kind)
    answer = servers.serve(responses.refusal(error), servers.environ(**entries))
    if kind.problem_type:
        assert answer.code == kind.status
        _check_problem(answer, error)
        return
    listed = kind.status in (401, 403, 404, 405, 409, 429) or kind.status >= 500
    assert answer.code == (kind.status if listed else 400)
    told = json.loads(answer.body)
    if kind is errors.Unauthenticated:
        assert told["error_code"] == "APIGW.0301"
    elif code := error.gateway_code or (error.code.startswith("APIGW.") and error.code):
        assert (told["error_code"], told["error_msg"]) == (code, str(error))
    else:
        # The status words of the message are Glance's.
        own = "Image <x> cannot be used in its present state"
        message = own if kind is errors.WrongStatus else str(error)
        assert (told["error"]["code"], told["error"]["message"]) == (error.code, message)


@pytest.mark.parametrize(
    ("token", "why"), [(None, "x-auth-token not found"), ("t", "decrypt token fail")]
)
def test_an_unauthenticated_request_gets_the_words_of_the_vendors_gateway(token, why):
    entries = {"PATH_INFO": "/v2/cloudimages", "HTTP_X_AUTH_TOKEN": token}
    answer = servers.serve(responses.refusal(errors.Unauthenticated()), servers.environ(**entries))
    told = json.loads(answer.body)
    assert (answer.code, told["error_code"]) == (401, "APIGW.0301")
    assert told["error_msg"] == f"Incorrect IAM authentication information: {why}"


@pytest.mark.parametrize("path", ["/v2/images", "/v2/cloudimages"])
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_refusal_may_quote_anything(accept, path):
    error = errors.BadRequest(problem="\ud800 \0 <b> ${detail} %s {x} \u2603")
    environ = servers.environ(HTTP_ACCEPT=accept, PATH_INFO=path)
    answer = servers.serve(responses.refusal(error), environ)
    assert answer.code == 400
    if path == "/v2/cloudimages":
        return
    assert b"<b>" not in answer.body or accept != "*/*"


def test_the_page_is_what_glances_clients_cut_apart():
    answer = servers.serve(responses.refusal(errors.NotFound(what="Image x")), servers.environ())
    assert b"<h1>404 Not Found</h1>" in answer.body
    assert b"Image x could not be found<br /><br />" in answer.body


def test_json_answers():
    response = responses.json_response({"name": "caf\u00e9"}, 201, X_Any="y")
    assert (response.status_int, response.json) == (201, {"name": "caf\u00e9"})
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Any"] == "y"


def _json(numbers):
    scalars = st.none() | st.booleans() | numbers | st.text()
    return st.recursive(scalars, lambda some: st.lists(some) | st.dictionaries(st.text(), some))


@given(_json(st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_json_answers_say_what_they_were_given(value):
    assert responses.json_response(value).json == value


@pytest.mark.parametrize("number", [1 << 63, 1 << 64, -(1 << 63) - 1, 10**40])
def test_json_answers_say_numbers_of_any_size(number):
    assert responses.json_response({"input": [number]}).json == {"input": [number]}


# Applications that are called


@pytest.mark.parametrize("kind", [apps.App, apps.Late, apps.Writes])
def test_an_application_is_called(kind):
    app = kind()
    status, headers, answer = wsgi.call(app, servers.environ())
    assert (status, headers) == (app.status, app.headers)
    assert b"".join(answer) == b"".join(app.chunks)
    answer.close()
    assert app.answers[0].closed == 1


def test_an_answer_that_has_begun_is_the_applications_own():
    app = apps.App()
    assert wsgi.call(app, servers.environ())[2] is app.answers[0]


@pytest.mark.parametrize("kind", [apps.Fails, apps.LateFails])
def test_an_answer_that_fails_at_once_is_closed(kind):
    app = kind(apps.Oops())
    with pytest.raises(apps.Oops):
        wsgi.call(app, servers.environ())
    assert all(answer.closed == 1 for answer in app.answers)


def test_an_application_that_never_starts_is_named():
    with pytest.raises(AssertionError, match="never started"):
        wsgi.call(lambda environ, start_response: [], servers.environ())


def test_an_answer_without_close_needs_none():
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"a")
        return [b"b"]

    _, _, answer = wsgi.call(app, servers.environ())
    assert list(answer) == [b"a", b"b"]
    answer.close()


def test_what_was_written_cannot_be_taken_back():
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"a")
        try:
            raise apps.Oops
        except apps.Oops as error:
            start_response("500 Oops", [], (apps.Oops, error, error.__traceback__))
        return []

    with pytest.raises(apps.Oops):
        wsgi.call(app, servers.environ())


# Starting anew


@pytest.mark.parametrize("started", [False, True])
def test_exc_info_is_given_only_with_need(started):
    """uWSGI fails where nothing was started before."""
    given = []
    start = wsgi.Start(lambda status, headers, *exc_info: given.append((status, *exc_info)))
    if started:
        start("200 OK", [])
    try:
        raise apps.Oops
    except apps.Oops as error:
        start.anew("500 Oops", [])
        expected = ("500 Oops", (apps.Oops, error, error.__traceback__))
    assert given[-1] == (expected if started else ("500 Oops",))


def test_an_application_may_give_exc_info_itself():
    given = []
    start = wsgi.Start(lambda status, headers, *exc_info: given.append(exc_info))
    start("500 Oops", [], None)
    start("500 Oops", [], "exc_info")
    assert given == [(None,), ("exc_info",)]
