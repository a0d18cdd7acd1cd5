"""``imsgate config check``: what would keep the server from starting, all of it at once."""

import os
import sqlite3
import threading

import pytest

from imsgate.cmd import main
from tests.functional.gateway import INI, ROOT

STORES = "[DEFAULT]\nenabled_backends = a:file, b:file\n[glance_store]\ndefault_backend = a\n"
FRONT = "[paste_deploy]\nflavor = front\n"


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Check this configuration; return the exit status, the output, and the lines of problems."""
    monkeypatch.setattr("imsgate.config.Config.set_up_log", lambda self: None)

    def run(text="", *more, paste=None):
        conf, ini = tmp_path / "imsgate.conf", tmp_path / "paste.ini"
        conf.write_text(text.replace("{tmp}", str(tmp_path)))
        shipped = INI.read_text().replace("%(here)s", str(ROOT / "etc"))
        for old, new in (paste or {}).items():
            assert old in shipped
            shipped = shipped.replace(old, new)
        ini.write_text(shipped)
        state = ["--config-file", str(conf), "--state", str(tmp_path / "state")]
        status = main.main(["config", "check", str(ini), *state, *more])
        said = capsys.readouterr()
        return status, said.out, said.err.splitlines()

    return run


VALID = "The server would start with this configuration.\n"


def test_before_the_first_start(check, tmp_path):
    """Nothing is created but the state directory and what the store and the metrics create."""
    assert check() == (0, VALID, [])
    assert sorted(os.listdir(tmp_path / "state")) == ["images", "metrics"]
    assert not os.listdir(tmp_path / "state" / "images")


def test_what_the_server_migrates_is_no_problem(check, tmp_path):
    (tmp_path / "state").mkdir()
    sqlite3.connect(tmp_path / "state" / "imsgate.sqlite").close()
    assert check() == (0, VALID, [])


def test_what_has_no_effect_is_a_warning(check):
    status, out, (line,) = check("[snif]\naccept_qcow = false\n")
    assert (status, out) == (0, VALID)
    assert line.startswith("imsgate: warning: ")
    assert line.endswith("[snif] has no effect")


def test_a_section_that_this_pipeline_does_not_read_may_be_wrong(check):
    """The server would start, too."""
    status, out, _ = check("[aksk]\nclock_window = soon\n[forward]\nconnections = many\n")
    assert (status, out) == (0, VALID)


def test_the_application_for_other_services(check):
    status, _, (line,) = check(FRONT)
    assert (status, "[forward] upstream" in line) == (2, True)


def test_the_application_for_other_services_with_its_options(check):
    assert check(f"{FRONT}[forward]\nupstream = http://127.0.0.1:1\n")[:2] == (0, VALID)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        pytest.param("[sniff]\nmax_ratio = -1\n", ["[sniff] max_ratio"], id="filter"),
        pytest.param("[sniff]\naccept_luks = so\n", ["[sniff] accept_luks"], id="flag"),
        pytest.param("[api]\nlimit_param_default = x\n", ["[api] limit_param_default"], id="api"),
        pytest.param("[jobs]\nengine = steam\n", ["[jobs] engine"], id="engine"),
        pytest.param("[registry]\ndriver = paper\n", ["[registry] driver"], id="registry"),
        pytest.param("[upload]\nspool_store = b\n", ["[upload] spool_store"], id="named-store"),
        pytest.param("[DEFAULT]\nenabled_backends =\n", ["[DEFAULT] enabled_backends"], id="none"),
        pytest.param(
            f"{STORES}[a]\nfilesystem_store_datadir = /proc/a\n"
            "[b]\nfilesystem_store_datadir = /proc/b\n",
            ["[a] filesystem_store_datadir", "[b] filesystem_store_datadir"],
            id="stores",
        ),
        pytest.param(
            f"{STORES}[a]\nfilesystem_store_datadir = {{tmp}}/a\n"
            "[b]\nfilesystem_store_datadir = {tmp}/a\n",
            ["[b]"],
            id="twins",
        ),
        pytest.param(
            "[database]\nconnection = postgresql+psycopg://me:hush@127.0.0.1:1/images\n"
            "[jobs]\nengine = steam\n[upload]\nlease = long\n"
            "[DEFAULT]\nenabled_backends = file:paper\n",
            [
                "[upload] lease",
                "[jobs] engine",
                "[database] connection",
                "[DEFAULT] enabled_backends",
            ],
            id="everywhere",
        ),
    ],
)
def test_each_problem_is_named(check, text, keys):
    status, out, lines = check(text)
    assert (status, out) == (2, "")
    assert [line.removeprefix("imsgate: ").split(": ")[0] for line in lines] == keys
    assert "hush" not in "".join(lines)


@pytest.mark.parametrize(
    ("paste", "key"),
    [
        ({"egg:imsgate#pace": "egg:imsgate#pace\nidle_time = 5"}, "pace.idle_time"),
        ({"egg:imsgate#pace": "egg:imsgate#space"}, "paste.ini"),
    ],
    ids=["option", "filter"],
)
def test_a_problem_of_the_paste_file_is_named(check, paste, key):
    status, _, lines = check(paste=paste)
    assert status == 2
    assert key in lines[0]


def test_a_file_that_cannot_be_parsed(check):
    status, _, (line,) = check("no section\n")
    assert (status, line.startswith("imsgate: config_file: ")) == (2, True)


def test_a_state_directory_that_is_a_file(check, tmp_path):
    (tmp_path / "state").touch()
    status, _, lines = check()
    assert status == 2
    assert lines[0].startswith("imsgate: [DEFAULT] state_path: ")


def test_more_threads_than_open_files(check):
    status, _, (line,) = check("", "--threads", "99999999")
    assert (status, line.startswith("imsgate: --threads: ")) == (2, True)


SPOOL = (
    FRONT
    + "[forward]\nupstream = http://127.0.0.1:9\nspool_store = a\nspool_seal_file = {tmp}/seal\n"
    + STORES
    + "[a]\nfilesystem_store_datadir = {tmp}/a\n[b]\nfilesystem_store_datadir = {tmp}/b\n"
)
KEYS = "[aksk] seal_file"  # `imsgate key add` was not run
BRIDGE = """
[paste_deploy]
flavor = bridge
[forward]
upstream = http://127.0.0.1:9
access_key = key
secret_key = secret
[bridge]
project_id = project
"""


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (SPOOL, []),
        (SPOOL.replace("spool_store = a", "spool_store = c"), ["[forward] spool_store"]),
        (BRIDGE.replace("secret_key = secret", ""), [KEYS, "[forward] secret_key"]),
        (BRIDGE, [KEYS, "[glance_store] default_backend"]),
    ],
)
def test_applications_that_work_in_the_background(check, text, problems):
    """They are checked, but not started."""
    before = set(threading.enumerate())
    status, _, lines = check(text)
    assert status == (2 if problems else 0)
    assert len(lines) == len(problems), lines
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"imsgate: {problem}")
    assert set(threading.enumerate()) == before
