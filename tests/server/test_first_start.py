"""The first start of ``imsgate serve``: what it refuses, and its announcement."""

import sys

import pytest

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.server import first_start, pastefile


def test_a_flavor_whose_extra_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keystoneauth1", None)
    monkeypatch.delitem(sys.modules, "imsgate.filters.authtoken", raising=False)
    (tmp_path / "conf").write_text("[paste_deploy]\nflavor = keystone\n")
    global_conf = {"config_file": str(tmp_path / "conf"), "state_path": str(tmp_path / "state")}
    conf = config.load(global_conf)
    with pytest.raises(BadConfig, match=r"imsgate\[keystone\]") as caught:
        first_start.prepare(conf, pastefile.loaded_parts(pastefile.uri(conf, None), global_conf))
    assert caught.value.key == "[paste_deploy] flavor"


@pytest.mark.parametrize(
    ("bind", "announced"), [("127.0.0.1:9", True), ("unix:/run/x", False)], ids=["tcp", "unix"]
)
def test_commands_for_a_first_upload_are_announced(tmp_path, capsys, bind, announced):
    (tmp_path / "admin-token").touch()
    first_start.announce(bind, str(tmp_path))
    output = capsys.readouterr()
    assert output.out == ""
    assert ("imsgate serves http://127.0.0.1:9 " in output.err) is announced
    assert (f"OS_TOKEN=$(cat {tmp_path}/admin-token)" in output.err) is announced


@pytest.mark.parametrize("page", [True, False])
def test_the_page_is_announced_if_it_is_served(tmp_path, capsys, page):
    (tmp_path / "admin-token").touch()
    first_start.announce("127.0.0.1:9", str(tmp_path), page=page)
    assert ("open http://127.0.0.1:9/ui/ in a browser" in capsys.readouterr().err) is page


def test_nothing_is_announced_without_an_admin_token(tmp_path, capsys):
    first_start.announce("127.0.0.1:9", str(tmp_path))
    assert capsys.readouterr().err == ""


PASTE = """
[pipeline:api]
pipeline = tokens gate
[composite:composite]
use = egg:imsgate#paths
/ = api
[filter:tokens]
use = egg:imsgate#tokens
[app:gate]
use = egg:imsgate#gate
[app:gate-by-factory]
paste.app_factory = imsgate.app:app_factory
[filter-app:gate-behind-a-filter]
use = egg:imsgate#tokens
next = gate
[app:another]
paste.app_factory = oslo_middleware:Healthcheck.app_factory
[pipeline:sniff-alone]
pipeline = tokens another
"""


@pytest.mark.parametrize(
    ("app", "is_gate"),
    [
        ("api", True),
        ("composite", True),
        ("gate-by-factory", True),
        ("gate-behind-a-filter", True),
        ("another", False),
        ("sniff-alone", False),
    ],
)
def test_only_the_gate_gets_a_database(tmp_path, app, is_gate):
    (tmp_path / "paste.ini").write_text(PASTE)
    global_conf = {"state_path": str(tmp_path / "state")}
    parts = pastefile.loaded_parts(f"config:{tmp_path}/paste.ini#{app}", global_conf)
    first_start.prepare(config.load(global_conf), parts)
    assert (tmp_path / "state" / "imsgate.sqlite").exists() is is_gate
