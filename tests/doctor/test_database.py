"""The database: its revision, and its clock."""

import contextlib
import sqlite3
import time

import pytest

from imsgate.doctor import database
from imsgate.registry.sql.database import Database, DatabaseSettings
from tests.doctor.conftest import wrong


def of(findings):
    return [(each.check, str(each.severity)) for each in findings]


def test_a_current_database(examine):
    assert of(examine("", "database")) == [("database.revision", "ok")]


def test_a_newer_database(examine, place):
    examine("", "database")
    with contextlib.closing(sqlite3.connect(place / "state" / "imsgate.sqlite")) as opened:
        opened.execute("UPDATE alembic_version SET version_num = '9999'")
        opened.commit()
    (finding,) = examine("", "database", tables=False)
    assert wrong([finding]) == [("database.revision", "error")]
    assert "revision 9999" in finding.message


def test_a_file_that_is_not_a_database(examine, place):
    (place / "state").mkdir()
    (place / "state" / "imsgate.sqlite").write_bytes(b"x" * 4096)
    assert wrong(examine("", "database", tables=False)) == [("database.connection", "error")]


def test_a_database_that_is_not_there_yet_is_not_created(examine, place):
    (finding,) = examine("", "database", tables=False)
    assert of([finding]) == [("database.revision", "skipped")]
    assert list((place / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "ahead", "severity"),
    [
        ("postgresql", 0, "ok"),
        ("postgresql", 3600, "warning"),
        ("postgresql", -3600, "warning"),
        ("mariadb", 0, "ok"),
        ("mariadb", 3600, "warning"),
    ],
)
def test_the_clock_of_a_server(request, name, ahead, severity):
    settings = DatabaseSettings.of(request.getfixturevalue(name))
    with contextlib.closing(Database(settings)) as opened:
        finding = database.clock(opened, lambda: time.time() + ahead)
    assert (finding.check, finding.severity) == ("database.clock", severity), finding.message


def test_tables_on_a_server_are_not_migrated_by_a_start(install, postgresql_server):
    url = postgresql_server.create()
    findings = list(database.check(install(f"[database]\nconnection = {url}\n", tables=False)))
    assert of(findings) == [("database.revision", "error"), ("database.clock", "ok")]
    assert "imsgate db upgrade" in findings[0].advice
