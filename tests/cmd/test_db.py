"""`imsgate db`: an upgrade where nothing is yet, and what it says."""

import contextlib
import json
import re
import stat

import pytest
from alembic import command

from imsgate.cmd import main
from imsgate.config import Config
from imsgate.errors import NotFound
from imsgate.model import JobState, Status
from imsgate.registry.sql import SqlRegistry, migrations, purge
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.testing.records import START, image, job
from tests import databases

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


@pytest.fixture
def deleted(database, capsys, tmp_path):
    """A database with an image that was deleted long ago; its registry, and its id."""
    database(capsys, "upgrade")
    record = image(status=Status.DELETED, tags=frozenset({"a", "b"}))
    settings = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    with contextlib.closing(SqlRegistry(settings)) as registry:
        registry.add(record)
        registry.add_job(job(record.id, state=JobState.SUCCESS, end_at=START))
        yield registry, record.id


def test_purge(database, capsys, deleted):
    registry, image_id = deleted
    for words, expected in (
        (["--age", "36500"], "0 rows were removed"),
        (
            ["--age", "30", "--images", "--dry-run"],
            "4 rows would be removed: jobs 1, tags 2, images 1",
        ),
        (["--age", "30", "--max-rows", "2"], "2 rows were removed: jobs 1, tags 1"),
        (["--age", "0.5"], "1 rows were removed: tags 1"),
        (["--age", "30"], "0 rows were removed"),
    ):
        assert database(capsys, "purge", *words) == (0, [expected])
        assert registry.recall(image_id)
    images = (0, ["1 rows were removed: images 1"])
    assert database(capsys, "purge", "--age", "30", "--images") == images
    with pytest.raises(NotFound):
        registry.recall(image_id)


def test_purge_that_is_interrupted(database, capsys, deleted, tmp_path, monkeypatch):
    remove = purge._remove

    def fail_second(opened, step, size):
        if step.name != "jobs":
            (tmp_path / "imsgate.sqlite").write_bytes(b"damaged" * 1000)
        return remove(opened, step, size)

    monkeypatch.setattr(purge, "_remove", fail_second)
    assert database(capsys, "purge", "--age", "30") == (1, ["1 rows were removed: jobs 1"])


@pytest.mark.parametrize("age", ["0", "-1", "x", "inf", "nan"])
def test_an_age_that_is_invalid(database, capsys, age):
    with pytest.raises(SystemExit) as ended:
        database(capsys, "purge", "--age", age)
    assert ended.value.code == 2
    assert "not a number of days" in capsys.readouterr().err


def test_purge_without_tables(database, capsys, tmp_path):
    assert database(capsys, "purge", "--age", "1") == (2, [])
    assert not list(tmp_path.iterdir())
