"""Image data that lies in a store already, by URL: who may, of what, and what becomes of it."""

import dataclasses
import hashlib

import pytest

from imsgate.errors import BadConfig, StoreUnavailable
from imsgate.model import Location
from imsgate.stores.filesystem import FilesystemStore
from imsgate.stores.memory import MemoryStore
from imsgate.testing.gateways import Gateway, gateway, memory_store, settings
from tests.api.people import PEOPLE, Person, identity, reason, replace
from tests.functional import images

DATA = b"image data " * 5000
SHA256 = hashlib.sha256(DATA).hexdigest()
VALID = {"os_hash_algo": "sha256", "os_hash_value": SHA256}


@dataclasses.dataclass
class Place:
    """A gateway that takes locations in ``archive``, and those who ask it."""

    gate: Gateway

    def __post_init__(self):
        owner = PEOPLE["owner"]
        nova = dataclasses.replace(owner, service_roles=frozenset({"service"}))
        self.nova = Person(self.gate.app, nova)
        self.path = self.new()

    def new(self, **fields):
        return self.nova.create(disk_format="raw", container_format="bare", **fields)

    def ask(self, who):
        return Person(self.gate.app, who)

    def put(self, data=DATA, store="archive", key="object"):
        with self.gate.stores.get(store).create(key, None) as sink:
            sink.write(data)
            sink.commit()
        return f"memory://{store}/{key}"

    def add(self, url, path=None, **validation):
        body = {"url": url, **({"validation_data": validation} if validation else {})}
        return self.nova.post(f"{path or self.path}/locations", body)

    def run(self):
        """The task of the image, after it has ended."""
        assert self.gate.engine.run_one()
        return self.nova.get(f"{self.path}/tasks").json["tasks"][-1]

    def show(self):
        return self.nova.get(self.path).json

    def assert_queued(self):
        """Nothing came of it, and the object stays: it was never the image's."""
        shown = self.show()
        assert shown["status"] == "queued"
        fields = ("size", "checksum", "os_hash_algo", "os_hash_value", "virtual_size")
        assert [shown[name] for name in fields] == [None] * 5
        assert self.gate.stores.get("archive").held() == ["object"]


def place(jobs=(), **options):
    further = {"locations": {"stores": ["archive"]}, "jobs": dict(jobs), "DEFAULT": options}
    return Place(gateway(stores=[memory_store("fast"), memory_store("archive")], further=further))


@pytest.fixture
def here():
    return place()


@pytest.mark.parametrize("told", [{}, VALID, VALID | {"os_hash_value": SHA256.upper()}])
def test_an_object_becomes_an_image(here, told):
    url = here.put()
    assert here.add(url, **told).status_int == 202
    assert here.show()["status"] == "importing"
    assert "stores" not in here.show()
    assert here.nova.get(f"{here.path}/locations").json == []
    found = here.run()
    assert (found["type"], found["status"]) == ("location_import", "success")
    assert found["progress"] == {"bytes": len(DATA), "total": len(DATA)}
    assert url not in str(found)
    shown = here.show()
    algorithm = told.get("os_hash_algo", "sha512")
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(DATA), "archive")
    assert shown["os_hash_algo"] == algorithm
    assert shown["os_hash_value"] == hashlib.new(algorithm, DATA).hexdigest()
    assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
    assert here.nova.get(f"{here.path}/file").body == DATA
    listed = here.nova.get(f"{here.path}/locations")
    assert listed.json == [{"url": url, "metadata": {"store": "archive"}}]
    assert here.nova.delete(here.path).status_int == 204
    assert here.gate.stores.get("archive").held() == []


@pytest.mark.parametrize(
    ("data", "told", "code"),
    [
        (DATA, VALID | {"os_hash_value": "0" * 64}, "digest_mismatch"),
        (images.BACKING_FILE, {}, "image_refused"),
    ],
    ids=["digest", "unsafe"],
)
def test_what_an_upload_would_be_refused_for(here, data, told, code):
    assert here.add(here.put(data), **told).status_int == 202
    found = here.run()
    assert (found["status"], found["result"]) == ("failure", {"error_code": code})
    here.assert_queued()
    here.nova.upload(here.path)


def test_without_hashing_the_given_digests_are_trusted():
    here = place(do_secure_hash=False)
    told = VALID | {"os_hash_value": "0" * 64}
    assert here.add(here.put(), **told).status_int == 202
    assert here.run()["status"] == "success"
    shown = here.show()
    assert (shown["status"], shown["size"], shown["os_hash_value"]) == ("active", 55000, "0" * 64)
    assert shown["checksum"] is None
    assert here.nova.get(f"{here.path}/file").body == DATA


@pytest.mark.parametrize(("limit", "status"), [(0, 413), (1, 202)])
def test_it_counts_against_the_quota(limit, status):
    further = {"quota": {"image_size_total": limit}, "locations": {"stores": ["fast"]}}
    gate = gateway(further=further)
    here = Place(gate)
    assert here.add(here.put(bytes(1 << 20), "fast")).status_int == status
    reserved = here.nova.get("/v2/info/usage").json["usage"]["image_count_uploading"]["usage"]
    assert reserved == (status == 202)
    if status == 202:
        assert here.run()["status"] == "success"
        used = here.nova.get("/v2/info/usage").json["usage"]
        assert used["image_size_total"]["usage"] == 1
        assert used["image_count_uploading"]["usage"] == 0


def test_the_image_is_deleted_meanwhile(here):
    assert here.add(here.put()).status_int == 202
    assert here.nova.delete(here.path).status_int == 204
    assert here.gate.engine.run_one()
    assert here.gate.stores.get("archive").held() == ["object"]


def test_the_object_goes_meanwhile(here):
    assert here.add(here.put()).status_int == 202
    here.gate.stores.get("archive").delete("object")
    assert here.run()["result"] == {"error_code": "source_failed"}
    assert here.show()["status"] == "queued"


def test_the_store_goes_away_meanwhile(monkeypatch):
    """For longer than the job waits."""
    here = place(jobs={"source_retry_time": 0})
    assert here.add(here.put()).status_int == 202

    def away(*_):
        raise StoreUnavailable(store="archive", problem="away")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "read", away)
        assert here.run()["result"] == {"error_code": "store_unavailable"}
    here.assert_queued()


def test_an_object_is_one_images(here):
    """Deleting one of two images would take the data of the other."""
    url = here.put()
    other = here.new()
    assert here.add(url).status_int == 202
    assert here.add(url, other).status_int == 202
    assert here.run()["status"] == "success"
    assert here.gate.engine.run_one()
    assert here.nova.get(other).json["status"] == "queued"
    assert reason(here.add(url, other)) == (400, "location_refused")
    assert here.nova.get(f"{here.path}/file").body == DATA


@pytest.mark.parametrize(
    "url",
    [
        "memory://fast/object",
        "memory://archive/nothing",
        "memory://user:secret@archive/object",
        "MEMORY://archive/object",
        "memory://archive/../archive/object",
        "memory://archive/object?x",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "filesystem:///etc/passwd",
        "http://169.254.169.254/",
        "https://example.org/object",
        "object",
        "//archive/object",
    ],
)
def test_locations_outside_the_allowed_stores(here, url):
    here.put()
    here.put(store="fast")
    answer = here.add(url)
    assert reason(answer) == (400, "location_refused")
    assert "secret" not in answer.text
    assert here.show()["status"] == "queued"


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"url": 1},
        {"url": ""},
        {"url": "memory://archive/object", "validation_data": {"os_hash_algo": "sha256"}},
        {"url": "memory://archive/object", "validation_data": {"os_hash_value": SHA256}},
        {"url": "memory://archive/object", "validation_data": VALID | {"checksum": "0" * 32}},
        {"url": "memory://archive/object", "validation_data": VALID | {"os_hash_value": "0" * 62}},
        {"url": "memory://archive/object", "validation_data": VALID | {"os_hash_value": "z" * 64}},
        {"url": "memory://archive/object", "validation_data": VALID | {"os_hash_algo": "crc"}},
    ],
    ids=str,
)
def test_what_is_no_request(here, body):
    here.put()
    assert reason(here.nova.post(f"{here.path}/locations", body)) == (400, "bad_json")


def test_an_image_that_has_data_gets_no_other(here):
    here.nova.upload(here.path)
    assert reason(here.add(here.put())) == (409, "wrong_status")
    path = here.nova.create()
    assert reason(here.add("memory://archive/object", path)) == (400, "formats_not_set")


SERVICE = identity("p9", "service", "member", "reader")


@pytest.mark.parametrize(
    ("who", "visibility", "added", "listed"),
    [
        (PEOPLE["owner"], "private", (403, "forbidden"), 403),
        (PEOPLE["reader"], "private", (403, "forbidden"), 403),
        (PEOPLE["admin"], "private", (403, "forbidden"), 200),
        (PEOPLE["other"], "private", (404, "not_found"), 404),
        (PEOPLE["other"], "community", (403, "forbidden"), 403),
        (SERVICE, "private", (404, "not_found"), 404),
        (SERVICE, "community", (202, None), 200),
        (PEOPLE["nobody"], "community", (401, "unauthenticated"), 401),
    ],
    ids=["owner", "reader", "admin", "other", "other-sees", "service", "service-sees", "nobody"],
)
def test_who_may(here, who, visibility, added, listed):
    here.path = here.new(visibility=visibility)
    person = here.ask(who)
    url = here.put()
    assert person.get(f"{here.path}/locations").status_int == listed
    assert reason(person.post(f"{here.path}/locations", {"url": url})) == added


@pytest.mark.parametrize(
    ("operation", "verb"),
    [
        (replace("locations", []), "update"),
        ({"op": "add", "path": "/locations/-", "value": {"url": "x", "metadata": {}}}, "add"),
        ({"op": "remove", "path": "/locations/0"}, "remove"),
    ],
)
def test_the_old_way_is_closed(here, operation, verb):
    answer = here.nova.patch(here.path, operation)
    assert reason(answer) == (403, "locations_invisible")
    assert f"not allowed to {verb} locations if locations are invisible." in answer.text
    assert "locations" not in here.show()
    assert "direct_url" not in here.show()


def test_nothing_is_allowed_by_default():
    here = Place(gateway())
    assert reason(here.add("memory://fast/object")) == (400, "location_refused")


def test_a_file_has_no_url(tmp_path):
    store = FilesystemStore(
        "files", settings(FilesystemStore.OPTS, filesystem_store_datadir=str(tmp_path))
    )
    here = Place(gateway(stores=[store]))
    here.nova.upload(here.path)
    assert here.nova.get(f"{here.path}/locations").json == []
    with pytest.raises(BadConfig, match=r"\[locations\] stores: the objects of store 'files'"):
        gateway(stores=[store], further={"locations": {"stores": ["files"]}})
    with pytest.raises(BadConfig, match=r"there is no store 'tape'"):
        gateway(stores=[store], further={"locations": {"stores": ["tape"]}})


def test_another_image_may_have_it_by_the_time_it_was_read(here, monkeypatch):
    """Even after its quota has been asked for, which is the last thing before the record."""
    other = here.new()
    url = here.put()
    assert here.add(url).status_int == here.add(url, other).status_int == 202
    quotas = here.gate.uploads.quotas

    def of(project):
        monkeypatch.undo()
        assert here.gate.engine.run_one()
        return quotas.of(project)

    monkeypatch.setattr(quotas, "of", of)
    assert here.run()["result"] == {"error_code": "location_refused"}
    assert here.show()["status"] == "queued"
    assert here.nova.get(f"{other}/file").body == DATA


def test_a_commit_is_by_the_record(here):
    """An image that is found otherwise than the job left it is left alone."""
    assert here.add(here.put()).status_int == 202
    image_id = here.path.rpartition("/")[2]
    here.gate.registry.change(image_id, {}, status="queued")
    assert here.run()["result"] == {"error_code": "conflict"}
    assert not here.gate.registry.holds(Location("archive", "object"))


def test_a_store_that_is_away_for_a_moment_is_waited_for(here, monkeypatch):
    assert here.add(here.put()).status_int == 202
    store = here.gate.stores.get("archive")
    failures = iter([StoreUnavailable(store="archive", problem="away")])
    size = store.size

    def away(location):
        for failure in failures:
            raise failure
        return size(location)

    monkeypatch.setattr(store, "size", away)
    assert here.run()["status"] == "processing"
    [job] = here.gate.registry.jobs_of(here.path.rpartition("/")[2])
    here.gate.registry.change_job(job.id, job.epoch, {"lease": 0.0})
    assert here.run()["status"] == "success"
