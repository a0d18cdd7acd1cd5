"""authtoken: a section that cannot work refuses to start. What it does is in tests/functional."""

import socket
import sys

import pytest

from imsgate.errors import BadConfig
from imsgate.testing import apps

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
