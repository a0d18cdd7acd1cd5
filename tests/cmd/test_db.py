"""`imsgate db`: an upgrade where nothing is yet, and what it says."""

import contextlib
import json
import re
import stat

import pytest
from alembic import command

from imsgate.cmd import main
from imsgate.config import Config
from imsgate.registry import migrations
from imsgate.registry.database import Database, DatabaseSettings

NEWEST = migrations.revisions()[-1]


def test_a_first_upgrade_makes_the_state_directory(tmp_path):
    state = tmp_path / "new" / "state"
    assert main.main(["db", "upgrade", "--state", str(state)]) == 0
    assert (state / "imsgate.sqlite").exists()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_a_state_directory_that_is_a_file_is_named(tmp_path, capsys):
    (tmp_path / "state").touch()
    assert main.main(["db", "upgrade", "--state", str(tmp_path / "state")]) == 2
    assert f"[DEFAULT] state_path: {tmp_path}/state" in capsys.readouterr().err


def test_a_file_that_cannot_be_made_is_named(tmp_path, capsys):
    file, conf = tmp_path / "nowhere" / "db.sqlite", tmp_path / "imsgate.conf"
    conf.write_text(f"[database]\nconnection = sqlite:///{file}\n")
    words = ["--state", str(tmp_path), "--config-file", str(conf)]
    assert main.main(["db", "upgrade", *words]) == 2
    assert f"{file}: unable to open" in capsys.readouterr().err


@pytest.fixture
def database(tmp_path):
    """Run ``imsgate db``; return its status and its lines."""

    def run(capsys, *words):
        status = main.main(["db", *words, "--state", str(tmp_path)])
        return status, capsys.readouterr().out.splitlines()

    return run


def test_an_upgrade_says_from_where_to_where(database, capsys, tmp_path):
    behind = migrations.revisions()[-2]
    opened = Database(Config([], state_path=str(tmp_path)).read(DatabaseSettings))
    with contextlib.closing(opened), opened.migrating() as connection:
        settings = migrations.config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, behind)
    assert database(capsys, "version") == (
        1,
        [
            f"database: {behind}, needed: {NEWEST}",
            "The database is not migrated: run 'imsgate db upgrade'.",
        ],
    )
    upgraded = [f"The database was upgraded from revision {behind} to {NEWEST}."]
    assert database(capsys, "upgrade") == (0, upgraded)
    current = [f"The database is up to date: revision {NEWEST}."]
    assert database(capsys, "upgrade") == (0, current)


def test_the_version_of_a_database(database, capsys, tmp_path):
    status, (line, hint) = database(capsys, "version")
    assert (status, line) == (1, f"database: no tables, needed: {NEWEST}")
    assert "imsgate db upgrade" in hint
    assert not list(tmp_path.iterdir())
    assert database(capsys, "upgrade") == (0, [f"The tables were created: revision {NEWEST}."])
    assert database(capsys, "version") == (0, [f"database: {NEWEST}, needed: {NEWEST}"])
    status, (line,) = database(capsys, "version", "--json")
    assert (status, json.loads(line)) == (0, {"revision": NEWEST, "needed": NEWEST})


def test_the_version_of_imsgate(capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"imsgate \d+\.\d+\S*\n", capsys.readouterr().out)
