"""Records without data, data without records, on real files and SQLite."""

import datetime
import os
import time

import pytest

from imsgate import model
from imsgate.doctor import data
from imsgate.model import Location, Status, Visibility
from imsgate.testing.records import image, job
from tests.doctor.conftest import wrong

HASH = "1"


@pytest.fixture
def installation(install):
    return install(
        "[DEFAULT]\nenabled_backends = fast:file\n[fast]\nfilesystem_store_datadir = {place}/fast\n"
    )


@pytest.fixture
def store(installation):
    (backend,) = installation.backends
    return backend.store


def put(store, record, body=b"image"):
    with store.create(f"{record.id}.{HASH}", len(body)) as sink:
        sink.write(body)
        return sink.commit()


def active(installation, store, **fields):
    """An active image with 5 bytes of data, as a record and an object."""
    record = image(status=Status.ACTIVE, size=5, **fields)
    location = put(store, record)
    record = image(**{**vars(record), "locations": (Location("fast", location),)})
    installation.registry.add(record)
    return record, location


def by_name(installation):
    return {each.check: each for each in data.check(installation)}


def test_all_is_well(installation, store):
    for visibility in Visibility:
        active(installation, store, visibility=visibility, os_hidden=True)
    found = by_name(installation)
    assert {name: str(each.severity) for name, each in found.items()} == {
        "data.records": "ok",
        "data.orphans.fast": "ok",
        "data.cleanup": "ok",
        "data.jobs": "ok",
    }
    assert f" {len(Visibility)} copies" in found["data.records"].message


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.DEACTIVATED])
@pytest.mark.parametrize("visibility", [Visibility.PRIVATE, Visibility.COMMUNITY])
def test_missing_data(installation, store, status, visibility):
    active(installation, store)
    lost, location = active(installation, store, visibility=visibility)
    if status is Status.DEACTIVATED:
        installation.registry.change(lost.id, {}, status=status)
    store.delete(location)
    found = by_name(installation)
    assert wrong(found.values()) == [("data.missing.fast", "error")]
    assert f"1 ({lost.id})" in found["data.missing.fast"].message


def test_more_than_a_page_of_records(installation, store, monkeypatch):
    monkeypatch.setattr(data, "_PAGE", 2)
    lost = [active(installation, store) for _ in range(7)]
    for _, location in lost:
        store.delete(location)
    message = by_name(installation)["data.missing.fast"].message
    assert "7 (" in message
    assert sum(record.id in message for record, _ in lost) == 5


def test_data_of_another_size(installation, store, place):
    record, location = active(installation, store)
    (place / "fast" / location).write_bytes(b"imag")
    found = by_name(installation)
    assert wrong(found.values()) == [("data.size.fast", "error")]
    assert record.id in found["data.size.fast"].message


def test_a_store_that_is_not_enabled(installation):
    installation.registry.add(
        image(status=Status.ACTIVE, size=5, locations=(Location("gone", "x"),))
    )
    assert wrong(data.check(installation)) == [("data.disabled.gone", "error")]


def test_a_store_that_is_away(installation, store, place):
    store.mark()
    active(installation, store)
    os.rename(place / "fast", place / "elsewhere")
    (place / "fast").mkdir()
    assert wrong(data.check(installation)) == [
        ("data.records.fast", "warning"),
        ("data.orphans.fast", "warning"),
    ]


def test_an_image_that_is_deleted_meanwhile(installation, store):
    """The record was read before."""
    record, location = active(installation, store)
    store.delete(location)
    listed = installation.registry.list

    def slow(query):
        page = listed(query)
        if page:
            installation.registry.change(record.id, {}, status=Status.PENDING_DELETE)
            installation.registry.change(record.id, {}, status=Status.DELETED, locations=())
        return page

    installation.registry.list = slow
    assert wrong(data.check(installation)) == []


def test_data_of_an_unfinished_upload_is_removed(installation, store, place):
    record = image()
    installation.registry.add(record)
    sink = store.create(f"{record.id}.{HASH}", 5)
    _, location = active(installation, store)
    (finding,) = [each for each in data.check(installation) if each.severity == "warning"]
    assert finding.check == "data.orphans.fast"
    assert "1 unfinished upload " in finding.message
    assert finding.fix is not None
    assert "1 upload was removed" in finding.fix()
    assert os.listdir(place / "fast") == [location]
    assert wrong(data.check(installation)) == []
    sink.abort()


def test_a_running_upload_is_left_alone(installation, store):
    record = image()
    installation.registry.add(record)
    key = f"{record.id}.{HASH}"
    installation.registry.change(
        record.id,
        {},
        status=Status.SAVING,
        upload_store="fast",
        upload_key=key,
        upload_expires=time.time() + 60,
    )
    with store.create(key, 5) as sink:
        assert wrong(data.check(installation)) == []
        sink.abort()


@pytest.mark.parametrize(
    ("is_known", "text"), [(True, "No record refers to 1"), (False, "belongs to no record")]
)
def test_complete_objects_without_a_record_stay(installation, store, place, is_known, text):
    record = image()
    if is_known:
        installation.registry.add(record)
    location = put(store, record)
    (finding,) = [each for each in data.check(installation) if each.severity == "warning"]
    assert (finding.check, finding.fix) == ("data.orphans.fast", None)
    assert text in finding.message
    assert record.id in finding.message
    assert os.listdir(place / "fast") == [location]


def test_what_nobody_cleans_up(installation):
    old, new = time.time() - 7200, time.time() - 60
    for expires in (old, new):
        installation.registry.add(
            image(
                status=Status.SAVING,
                upload_store="fast",
                upload_key="k",
                upload_expires=expires,
                updated_at=model.now(),
            )
        )
    found = by_name(installation)
    assert wrong(found.values()) == [("data.cleanup", "warning")]
    assert ": 1 (" in found["data.cleanup"].message


@pytest.mark.parametrize(("hours", "severity"), [(0, "ok"), (1, "warning")])
def test_jobs_that_nobody_works_on(installation, hours, severity):
    began = model.now() - datetime.timedelta(hours=hours)
    installation.registry.add_job(job(created_at=began, updated_at=began))
    assert by_name(installation)["data.jobs"].severity == severity
