"""What a load balancer reads at /healthcheck: read-only mode, and a host that is drained."""

import contextlib

import pytest
from oslo_config import cfg
from paste.deploy import loadwsgi

from imsgate.testing import servers
from tests.functional.gateway import INI, ROOT

PAGE = ROOT / "doc" / "operators.md"


@pytest.fixture
def ask(tmp_path):
    """Load the health check of a Paste file; return a function that returns its answer."""

    def load(ini):
        conf = tmp_path / "imsgate.conf"
        conf.touch()
        app = loadwsgi.loadapp(
            f"config:{ini}",
            name="healthcheck",
            global_conf={"config_file": str(conf), "state_path": str(tmp_path)},
        )

        def answer(method="GET"):
            request = servers.environ(PATH_INFO="/healthcheck", REQUEST_METHOD=method)
            answer = servers.serve(app, request)
            return answer.code, answer.body.decode()

        return answer

    yield load
    # oslo.middleware keeps the keys of the Paste file in its global configuration.
    for name in ("backends", "disable_by_file_path"):
        with contextlib.suppress(cfg.NoSuchOptError):
            cfg.CONF.clear_override(name, "healthcheck")


def test_a_host_that_is_read_only_stays_available(ask, tmp_path):
    healthcheck = ask(INI)
    assert healthcheck() == (200, "OK")
    (tmp_path / "read-only").touch()
    assert healthcheck() == (200, "READ ONLY")
    (tmp_path / "read-only").unlink()
    assert healthcheck() == (200, "OK")


def test_a_host_that_is_drained(ask, tmp_path):
    """With the lines of the page for operators."""
    drain = tmp_path / "drain"
    begin = "[app:healthcheck]\n"
    page, shipped = PAGE.read_text(), INI.read_text()
    lines = page[page.index(begin) :].partition("```")[0]
    old = shipped[shipped.index(begin) :].partition("\n\n")[0]
    assert "disable_by_file_path = /var/lib/imsgate/drain\n" in lines
    ini = tmp_path / "paste.ini"
    ini.write_text(shipped.replace(old, lines.replace("/var/lib/imsgate/drain", str(drain))))
    healthcheck = ask(ini)
    assert healthcheck()[0] == 200
    drain.touch()
    assert healthcheck()[0] == healthcheck("HEAD")[0] == 503
    assert "DISABLED BY FILE" in healthcheck()[1]
    drain.unlink()
    assert healthcheck()[0] == 200
