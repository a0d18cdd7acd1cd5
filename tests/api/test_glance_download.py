"""Requests for ``glance-download``: what is refused at once, and what is left to the job."""

import html
import json

import pytest
import webob

from imsgate.errors import BadConfig
from imsgate.http.request import IDENTITY, SEALED_CREDENTIAL
from tests.api.conftest import starting
from tests.api.stack import MEMBER, Stack

ID = "36d4b546-64a2-4bb9-bdd0-ba676aa48f2c"
ENABLED = "[DEFAULT]\nenabled_import_methods = [web-download,glance-download]\n"
KEYSTONE = """
[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:9/v3
username = svc
password = secret
"""
METHOD = {"name": "glance-download", "glance_region": "RegionTwo", "glance_image_id": ID}
CATALOG = json.dumps(
    [{"type": "image", "endpoints": [{"region": "RegionTwo", "publicURL": "http://two"}]}]
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return starting(tmp_path_factory.mktemp("keystone"))(config=ENABLED + KEYSTONE)


def begin(stack, path, method, sealed="sealed", **more):
    request = webob.Request.blank(f"{path}/import", method="POST", **more)
    request.json = {"method": {name: text for name, text in method.items() if text is not None}}
    request.environ |= {IDENTITY: MEMBER, "HTTP_X_SERVICE_CATALOG": CATALOG}
    request.environ[SEALED_CREDENTIAL] = lambda: sealed
    return request.get_response(stack.gate)


NEEDED = "needs to be set for glance-download import method"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glance_region": None}, f"'glance_region' {NEEDED}"),
        ({"glance_image_id": None}, f"'glance_image_id' {NEEDED}"),
        ({"glance_image_id": "foo"}, "Remote image id does not look like a UUID: foo"),
        ({"glance_image_id": f"{ID}/x"}, "does not look like a UUID"),
        ({"glance_image_id": f"../{ID}"}, "does not look like a UUID"),
        ({"glance_region": ""}, "glance_region"),
    ],
)
def test_refused(stack, changes, message):
    path = stack.create()
    answer = begin(stack, path, {**METHOD, **changes})
    assert answer.status_int == 400
    assert message in html.unescape(answer.text)
    assert stack.call(MEMBER, "GET", path).json["status"] == "queued"


def test_a_user_whose_token_cannot_be_passed_on(stack):
    answer = begin(stack, stack.create(), METHOD, sealed=None)
    assert answer.status_int == 400
    assert "needs a token of Keystone" in answer.text


def test_the_image_must_be_queued(stack):
    path = stack.create()
    assert stack.call(MEMBER, "PUT", f"{path}/file", b"data").status_int == 204
    assert begin(stack, path, METHOD).status_int == 409


@pytest.mark.parametrize("interface", [None, "internal"])
@pytest.mark.parametrize("region", ["RegionTwo", "not a region"])
def test_accepted(stack, region, interface):
    """As in Glance, a region that the catalog does not have is left to the job."""
    path = stack.create()
    changes = {"glance_region": region, "glance_service_interface": interface}
    assert begin(stack, path, {**METHOD, **changes}).status_int == 202
    [task] = stack.call(MEMBER, "GET", f"{path}/tasks").json["tasks"]
    shown = {**METHOD, **changes, "glance_service_interface": interface or "public"}
    assert task["input"]["import_req"] == {"method": shown}
    assert "http://two" not in json.dumps(task)


def test_it_is_enabled_by_choice(stack, start):
    enabled = stack.call(MEMBER, "GET", "/v2/info/import").json["import-methods"]["value"]
    assert enabled == ["web-download", "glance-download"]
    plain = start()
    enabled = plain.call(MEMBER, "GET", "/v2/info/import").json["import-methods"]["value"]
    assert enabled == ["glance-direct", "web-download", "copy-image"]
    answer = begin(plain, plain.create(), METHOD)
    assert answer.status_int == 400
    assert "not enabled" in answer.text


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("", "needs Keystone: .*auth_type"),
        (KEYSTONE.replace("password = secret\n", ""), "with a password or a secret"),
    ],
)
def test_it_needs_keystone(start, config, problem):
    with pytest.raises(BadConfig, match=rf"\[DEFAULT\] enabled_import_methods: .*{problem}"):
        start(config=ENABLED + config)
