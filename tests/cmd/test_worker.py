"""``imsgate worker``: which jobs it runs, as the Paste file and the flavor say."""

import pytest

from imsgate.bridge.records import BridgedAccess
from imsgate.cmd import main, worker
from imsgate.config import load
from imsgate.errors import BadConfig
from imsgate.jobs import methods
from imsgate.jobs.engine import Engine
from imsgate.jobs.settings import JobSettings
from imsgate.registry.memory import MemoryRegistry
from imsgate.server import pastefile
from imsgate.services import Services
from imsgate.spool import job
from imsgate.spool.services import Spool
from tests.functional.gateway import INI

BASE = """
[registry]
driver = memory
[DEFAULT]
enabled_backends = spool:memory
[paste_deploy]
flavor = {flavor}
"""
UPSTREAM = "[forward]\nupstream = http://127.0.0.1:1\n"
KEY = "access_key = a\nsecret_key = s\n[bridge]\nproject_id = p\n"


@pytest.fixture
def loaded(tmp_path):
    """The services of a worker with this flavor, further configuration and Paste file."""

    def loaded(flavor, more="", paste=None):
        conf = tmp_path / "imsgate.conf"
        conf.write_text(BASE.format(flavor=flavor) + more)
        global_conf = {"config_file": str(conf), "state_path": str(tmp_path)}
        made = load(global_conf)
        return worker.load(made, pastefile.uri(made, paste), global_conf)

    return loaded


@pytest.mark.parametrize("more", ["", UPSTREAM], ids=["alone", "with an unused upstream"])
@pytest.mark.parametrize("flavor", ["main", "aksk"])
def test_a_gateway(loaded, flavor, more):
    parts = loaded(flavor, more)
    assert isinstance(parts, Services)
    assert not isinstance(parts.access, BridgedAccess)
    assert methods.IMPORT in parts.engine._kinds


def test_a_bridge_refuses_what_its_server_refuses(loaded):
    with pytest.raises(BadConfig) as refused:
        loaded("bridge", UPSTREAM + KEY)
    assert refused.value.key == "[glance_store] default_backend"  # IMS cannot read this store


@pytest.mark.parametrize("credentials", ["", "access_key = a\nsecret_key = s\n"])
def test_a_front_with_a_spool(loaded, credentials):
    parts = loaded("front", f"{UPSTREAM}spool_store = spool\n{credentials}")
    assert isinstance(parts, Spool)
    assert list(parts.engine._kinds) == [job.KIND]


def test_keys_of_the_paste_file_count(loaded, tmp_path):
    text = INI.read_text().replace(
        "egg:imsgate#forward\n", "egg:imsgate#forward\nspool_store = spool\n"
    )
    paste = tmp_path / "paste.ini"
    paste.write_text(text)
    assert isinstance(loaded("front", UPSTREAM, str(paste)), Spool)


def test_a_front_without_a_spool_has_no_jobs(loaded):
    with pytest.raises(BadConfig, match="run `imsgate serve` without a worker") as refused:
        loaded("front", UPSTREAM)
    assert refused.value.key == "[forward] spool_store"


def test_slow_imports_of_one_project_leave_threads_for_others_by_default():
    threads = main.parser().parse_args(["worker"]).threads
    shares = Engine(MemoryRegistry(), {}, JobSettings())._shares(threads)
    assert shares.per_project < shares.per_kind < threads


def test_the_command_says_it_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("imsgate.config.Config.set_up_log", lambda self: None)
    monkeypatch.setattr("imsgate.cmd.worker.begin_configured", lambda conf: None)
    monkeypatch.setattr("signal.pthread_sigmask", lambda *each: None)
    conf = tmp_path / "imsgate.conf"
    conf.write_text(BASE.format(flavor="front") + UPSTREAM)
    place = ["--config-file", str(conf), "--state", str(tmp_path)]
    assert main.main(["worker", str(INI), *place]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "[forward] spool_store" in line
