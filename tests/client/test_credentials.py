"""Credentials of every kind."""

import json
import os
import types

import pytest
import requests

from imsgate.auth import aksk
from imsgate.client import credentials
from imsgate.client.credentials import AccessKey, Options
from imsgate.client.failures import NotAllowed

KEY = {"HUAWEICLOUD_SDK_AK": "access", "HUAWEICLOUD_SDK_SK": "secret"}


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("http://h:9292", "http://h:9292"),
        ("http://h:9292/", "http://h:9292"),
        ("http://h:9292/v2", "http://h:9292"),
        ("http://h/image/v2/", "http://h/image"),
        ("http://h/image/v2.7", "http://h/image"),
        ("http://h/v20", "http://h/v20"),
    ],
)
def test_endpoints_lose_their_version(endpoint, base):
    assert credentials.base_url(endpoint) == base


@pytest.mark.parametrize(
    "url", ["/v2/images/x%20y/file", "/v2/images?name=in:%22a%20b%22&limit=2", "/"]
)
@pytest.mark.parametrize("fields", [{}, {"token": "t", "project": "p"}])
def test_signatures_are_those_that_the_server_expects(url, fields):
    signer = AccessKey("http://h:9292", "access", "secret", **fields)
    request = signer(requests.Request("GET", f"http://h:9292{url}").prepare())
    header = aksk.parse(request.headers["Authorization"])
    path, _, query = url.partition("?")
    message = aksk.Message(
        method="GET",
        path=path.replace("%20", " ").encode(),
        query=query,
        headers=tuple((name, request.headers[name]) for name in header.headers),
        payload=aksk.UNSIGNED,
        declared=True,
        empty=True,
    )
    aksk.verify(header, "secret", request.headers["X-Sdk-Date"], message)
    assert request.headers.get("X-Security-Token") == fields.get("token")
    assert {"host", "x-sdk-date"} <= set(header.headers)
    assert not signer.renew()


def test_an_access_key_of_the_environment():
    found = credentials.find(Options(), {**KEY, "OS_ENDPOINT": "http://h/v2"})
    assert isinstance(found, AccessKey)
    assert (found.endpoint, found.verify) == ("http://h", True)


@pytest.mark.parametrize(
    "environ",
    [KEY, {"HUAWEICLOUD_SDK_AK": "access", "OS_ENDPOINT": "http://h"}],
)
def test_an_access_key_that_is_not_complete(environ):
    with pytest.raises(NotAllowed, match=r"HUAWEICLOUD_SDK_SK .* --os-endpoint"):
        credentials.find(Options(), environ)


SERVED = {"OS_AUTH_TYPE": "admin_token", "OS_TOKEN": "served", "OS_ENDPOINT": "http://h:1/v2"}


@pytest.mark.parametrize(
    ("options", "environ", "token"),
    [
        (Options(token="t", endpoint="http://h:1/v2"), KEY, "t"),
        (Options(token="t"), {"OS_ENDPOINT": "http://h:1"}, "t"),
        (Options(), SERVED, "served"),
        (Options(token="t"), SERVED, "t"),
        (Options(endpoint="http://h:1"), {**SERVED, "OS_ENDPOINT": "http://h:2"}, "served"),
    ],
)
def test_a_token_and_an_endpoint(options, environ, token):
    found = credentials.find(options, environ)
    request = found(types.SimpleNamespace(headers={}))
    assert (found.endpoint, request.headers) == ("http://h:1", {"X-Auth-Token": token})
    assert (found.verify, found.renew()) == (True, False)


@pytest.mark.parametrize(
    ("options", "environ"),
    [(Options(token="t"), {}), (Options(), {**SERVED, "OS_ENDPOINT": ""})],
)
def test_a_token_without_an_endpoint(options, environ):
    with pytest.raises(NotAllowed, match="a token also needs --os-endpoint"):
        credentials.find(options, environ)


@pytest.fixture
def clouds(monkeypatch, tmp_path):
    """A clouds.yaml, and nothing else that names credentials."""
    for name in list(os.environ):
        if name.startswith("OS_"):
            monkeypatch.delenv(name)
    cloud = {"auth_type": "admin_token", "auth": {"token": "c", "endpoint": "http://c/v2"}}
    override = {**cloud, "image_endpoint_override": "http://o/image/v2", "verify": False}
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"plain": cloud, "override": override}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))


@pytest.mark.usefixtures("clouds")
@pytest.mark.parametrize(
    ("options", "environ", "endpoint", "verify"),
    [
        (Options(cloud="plain"), KEY, "http://c", True),
        (Options(cloud="plain"), SERVED, "http://c", True),
        (Options(cloud="override"), {}, "http://o/image", False),
        (Options(cloud="plain", endpoint="http://e/v2"), {}, "http://e", True),
        (Options(), {**SERVED, "OS_CLOUD": "plain"}, "http://c", True),
    ],
)
def test_clouds_yaml(monkeypatch, options, environ, endpoint, verify):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = credentials.find(options, os.environ)
    request = found(types.SimpleNamespace(headers={}))
    assert (found.endpoint, found.verify) == (endpoint, verify)
    assert request.headers["X-Auth-Token"] == "c"


@pytest.mark.usefixtures("clouds")
@pytest.mark.parametrize("options", [Options(), Options(cloud="unheard-of")])
def test_no_credentials(options):
    with pytest.raises(NotAllowed, match=r"no usable credentials: .* Use --cloud"):
        credentials.find(options, {})
