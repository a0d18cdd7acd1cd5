"""`imsgate db purge`: which rows go, in which batches, and which stay."""

import contextlib
import dataclasses
import datetime

import pytest
import sqlalchemy as sa

from imsgate import errors
from imsgate.model import JobState, Location, Status, UploadState
from imsgate.registry import sql
from imsgate.registry.sql import purge, schema
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.registry.sql.tables import METADATA
from imsgate.testing.records import START, after, image, job, member, upload

BEFORE = START + datetime.timedelta(days=1)
OLD, NEW = BEFORE.timestamp() - 1, BEFORE.timestamp() + 1
CHILDREN = {"properties": {"a": "1", "b": "2"}, "tags": frozenset({"t"})}
DELETED = {"status": Status.DELETED, **CHILDREN}


@dataclasses.dataclass
class Site:
    registry: sql.SqlRegistry
    database: Database

    def rows(self):
        """The number of rows of each table that has any."""
        with self.database.reading() as connection:
            counts = {
                table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
                for table in METADATA.sorted_tables
            }
        return {name: count for name, count in counts.items() if count}

    def purge(self, **options):
        return list(purge.purge(self.database, BEFORE, **({"images": False} | options)))

    def add_deleted(self, **fields):
        """A deleted image with a job, an upload and a member."""
        record = image(**CHILDREN)
        self.registry.add(record)
        self.registry.add_member(member(record.id, "m"))
        self.registry.add_job(job(record.id, state=JobState.SUCCESS, end_at=START))
        self.registry.add_upload(upload(record.id, expires=OLD))
        self.registry.change(record.id, {}, status=Status.PENDING_DELETE)
        fields = {"updated_at": START, **fields}
        self.registry.change(record.id, {}, status=Status.DELETED, **fields)
        return record.id


@pytest.fixture
def site(unmade):
    schema.upgrade(unmade)
    with (
        contextlib.closing(sql.SqlRegistry(unmade)) as registry,
        contextlib.closing(Database(DatabaseSettings.of(unmade))) as database,
    ):
        yield Site(registry, database)


def test_what_goes_and_what_stays(site, monkeypatch):
    registry = site.registry
    gone = [site.add_deleted() for _ in range(3)]
    counts = {"jobs": 3, "uploads": 3, "members": 3, "properties": 6, "tags": 3}
    assert purge.count(site.database, BEFORE, images=False) == counts
    assert purge.count(site.database, BEFORE, images=True) == {**counts, "images": 3}

    kept = [
        image(**CHILDREN),
        image(status=Status.PENDING_DELETE, **CHILDREN),
        image(updated_at=BEFORE, **DELETED),
        image(upload_expires=OLD, upload_key="k", **DELETED),
        image(locations=(Location("fast", "a"),), **DELETED),
    ]
    for record in kept:
        registry.add(record)
    working, resumed, finishing = image(**DELETED), image(**DELETED), image(**DELETED)
    for record in (working, resumed, finishing):
        registry.add(record)
    jobs = [
        job(working.id),
        job(state=JobState.RUNNING, lease=OLD),
        job(kind="residue"),
        job(state=JobState.FAIL, end_at=BEFORE),
    ]
    for record in jobs:
        registry.add_job(record)
    uploads = [
        upload(resumed.id, expires=NEW),
        upload(finishing.id, expires=OLD, state=UploadState.FINISHING),
    ]
    for record in uploads:
        registry.add_upload(record)
    assert purge.count(site.database, BEFORE, images=True) == {**counts, "images": 3}

    monkeypatch.setattr(purge, "BATCH_ROWS", 2)
    assert site.purge() == [
        ("jobs", 2), ("jobs", 1), ("uploads", 2), ("uploads", 1),
        ("members", 2), ("properties", 2), ("properties", 2), ("tags", 2),
        ("members", 1), ("properties", 2), ("tags", 1),
    ]  # fmt: skip
    for image_id in gone:  # the id cannot be used again
        assert registry.recall(image_id).properties == {}
        with pytest.raises(errors.AlreadyExists):
            registry.add(image(id=image_id))
    assert site.purge(images=True) == [("images", 2), ("images", 1)]
    for image_id in gone:
        with pytest.raises(errors.NotFound):
            registry.recall(image_id)
    assert site.purge(images=True) == []
    for record in (*kept, working, resumed, finishing):
        assert registry.recall(record.id) == record
    assert {each.id for each in registry.jobs(None)} == {each.id for each in jobs}
    assert [registry.get_upload(each.id) for each in uploads] == uploads


def test_a_limit(site):
    site.add_deleted()
    assert site.purge(images=True, limit=3) == [("jobs", 1), ("uploads", 1), ("members", 1)]
    assert site.rows() == {"images": 1, "image_properties": 2, "image_tags": 1}
    assert site.purge(images=True, limit=1) == [("properties", 1)]
    assert site.purge(images=True, limit=3) == [("properties", 1), ("tags", 1), ("images", 1)]
    assert site.rows() == {}


def test_a_second_job_of_the_image_is_younger(site):
    image_id = site.add_deleted()
    younger = job(image_id, state=JobState.SUCCESS, end_at=BEFORE, created_at=after(1))
    site.registry.add_job(younger)
    assert site.purge(images=True) == [("jobs", 1), ("uploads", 1)]
    assert site.registry.jobs_of(image_id) == [younger]
