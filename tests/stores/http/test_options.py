"""Options that cannot work are refused, by name and without their values."""

import pytest

from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.stores.http.store import HttpStore

PATH = "/etc/not-there.pem"
URL = "https://nexus.example.org/repository/images"

BAD = {
    "no URL": ({"url": None}, "url", "must be set"),
    "empty": ({"url": ""}, "url", "must be set"),
    "scheme": ({"url": "ftp://x/y"}, "url", "http or https URL"),
    "no host": ({"url": "https:///y"}, "url", "http or https URL"),
    "port": ({"url": "https://x:99999/y"}, "url", "http or https URL"),
    "space": ({"url": "https://x/a b"}, "url", "percent-encoded"),
    "line end": ({"url": "https://x/a\nb"}, "url", "percent-encoded"),
    "credentials": ({"url": "https://u:secret@x/y"}, "url", "must not contain credentials"),
    "query": ({"url": "https://x/y?a=b"}, "url", "query"),
    "two kinds": ({"user": "u", "password": "secret", "token": "secret"}, "token", "beside"),
    "no password": ({"user": "u"}, "password", "must be set beside http_store_user"),
    "no user": ({"password": "secret"}, "user", "must be set beside http_store_password"),
    "colon": ({"user": "u:v", "password": "secret"}, "user", "colon"),
    "token": ({"token": "secret\r\nX: y"}, "token", "ASCII"),
    "CA file": ({"ca_file": PATH}, "ca_file", "readable"),
    "no CA": ({"ca_file": __file__}, "ca_file", "no CA certificates"),
    "certificate": ({"cert_file": __file__}, "cert_file", "no certificate"),
    "key alone": ({"key_file": __file__}, "cert_file", "beside http_store_key_file"),
}


@pytest.mark.parametrize(("changed", "option", "problem"), BAD.values(), ids=BAD)
def test_what_cannot_work_is_refused(changed, option, problem):
    values = {opt.dest: opt.default for opt in HttpStore.OPTS} | {"http_store_url": URL}
    values |= {f"http_store_{name}": value for name, value in changed.items()}
    with pytest.raises(BadConfig, match=problem) as caught:
        HttpStore("web", Section(**values))
    assert f"[web] http_store_{option}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert PATH not in str(caught.value)
