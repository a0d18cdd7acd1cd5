"""audit: the shipped map names what the Image API's paths are, and the body stays untouched."""

import json
import logging
import pathlib
import warnings

import pytest

from imsgate.errors import BadConfig
from imsgate.testing import apps
from tests.filters.alone import FILE, IMAGE, put

with warnings.catch_warnings():
    # Where oslo.messaging is installed, it is imported too, and that warns of itself.
    warnings.simplefilter("ignore")
    import imsgate.filters.audit  # noqa: F401

MAP = pathlib.Path(__file__).parent.parent.parent / "etc" / "imsgate_audit_map.conf"
UUID = "5f8a2ee8-0f6b-4b54-a0a5-7c6b1f6a3c11"
ENDPOINTS = {"region": "r", "publicURL": "http://image", "adminURL": "", "internalURL": ""}
AUTHENTICATED = {
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": UUID,
    "HTTP_X_USER_NAME": "user",
    "HTTP_X_PROJECT_ID": UUID,
    "HTTP_X_ROLES": "member",
    "HTTP_X_AUTH_TOKEN": "secret-token",
    "HTTP_X_SERVICE_CATALOG": json.dumps(
        [{"type": "image", "name": "imsgate", "endpoints": [{**ENDPOINTS, "id": UUID}]}]
    ),
}


@pytest.mark.parametrize(
    ("method", "path", "action", "kind"),
    [
        ("PUT", FILE, "update", "images/image/file"),
        ("GET", IMAGE, "read", "images/image"),
        ("GET", "/v2/images", "read/list", "images"),
        ("POST", f"{IMAGE}/actions/deactivate", "update/deactivate", "images/image/actions/deact"),
        ("POST", f"{IMAGE}/members", "create", "images/image/members"),
        ("DELETE", f"{IMAGE}/members/p2", "delete", "images/image/members/member"),
    ],
)
def test_every_request_and_every_answer_is_an_event(alone, caplog, method, path, action, kind):
    log = logging.getLogger("keystonemiddleware.audit")
    caplog.set_level(logging.WARNING, "keystonemiddleware")  # as oslo.log does by default
    caplog.set_level(logging.NOTSET, log.name)
    app = apps.App()
    audited = alone("audit", app, audit_map_file=str(MAP), use_oslo_messaging="false")
    answer = put(audited, b"data", REQUEST_METHOD=method, PATH_INFO=path, **AUTHENTICATED)
    assert answer.code == 200
    events = [line for line in caplog.messages if "audit.http." in line]
    assert ["audit.http.request" in line for line in events] == [True, False]
    assert log.level == logging.INFO
    assert "'reasonCode': '200'" in events[1]
    for event in events:
        assert f"'action': '{action}'" in event
        assert f"service/storage/image/{kind}" in event
        assert "secret-token" not in event


def test_events_that_the_configuration_hides_stay_hidden(alone, caplog):
    caplog.set_level(logging.WARNING, "keystonemiddleware.audit")
    audited = alone("audit", apps.App(), audit_map_file=str(MAP), use_oslo_messaging="false")
    assert put(audited, b"data", PATH_INFO=FILE, **AUTHENTICATED).code == 200
    assert caplog.messages == []


def test_a_map_that_is_missing_refuses_to_start(alone):
    with pytest.raises(BadConfig, match="audit_map_file"):
        alone("audit", apps.App(), audit_map_file="/nowhere", use_oslo_messaging="false")


def test_a_start_warns_of_nothing_but_what_is_unknown(alone, caplog):
    more = {"audit_map_file": str(MAP), "ignore_req_list": "GET", "use_oslo_messaging": "false"}
    alone("audit", apps.App(), **more)
    assert caplog.messages == []
    alone("audit", apps.App(), **more, nosuch="1")
    assert caplog.messages == ['The option "nosuch" is not known to keystonemiddleware']
