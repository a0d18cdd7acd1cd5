"""authtoken: a section that cannot work refuses to start. What it does is in tests/functional."""

import logging
import socket
import sys
import types

import pytest

from imsgate.auth import keystone
from imsgate.errors import BadConfig
from imsgate.telemetry.dependencies import Dependency
from imsgate.testing import apps
from tests.filters.alone import put

KEYSTONE = {"auth_type": "password", "auth_url": "http://127.0.0.1:1/v3", "username": "imsgate"}
MEMCACHED = {**KEYSTONE, "memcached_servers": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("module", "options", "package"),
    [
        ("memcache", {}, "python-memcached"),
        ("memcache", {"memcache_use_advanced_pool": "false"}, "python-memcached"),
        ("bmemcached", {"memcache_sasl_enabled": "true"}, "python-binary-memcached"),
        ("bmemcached", {"memcache_tls_enabled": "true"}, "python-binary-memcached"),
    ],
    ids=["as documented", "the simple pool", "SASL", "TLS"],
)
def test_memcached_without_its_library_refuses_to_start(
    alone, monkeypatch, module, options, package
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadConfig) as caught:
        alone("authtoken", apps.App(), **MEMCACHED, **options)
    assert caught.value.key == "[keystone_authtoken] memcached_servers"
    assert package in str(caught.value)


def test_keystone_that_does_not_respond_is_one_error(alone, caplog, monkeypatch):
    """keystonemiddleware would log a CRITICAL for each request."""
    caplog.set_level("INFO")
    monkeypatch.setattr(keystone, "KEYSTONE", Dependency("Keystone", keystone.LOG))
    account = {**KEYSTONE, "password": "hush", "user_domain_id": "default"}
    app = alone("authtoken", apps.App(), **account)
    for _ in range(2):
        answer = put(app, HTTP_X_AUTH_TOKEN="very-secret-token")
        assert (answer.code, answer.reason) == (503, "unavailable")
    (line,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert "Failed to discover" not in caplog.text
    assert line.getMessage().startswith("Keystone fails: Unable to establish connection to ")
    assert "very-secret-token" not in caplog.text
    app._identity_server = types.SimpleNamespace(verify_token=lambda *args, **more: {})
    keystone._observe(app._identity_server)
    app._identity_server.verify_token("token")
    assert caplog.records[-1].getMessage() == "Keystone works again after 0 s"


def test_without_memcached_nothing_is_needed(alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "memcache", None)
    assert alone("authtoken", apps.App(), **KEYSTONE)


@pytest.fixture(params=["tcp", "unix"])
def listener(request, tmp_path):
    if request.param == "unix":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "memcached"))
            listener.listen()
            yield listener, f"unix:{tmp_path}/memcached"
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield listener, f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_memcached_that_does_not_answer_is_reported(alone, caplog, listener):
    listener, server = listener
    options = {**KEYSTONE, "memcached_servers": server}
    alone("authtoken", apps.App(), **options)
    assert "memcached" not in caplog.text
    listener.close()
    alone("authtoken", apps.App(), **options)
    (record,) = [record for record in caplog.records if "memcached_servers" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert server in record.getMessage()


@pytest.mark.parametrize(
    ("servers", "options", "warns"),
    [
        ("127.0.0.1:1,localhost:1,inet6:[::1]:1", {}, False),
        ("unix:/nowhere", {}, False),
        ("127.0.0.1:1,cache.internal:1", {}, True),
        ("inet6:[2001:db8::1]:1", {}, True),
        ("[::1:1", {}, True),
        ("cache.internal", {"memcache_security_strategy": "none"}, True),
        (
            "cache.internal",
            {"memcache_security_strategy": "MAC", "memcache_secret_key": "x"},
            False,
        ),
        (
            "cache.internal",
            {"memcache_security_strategy": "encrypt", "memcache_secret_key": "x"},
            False,
        ),
    ],
)
def test_a_cache_that_others_can_write_to_is_reported_once(
    alone, caplog, monkeypatch, servers, options, warns
):
    monkeypatch.setattr(keystone, "_connect", lambda server: socket.socket())
    alone("authtoken", apps.App(), **KEYSTONE, memcached_servers=servers, **options)
    lines = [each for each in caplog.records if "memcache_secret_key" in each.getMessage()]
    assert len(lines) == warns
    assert all(each.levelname == "WARNING" for each in lines)
