"""Imports: what is refused before there is a job."""

import dataclasses
import html

import pytest

from imsgate import errors
from imsgate.model import JobState, Location
from imsgate.stores.memory import MemoryStore
from imsgate.testing.gateways import gateway, memory_store, settings
from tests.api.people import PEOPLE, Person, reason

WEB = {"method": {"name": "web-download", "uri": "http://images.example/disk"}}


@pytest.mark.parametrize("missing", ["disk_format", "container_format"])
def test_formats_are_needed(owner, missing):
    path = owner.create(**{"disk_format": "raw", "container_format": "bare", missing: None})
    before = owner.get(path).json
    answer = owner.post(f"{path}/import", WEB, Accept="application/json")
    assert reason(answer) == (409, "conflict")
    assert answer.json["message"] == f"'{missing}' needs to be set before import"
    assert owner.get(path).json == before


def test_a_task_keeps_no_more_of_a_request_than_means_something(owner):
    path = owner.create(disk_format="raw", container_format="bare")
    body = {**WEB, "method": {**WEB["method"], "x": "y"}, "all_stores": True, "z": [1]}
    assert owner.post(f"{path}/import", body).status_int == 202
    (task,) = owner.get(f"{path}/tasks").json["tasks"]
    assert task["input"]["import_req"] == {**WEB, "all_stores": True}


class ReadOnly(MemoryStore):
    """Like a glance_store driver that only reads: it denies every deletion, too."""

    read_only = True

    def denied(self, *args):
        raise errors.StoreDenied(store=self.name, problem="it is read-only")

    create = delete = discard = denied


@pytest.fixture
def mirrored():
    """A gateway with a store and a read-only one."""
    mirror = ReadOnly("mirror", settings(MemoryStore.OPTS))
    return gateway(stores=[memory_store("fast"), mirror])


@pytest.fixture
def admin(mirrored):
    return Person(mirrored.app, PEOPLE["admin"])


def create(person, **fields):
    return person.create(disk_format="raw", container_format="bare", **fields)


def test_a_read_only_store_is_shown_as_glance_shows_it(admin):
    for path in ("/v2/info/stores", "/v2/info/stores/detail"):
        fast, mirror = admin.get(path).json["stores"]
        assert "read-only" not in fast
        assert mirror["read-only"] == "true"


def test_all_stores_leaves_out_what_is_read_only(mirrored, admin):
    path = create(admin)
    assert admin.put(f"{path}/stage", b"x" * 512).status_int == 204
    body = {"method": {"name": "glance-direct"}, "all_stores": True}
    assert admin.post(f"{path}/import", body).status_int == 202
    assert mirrored.engine.run_one()
    image = admin.get(path).json
    assert (image["status"], image["stores"]) == ("active", "fast")


@pytest.mark.parametrize("where", ["stores", "header", "upload"])
def test_a_read_only_store_is_refused_by_name(admin, where):
    path = create(admin)
    header = {"X_Image_Meta_Store": "mirror"}
    if where == "stores":
        answer = admin.post(f"{path}/import", {**WEB, "stores": ["fast", "mirror"]})
    elif where == "header":
        answer = admin.post(f"{path}/import", WEB, **header)
    else:
        answer = admin.put(f"{path}/file", b"x" * 512, **header)
    assert reason(answer) == (400, "store_read_only")
    assert "Store 'mirror' is read-only" in html.unescape(answer.text)
    assert admin.get(path).json["status"] == "queued"


def test_without_a_store_to_write_to_all_stores_is_refused():
    mirror = ReadOnly("mirror", settings(MemoryStore.OPTS))
    admin = Person(gateway(stores=[mirror]).app, PEOPLE["admin"])
    answer = admin.post(f"{create(admin)}/import", {**WEB, "all_stores": True})
    assert reason(answer) == (400, "bad_request")


@pytest.mark.parametrize("deleted", [False, True])
def test_a_job_of_an_earlier_version_with_a_read_only_store_ends(mirrored, admin, deleted):
    path = create(admin)
    assert admin.put(f"{path}/stage", b"x" * 512).status_int == 204
    body = {"method": {"name": "glance-direct"}, "stores": ["fast"]}
    assert admin.post(f"{path}/import", body).status_int == 202
    image_id = path.rpartition("/")[2]
    (job,) = mirrored.registry.jobs_of(image_id)
    arguments = {**job.arguments, "stores": ("fast", "mirror")}
    mirrored.registry._jobs[job.id] = dataclasses.replace(job, arguments=arguments)
    if deleted:
        assert admin.delete(path).status_int == 204
    assert mirrored.engine.run_one()
    (job,) = mirrored.registry.jobs_of(image_id)
    assert job.state == JobState.FAIL
    assert mirrored.stores.get("fast").held() == []


def test_an_image_in_a_read_only_store_is_deleted_without_its_object(mirrored, admin):
    path = create(admin)
    assert admin.put(f"{path}/file", b"x" * 512).status_int == 204
    image_id = path.rpartition("/")[2]
    image = mirrored.registry.get(image_id)
    mirror = mirrored.stores.get("mirror")
    mirror._objects["object"] = b"x" * 512
    places = (*image.locations, Location("mirror", "object"))
    mirrored.registry.change(image_id, {}, locations=places)
    assert admin.delete(path).status_int == 204
    assert mirrored.registry.recall(image_id).status == "deleted"
    assert mirror.held() == ["object"]
