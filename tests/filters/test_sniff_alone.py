"""The sniff filter, alone in front of applications that know nothing of it."""

import io
import json
from wsgiref.util import setup_testing_defaults

import pytest

from imsgate import errors, inspection
from imsgate.filters import sniff
from imsgate.formats.inspector import InspectionPolicy
from imsgate.http.request import INSPECTION
from imsgate.inspection import InspectionSettings
from tests.formats import craft

GOOD = craft.qcow2()
BAD = craft.qcow2(backing=0x200)


def careful(environ, start_response):
    """Reads its body and says how long it was."""
    total = 0
    while chunk := environ["wsgi.input"].read(70_000):
        total += len(chunk)
    start_response("201 Created", [("Content-Type", "text/plain")])
    return [str(total).encode()]


def stubborn(environ, start_response):
    """Says that all is well, whatever happens."""
    try:
        careful(environ, start_response)
    except Exception:
        start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]


def clumsy(environ, start_response):
    """Makes a 500 of its own out of every failure."""
    try:
        return careful(environ, start_response)
    except Exception as error:
        raise RuntimeError("no idea") from error


def wants_qcow2(environ, start_response):
    """Knows what it expects, as an image service does."""
    environ[INSPECTION].declare("qcow2")
    return careful(environ, start_response)


def ask(app, body, path="/v2/images/1/file", method="PUT", headers=(), **settings):
    """Status, answer and the environ the application saw."""
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body))}
    environ |= {"HTTP_ACCEPT": "application/json", "wsgi.input": io.BytesIO(body)}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers}
    setup_testing_defaults(environ)
    seen = []
    answer = sniff.filter_factory({}, **settings)(app)(
        environ, lambda status, headers, exc_info=None: seen.append(status)
    )
    text = b"".join(answer)
    return int(seen[-1][:3]), text, environ


@pytest.mark.parametrize("app", [careful, stubborn, clumsy, wants_qcow2])
def test_a_bad_image_is_refused_whatever_the_application_makes_of_it(app):
    status, text, _ = ask(app, BAD)
    answer = json.loads(text)
    assert status == 415
    assert (answer["reason"], answer["check"], answer["offset"]) == (
        "image_refused",
        "backing_file",
        8,
    )
    assert answer["hint"]


@pytest.mark.parametrize("app", [careful, wants_qcow2])
def test_a_good_image_passes_untouched(app):
    status, text, environ = ask(app, GOOD)
    assert (status, text) == (201, str(len(GOOD)).encode())
    assert environ[INSPECTION].image_info.virtual_size == 10 << 20


def test_the_application_may_declare_the_format():
    status, text, _ = ask(wants_qcow2, bytes(99999))
    assert (status, json.loads(text)["reason"]) == (415, "format_mismatch")


@pytest.mark.parametrize(
    ("header", "settings", "status"),
    [
        pytest.param("raw", {}, 415, id="wrong"),
        pytest.param("qcow2", {}, 201, id="right"),
        pytest.param("raw", {"disk_format_header": ""}, 201, id="not-asked"),
    ],
)
def test_a_client_may_declare_the_format_in_a_header(header, settings, status):
    headers = [("X-Image-Meta-Disk-Format", header)]
    assert ask(careful, GOOD, headers=headers, **settings)[0] == status


@pytest.mark.parametrize(
    ("method", "path", "settings", "status"),
    [
        pytest.param("PUT", "/v2/images/1/stage", {}, 415, id="stage"),
        pytest.param("POST", "/v2/images", {}, 201, id="not-data"),
        pytest.param("POST", "/any", {"requests": "POST /any"}, 415, id="chosen"),
        pytest.param("PUT", "/v2/images/1/file", {"requests": "POST /any"}, 201, id="unchosen"),
    ],
)
def test_only_chosen_requests_are_inspected(method, path, settings, status):
    assert ask(careful, BAD, path, method, **settings)[0] == status


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        pytest.param({"refuse_backing_file": "false"}, 201, id="finding-accepted"),
        pytest.param({"accept_qcow2": "false"}, 415, id="format-refused"),
        pytest.param({"max_virtual_size": "1000"}, 415, id="cap"),
        pytest.param({"max_ratio": "2", "refuse_backing_file": "false"}, 415, id="ratio"),
    ],
)
def test_the_operator_chooses(settings, status):
    assert ask(careful, BAD, **settings)[0] == status


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"refuse_everything": "true"}, id="unknown"),
        pytest.param({"refuse_dirty": "perhaps"}, id="not-boolean"),
        pytest.param({"raw_may_hold": "floppy"}, id="no-format"),
        pytest.param({"requests": "("}, id="no-expression"),
        pytest.param({"max_ratio": "-1"}, id="negative"),
    ],
)
def test_what_cannot_work_refuses_to_start(settings):
    with pytest.raises(errors.BadConfig, match="sniff"):
        sniff.filter_factory({}, **settings)(careful)


def test_equal_settings_share_one_inspector():
    inspector = inspection.shared(InspectionSettings())
    assert inspection.shared(InspectionSettings()) is inspector
    assert inspection.shared(InspectionSettings(max_ratio=3.0)) is not inspector


def test_the_defaults_of_options_and_policy_agree():
    assert inspection.policy(InspectionSettings()) == InspectionPolicy()


def test_each_switch_changes_the_policy():
    defaults = InspectionSettings()
    for name, value in defaults.refuse.items():
        settings = InspectionSettings(refuse={**defaults.refuse, name: not value})
        assert inspection.policy(settings).refuse ^ InspectionPolicy().refuse == {name}
    for name, value in defaults.accept.items():
        settings = InspectionSettings(accept={**defaults.accept, name: not value})
        changed = inspection.policy(settings).formats ^ InspectionPolicy().formats
        assert {each.replace("-", "_") for each in changed} == {name}
