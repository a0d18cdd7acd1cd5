"""authtoken: a section that cannot work refuses to start. What it does is in tests/functional."""

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
