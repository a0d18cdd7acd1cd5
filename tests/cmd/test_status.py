"""`imsgate status upgrade check` on databases of every age."""

import contextlib
import json

import pytest
import sqlalchemy as sa

from imsgate.cmd import main
from imsgate.model import JobState, Status
from imsgate.registry.sql import SqlRegistry
from imsgate.testing.records import image, job
from tests import databases


class Site:
    def __init__(self, directory, capsys):
        self.words = ["--state", str(directory)]
        self._capsys = capsys
        self.url = f"sqlite:///{directory}/imsgate.sqlite"
        self.settings = databases.settings(self.url, directory)

    def upgrade(self):
        assert main.main(["db", "upgrade", *self.words]) == 0
        self._capsys.readouterr()

    def execute(self, statement):
        with contextlib.closing(sa.create_engine(self.url).connect()) as connection:
            connection.execute(sa.text(statement))
            connection.commit()
            connection.engine.dispose()

    def check(self):
        """The exit status, and the details of each check."""
        status = main.main(["status", "upgrade", "check", "--json", *self.words])
        document = json.loads(self._capsys.readouterr().out)
        assert status == max(each["result"] for each in document["checks"])
        return status, {each["check"]: each["details"] for each in document["checks"]}


@pytest.fixture
def site(tmp_path, capsys):
    return Site(tmp_path, capsys)


def test_nothing_is_to_be_done(site):
    site.upgrade()
    assert site.check() == (0, {"Database schema": None, "Unfinished jobs": None})


@pytest.mark.filterwarnings("ignore:the 'ALL' constant:DeprecationWarning")  # oslo.upgradecheck
def test_a_table_for_people(site, capsys):
    site.upgrade()
    assert main.main(["status", "upgrade", "check", *site.words]) == 0
    assert "| Check: Database schema" in capsys.readouterr().out


def test_nothing_is_there_yet(site, tmp_path):
    status, details = site.check()
    assert status == 1
    assert "imsgate db upgrade" in details["Database schema"]
    assert not (tmp_path / "imsgate.sqlite").exists()


@pytest.mark.parametrize(
    ("revision", "expected", "said"),
    [("0010", 1, "is not migrated"), ("9999", 2, "belongs to a newer release")],
)
def test_a_database_of_another_release(site, revision, expected, said):
    site.upgrade()
    site.execute(f"UPDATE alembic_version SET version_num = '{revision}'")
    status, details = site.check()
    assert status == expected
    assert said in details["Database schema"]


def test_a_database_before_there_were_jobs(site):
    site.upgrade()
    site.execute("DROP TABLE jobs")
    assert site.check() == (0, {"Database schema": None, "Unfinished jobs": None})


def test_a_file_that_is_no_database(site, tmp_path):
    (tmp_path / "imsgate.sqlite").write_text("not a database" * 1000)
    status, details = site.check()
    assert status == 2
    assert "cannot be used" in details["Database schema"]


@pytest.mark.parametrize(
    ("image_status", "state", "count"),
    [
        (Status.ACTIVE, JobState.RUNNING, 1),
        (Status.ACTIVE, JobState.INIT, 1),
        (Status.ACTIVE, JobState.SUCCESS, 0),
        (Status.IMPORTING, JobState.RUNNING, 0),
    ],
)
def test_jobs_that_must_end_first(site, image_status, state, count):
    site.upgrade()
    with contextlib.closing(SqlRegistry(site.settings)) as registry:
        record = image(status=image_status)
        registry.add(record)
        registry.add_job(job(record.id, state=state))
    status, details = site.check()
    assert status == count
    assert (details["Unfinished jobs"] or "0").startswith(str(count))
