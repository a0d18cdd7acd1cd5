"""proxy: scheme, host and address as a reverse proxy tells them, where it is believed."""

import pytest

from imsgate.errors import BadConfig
from imsgate.filters import proxy
from imsgate.testing import FilterContract, apps, servers

ON = {"enable_proxy_headers_parsing": "true"}
TOLD = {
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "images.example",
    "HTTP_X_FORWARDED_FOR": "192.0.2.7",
}


class TestProxy(FilterContract):
    @pytest.fixture
    def factory(self):
        return proxy.filter_factory

    def settings(self):
        return ON


def seen(tmp_path, entries, file="", **local_conf):
    """What stands behind the filter: an address as it is shown, and the client's."""
    name = tmp_path / "imsgate.conf"
    name.write_text(file)
    app = apps.App()
    made = proxy.filter_factory({"config_file": str(name)}, **local_conf)(app)
    environ = servers.environ(**{"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "inside", **entries})
    servers.serve(made, environ)
    (found,) = app.environs
    return f"{found['wsgi.url_scheme']}://{found['HTTP_HOST']}", found["REMOTE_ADDR"]


UNTOLD = ("http://inside", "127.0.0.1")
BELIEVED = ("https://images.example", "192.0.2.7")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (TOLD, BELIEVED),
        ({"HTTP_FORWARDED": "for=192.0.2.7;proto=https;host=images.example"}, BELIEVED),
        ({}, UNTOLD),
    ],
    ids=["X-Forwarded", "Forwarded", "nothing"],
)
@pytest.mark.parametrize("where", ["file", "paste"])
def test_a_proxy_is_believed_where_it_is_asked_for(tmp_path, entries, expected, where):
    file = "[oslo_middleware]\nenable_proxy_headers_parsing = true\n"
    if where == "file":
        assert seen(tmp_path, entries, file) == expected
    else:
        assert seen(tmp_path, entries, **ON) == expected


def test_anybody_could_say_so(tmp_path):
    assert seen(tmp_path, TOLD) == UNTOLD


def test_it_is_not_there_when_it_does_nothing(tmp_path):
    app = apps.App()
    assert proxy.filter_factory({"state_path": str(tmp_path)})(app) is app


@pytest.mark.parametrize("wrong", [{"enable_proxy_headers_parsing": "some"}, {"enable": "true"}])
def test_wrong_settings_are_named(tmp_path, wrong):
    with pytest.raises(BadConfig, match=r"oslo_middleware\.enable"):
        proxy.filter_factory({"state_path": str(tmp_path)}, **wrong)
