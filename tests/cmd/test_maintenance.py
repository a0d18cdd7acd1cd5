"""`imsgate maintenance read-only`: what it records, prints and returns."""

import contextlib
import json

import pytest

from imsgate.cmd import main
from imsgate.registry.sql import SqlRegistry
from tests import databases


@pytest.fixture
def command(tmp_path, capsys):
    """Run ``imsgate maintenance read-only``; return its status and its lines."""
    words = ["--state", str(tmp_path)]
    assert main.main(["db", "upgrade", *words]) == 0
    capsys.readouterr()

    def run(*action):
        status = main.main(["maintenance", "read-only", *action, *words])
        return status, capsys.readouterr().out.splitlines()

    return run


def test_on_and_off(command, tmp_path):
    settings = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    with contextlib.closing(SqlRegistry(settings)) as registry:
        assert command("show") == (0, ["All hosts: changes are accepted"])
        status, lines = command("on")
        since = registry.read_only_since()
        read_only = [f"All hosts: read-only since {since:%Y-%m-%dT%H:%M:%SZ}"]
        assert (status, lines) == (0, read_only)
        assert command("on") == (0, read_only)
        assert registry.read_only_since() == since
        assert command("show") == (1, read_only)
        assert command("off") == (0, ["All hosts: changes are accepted"])
        assert command("off") == (0, ["All hosts: changes are accepted"])
        assert registry.read_only_since() is None


def test_the_file_of_this_host(command, tmp_path):
    file = tmp_path / "read-only"
    file.touch()
    expected = ["All hosts: changes are accepted", f"This host: read-only, because {file} exists"]
    assert command("show") == (1, expected)
    assert command("off") == (0, expected)


def test_for_programs(command, tmp_path):
    status, (line,) = command("show", "--json")
    assert (status, json.loads(line)) == (0, {"all_hosts_since": None, "this_host": False})
    command("on")
    (tmp_path / "read-only").touch()
    status, (line,) = command("show", "--json")
    shown = json.loads(line)
    assert (status, shown["this_host"]) == (1, True)
    assert shown["all_hosts_since"].endswith("Z")


def test_a_database_without_tables(tmp_path, capsys):
    assert main.main(["maintenance", "read-only", "on", "--state", str(tmp_path)]) == 2
    assert "imsgate db upgrade" in capsys.readouterr().err
