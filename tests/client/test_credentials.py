"""Credentials of every kind."""

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


def test_a_token_and_an_endpoint(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = credentials.find(Options(token="t", endpoint="http://h:1/v2"), KEY)
    request = found(types.SimpleNamespace(headers={}))
    assert (found.endpoint, request.headers["X-Auth-Token"]) == ("http://h:1", "t")
    assert not found.renew()


def test_a_token_without_an_endpoint():
    with pytest.raises(NotAllowed, match="--os-token also needs --os-endpoint"):
        credentials.find(Options(token="t"), {})
