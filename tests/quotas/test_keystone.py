"""Keystone's limits where they cannot be had; where they can: functional/test_keystone.py."""

import types

import pytest

from imsgate import config, errors
from imsgate.quotas import quota
from imsgate.telemetry import trace_context
from tests.functional.gateway import HOST, free_port

limit = pytest.importorskip("oslo_limit.limit")
requests = pytest.importorskip("requests")
Session = pytest.importorskip("keystoneauth1.session").Session

ASKS = "[DEFAULT]\nuse_keystone_limits = true\n"
PASSWORD = "[oslo_limit]\nauth_type = password\nusername = u\npassword = p\nsystem_scope = all\n"


@pytest.fixture
def load(tmp_path):
    """The quotas of a configuration."""

    def begin(text):
        file = tmp_path / "imsgate.conf"
        file.write_text(text)
        return quota.load(config.Config([str(file)]))

    yield begin
    limit.CONF.reset()
    limit.CONF.clear_default("timeout", group="oslo_limit")


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("", "[oslo_limit] auth_type"),
        (PASSWORD, "[oslo_limit] endpoint_id"),
    ],
)
def test_what_cannot_work_refuses_to_start(load, more, key):
    with pytest.raises(errors.BadConfig) as refusal:
        load(ASKS + more)
    assert refusal.value.key == key


@pytest.mark.parametrize("auth_url", [f"http://{HOST}:{free_port()}/v3", ""], ids=["away", "none"])
def test_without_keystone_nothing_is_let_in(load, auth_url):
    quotas = load(f"{ASKS}{PASSWORD}endpoint_service_type = image\nauth_url = {auth_url}\n")
    with pytest.raises(errors.Unavailable) as refusal:
        quotas.of("p")
    assert refusal.value.status == 503
    assert quotas.of(None) is None


def test_requests_for_limits_pass_the_trace_on(load, monkeypatch):
    trace = trace_context.received(None, None)
    sent = []

    class Answers(requests.adapters.BaseAdapter):
        def send(self, request, **_):
            sent.append(request.headers.get("traceparent"))
            response = requests.Response()
            response.status_code = 200
            return response

        def close(self):
            pass

    class Enforcer:
        """Sends a request as the library does: it cannot be had without a Keystone."""

        def __init__(self, _):
            transport = requests.Session()
            transport.mount("http://", Answers())
            self.connection = types.SimpleNamespace(session=Session(session=transport))

        def get_project_limits(self, _, names):
            self.connection.session.get("http://keystone/v3/limits", authenticated=False)
            return dict.fromkeys(names, 1)

    quotas = load(f"{ASKS}{PASSWORD}endpoint_service_type = image\nauth_url = http://keystone\n")
    monkeypatch.setattr(limit, "Enforcer", Enforcer)
    trace_context.enter(trace)
    try:
        quotas.of("p")
    finally:
        trace_context.enter(None)
    assert sent == [trace.headers["traceparent"]]


def test_limits_of_the_configuration_need_no_keystone(load):
    limits = load("[quota]\nimage_size_total = 2\nimage_count_total = 0\n").of("p")
    assert limits.maximum == {"image_size_total": 2 << 20, "image_count_total": 0}
