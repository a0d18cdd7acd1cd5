"""Quotas of one gateway in memory: what each way in counts, and what each ending gives back."""

import dataclasses
import io
import types

import pytest

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.model import Status, Usage
from imsgate.quotas import quota
from imsgate.testing.gateways import gateway, memory_store
from imsgate.transfer import upload
from tests.api.people import PEOPLE, Person, reason, replace

MIB = 1 << 20
LIMITS = {
    "image_size_total": 3,
    "image_stage_total": 2,
    "image_count_total": 4,
    "image_count_uploading": 2,
}


@pytest.fixture
def gate():
    further = {"quota": LIMITS, "locations": {"stores": ["slow"]}}
    return gateway(stores=[memory_store("fast"), memory_store("slow")], further=further)


@pytest.fixture
def owner(gate):
    return Person(gate.app, PEOPLE["owner"])


@pytest.fixture
def admin(gate):
    return Person(gate.app, PEOPLE["admin"])


def new(person, **fields):
    return person.create(disk_format="raw", container_format="bare", **fields)


def usage(gate, project="p1"):
    """Bytes stored, bytes staged, images, those whose data is coming in."""
    return tuple(dataclasses.asdict(gate.registry.usage(project)).values())


def put(person, path, data, where="file", **headers):
    headers = {"Content_Type": "application/octet-stream", **headers}
    return person.put(f"{path}/{where}", data, **headers)


def receive(gate, path, read, size=None):
    image = gate.registry.get(path.rpartition("/")[2])
    store = gate.stores.get("fast")
    body = Tapped(types.SimpleNamespace(read=read), None)
    return gate.uploads.receive(image, body, store=store, size=size)


def untouched(gate, path):
    image = gate.registry.get(path.rpartition("/")[2])
    held = [name for name in ("fast", "slow") for _ in gate.stores.get(name).held()]
    return (image.status, image.upload_reserved, held) == (Status.QUEUED, 0, [])


REFUSED = (413, "limit_exceeded")

# What the project is told


def test_usage_as_glance_tells_it(owner):
    path = new(owner)
    owner.upload(path, bytes(MIB + 1))
    told = owner.get("/v2/info/usage")
    assert told.json == {
        "usage": {
            "image_size_total": {"limit": 3, "usage": 1},
            "image_stage_total": {"limit": 2, "usage": 0},
            "image_count_total": {"limit": 4, "usage": 1},
            "image_count_uploading": {"limit": 2, "usage": 0},
        }
    }


def test_usage_without_limits_and_projects(people):
    unlimited = people.owner.get("/v2/info/usage").json["usage"]
    assert unlimited["image_count_total"] == {"limit": -1, "usage": 0}
    assert reason(people.nobody.get("/v2/info/usage")) == (401, "unauthenticated")


@pytest.fixture
def people():
    gate = gateway()

    class People:
        owner = Person(gate.app, PEOPLE["owner"])
        nobody = Person(gate.app, None)

    return People


def test_a_refusal_says_by_how_much(owner):
    answer = put(owner, new(owner), bytes(3 * MIB + 1), Accept="application/json")
    assert reason(answer) == REFUSED
    assert (
        "Project p1 is over a limit for [Resource image_size_total is over limit of 3 "
        "due to current usage 0 and delta 4]" in answer.text
    )


# Images


def test_number_of_images(gate, owner, admin):
    paths = [new(owner) for _ in range(4)]
    assert reason(owner.post("/v2/images", {})) == REFUSED
    new(admin)
    new(admin, owner=None)
    owner.delete(paths[0])
    new(owner)
    # Whoever asks, the owner is charged.
    assert reason(admin.post("/v2/images", {"owner": "p1"})) == REFUSED


def test_a_new_owner_needs_room(gate, owner, admin):
    *_, kept, full = [new(owner) for _ in range(4)]
    path = new(admin)
    admin.upload(path, bytes(3 * MIB))
    give = replace("owner", "p1")
    assert reason(admin.patch(path, give)) == REFUSED
    owner.delete(full)
    assert admin.patch(path, give).status_int == 200
    assert (usage(gate), usage(gate, "p0")) == ((3 * MIB, 0, 4, 0), (0, 0, 0, 0))
    assert reason(put(owner, kept, b"x")) == REFUSED


# Uploads


def test_what_is_known_not_to_fit_is_refused_before_a_byte_is_read(gate, owner):
    def read(size):
        raise AssertionError("something was read")

    path = new(owner)
    with pytest.raises(errors.OverLimit):
        receive(gate, path, read, 3 * MIB + 1)
    assert untouched(gate, path)
    assert usage(gate) == (0, 0, 1, 0)


def test_the_last_byte_fits_and_no_other(gate, owner):
    owner.upload(new(owner), bytes(3 * MIB))
    assert usage(gate) == (3 * MIB, 0, 1, 0)
    assert reason(put(owner, new(owner), b"x")) == REFUSED
    owner.upload(new(owner), b"")


@pytest.mark.parametrize("beyond", [0, 1, 5 * MIB])
def test_unknown_sizes_to_the_last_byte(gate, owner, beyond):
    owner.upload(new(owner), bytes(MIB))
    path, body = new(owner), io.BytesIO(bytes(2 * MIB + beyond))
    if not beyond:
        assert receive(gate, path, body.read).size == 2 * MIB
        return
    with pytest.raises(errors.OverLimit):
        receive(gate, path, body.read)
    assert body.tell() <= 4 * MIB
    assert gate.registry.get(path.rpartition("/")[2]).status == Status.QUEUED
    assert len(gate.stores.get("fast").held()) == 1
    assert usage(gate) == (MIB, 0, 2, 0)


def test_unknown_sizes_leave_room_for_others(gate, owner):
    """What is reserved ahead is no more than what has come."""
    path, other = new(owner), new(owner)
    seen = []

    def read(size):
        seen.append(usage(gate)[0])
        if len(seen) == 3:
            owner.upload(other, bytes(2 * MIB))
        return bytes(64 << 10) if len(seen) < 5 else b""

    assert receive(gate, path, read).size == 256 << 10
    later = 2 * MIB + (384 << 10)
    assert seen == [1, 128 << 10, 128 << 10, later, later]
    assert usage(gate) == (2 * MIB + (256 << 10), 0, 2, 0)


@pytest.mark.parametrize(
    ("error", "raised", "size"),
    [
        (errors.BodyCut(received=1), errors.BodyCut, 5),
        (RuntimeError("of the server"), errors.BodyCut, None),
        (KeyboardInterrupt(), KeyboardInterrupt, 5),
    ],
)
def test_whatever_ends_an_upload_gives_back(gate, owner, error, raised, size):
    def read(size):
        if usage(gate)[0] == 0:
            raise AssertionError("nothing was reserved")
        raise error

    path = new(owner)
    with pytest.raises(raised):
        receive(gate, path, read, size)
    assert untouched(gate, path)
    assert usage(gate) == (0, 0, 1, 0)


def test_deletion_gives_back_when_the_upload_has_ended(gate, owner):
    """Else uploads to images that are gone would fill the store."""
    path = new(owner)

    def read(size):
        owner.delete(path)
        assert usage(gate) == (MIB, 0, 0, 1)
        return b""

    with pytest.raises((errors.Gone, errors.SizeMismatch)):
        receive(gate, path, read, MIB)
    assert usage(gate) == (0, 0, 0, 0)


def test_a_crash_gives_back_when_the_lease_has_run_out(gate, owner, monkeypatch):
    image = gate.registry.get(new(owner).rpartition("/")[2])
    store, limits = gate.stores.get("fast"), gate.uploads.quotas.of("p1")
    begun = gate.uploads._begin(image, store, upload.UPLOAD, 3 * MIB, limits)
    store.create(begun.upload_key, None).write(b"left")
    assert gate.cleanup.sweep() == 0
    assert reason(put(owner, new(owner), b"x")) == REFUSED

    seen = []
    discard = store.discard
    monkeypatch.setattr(store, "discard", lambda key: (seen.append(usage(gate)), discard(key)))
    gate.registry.change(image.id, {}, upload_expires=1.0)
    assert gate.cleanup.sweep() == 1
    # As long as something may be left, and the image is to come back, it counts.
    assert seen == [(3 * MIB, 0, 2, 1)]
    assert untouched(gate, image.id)
    assert usage(gate) == (0, 0, 2, 0)
    owner.upload(new(owner), bytes(3 * MIB))


def test_more_than_announced_ends_at_the_first_byte_too_many(gate, owner):
    body = io.BytesIO(bytes(3 * MIB))
    path = new(owner)
    with pytest.raises(errors.SizeMismatch):
        receive(gate, path, body.read, 10)
    assert body.tell() < MIB
    assert untouched(gate, path)


def test_a_new_owner_ends_an_upload_that_grows(gate, owner):
    path = new(owner)
    image_id = path.rpartition("/")[2]

    def read(size):
        gate.registry.change(image_id, {}, owner="p2")
        return bytes(size)

    with pytest.raises(errors.Conflict):
        receive(gate, path, read)
    assert untouched(gate, path)


def test_uploads_at_a_time(gate, owner):
    first, second, third = (new(owner) for _ in range(3))

    def outer(size):
        receive(gate, second, inner, 0)
        return b""

    def inner(size):
        assert reason(put(owner, third, b"x")) == REFUSED
        return b""

    receive(gate, first, outer, 0)
    assert put(owner, third, b"x").status_int == 204


# Staging and imports


def begin(person, path, method, **more):
    return person.post(f"{path}/import", {"method": {"name": method}, **more})


def test_staged_bytes_are_their_own_limit(gate, owner):
    owner.upload(new(owner), bytes(2 * MIB))
    path, other = new(owner), new(owner)
    assert reason(put(owner, path, bytes(2 * MIB + 1), "stage")) == REFUSED
    assert put(owner, path, bytes(2 * MIB), "stage").status_int == 204
    assert usage(gate) == (2 * MIB, 2 * MIB, 3, 1)
    assert reason(put(owner, other, b"x", "stage")) == REFUSED
    assert reason(begin(owner, path, "glance-direct")) == REFUSED
    assert gate.registry.get(path.rpartition("/")[2]).status == Status.UPLOADING


def test_an_import_counts_every_copy_and_what_is_staged(gate, owner):
    path = new(owner)
    put(owner, path, bytes(MIB), "stage")
    assert begin(owner, path, "glance-direct", all_stores=True).status_int == 202
    assert usage(gate) == (2 * MIB, MIB, 1, 1)
    assert gate.engine.run_one()
    assert gate.registry.get(path.rpartition("/")[2]).status == Status.ACTIVE
    assert usage(gate) == (2 * MIB, 0, 1, 0)
    assert reason(begin(owner, path, "copy-image")) != REFUSED


def test_staged_data_that_is_about_to_go_is_not_one_more_copy(gate, owner, monkeypatch):
    path = new(owner)
    put(owner, path, bytes(2 * MIB), "stage")
    assert begin(owner, path, "glance-direct", stores=["slow"]).status_int == 202
    fast, seen = gate.stores.get("fast"), []
    delete = fast.delete

    def look(location):
        seen.append(usage(gate))
        delete(location)

    monkeypatch.setattr(fast, "delete", look)
    assert gate.engine.run_one()
    assert seen == [(2 * MIB, 0, 1, 0)]
    assert usage(gate) == (2 * MIB, 0, 1, 0)


def test_a_copy_counts(gate, owner, admin):
    path = new(owner)
    owner.upload(path, bytes(2 * MIB))
    assert reason(begin(admin, path, "copy-image", stores=["slow"])) == REFUSED
    small = new(owner)
    owner.upload(small, bytes(MIB // 2))
    assert begin(admin, small, "copy-image", stores=["slow"]).status_int == 202
    assert usage(gate) == (3 * MIB, 0, 2, 1)
    assert gate.engine.run_one()
    assert usage(gate) == (3 * MIB, 0, 2, 0)
    assert admin.delete(f"/v2/stores/slow/{small.rpartition('/')[2]}").status_int == 204
    assert usage(gate) == (5 * MIB // 2, 0, 2, 0)


@pytest.mark.parametrize("deleted", [False, True])
def test_an_import_that_fails_gives_back(gate, owner, deleted):
    path = new(owner)
    image_id = path.rpartition("/")[2]
    put(owner, path, bytes(MIB), "stage")
    assert begin(owner, path, "glance-direct", stores=["slow"]).status_int == 202
    [staged] = gate.registry.get(image_id).locations
    gate.stores.get("fast").delete(staged.url)
    if deleted:
        owner.delete(path)
        assert usage(gate) == (0, 0, 0, 0)
    assert gate.engine.run_one()
    assert usage(gate) == (0, 0, 0 if deleted else 1, 0)


# Locations


def add_location(gate, path, data):
    """As a service of the project does."""
    who = dataclasses.replace(PEOPLE["owner"], service_roles=frozenset({"service"}))
    with gate.stores.get("slow").create(f"object{len(data)}", None) as sink:
        sink.write(data)
        url = f"memory://slow/{sink.commit()}"
    return Person(gate.app, who).post(f"{path}/locations", {"url": url})


def test_a_location_counts(gate, owner):
    path = new(owner)
    assert reason(add_location(gate, path, bytes(3 * MIB + 1))) == REFUSED
    assert add_location(gate, path, bytes(2 * MIB)).status_int == 202
    assert usage(gate) == (2 * MIB, 0, 1, 1)
    assert gate.engine.run_one()
    assert usage(gate) == (2 * MIB, 0, 1, 0)


@pytest.mark.parametrize("grown", [0, 4 * MIB])
def test_a_location_that_is_another_in_the_end(gate, owner, grown):
    path, store = new(owner), gate.stores.get("slow")
    assert add_location(gate, path, bytes(MIB)).status_int == 202
    store.delete(f"object{MIB}")
    if grown:
        with store.create(f"object{MIB}", None) as sink:
            sink.write(bytes(grown))
            sink.commit()
    assert gate.engine.run_one()
    image = gate.registry.get(path.rpartition("/")[2])
    assert (image.status, image.upload_reserved) == (Status.QUEUED, 0)
    assert usage(gate) == (0, 0, 1, 0)


def test_nothing_is_recorded_without_limits():
    gate = gateway()
    assert gate.uploads.quotas.of("p1") is None
    assert quota.NONE.of("p") is quota.NONE.of(None) is None
    assert gate.registry.usage("p1") == Usage()
