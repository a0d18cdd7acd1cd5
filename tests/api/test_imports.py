"""Imports: what is refused before there is a job."""

import dataclasses
import hashlib
import html

import pytest

from imsgate import errors
from imsgate.model import JobState, Location
from imsgate.stores.memory import MemoryStore
from imsgate.testing.gateways import gateway, memory_store, settings
from tests.api.people import PEOPLE, Person, reason
from tests.sources import web_server

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


# Members of a web-download that only imsgate knows

_URI, _OTHER = "http://images.example/disk", "http://mirror.example/disk"


@pytest.mark.parametrize(
    ("members", "answer"),
    [
        ({"uris": [_OTHER, _URI]}, (202, None)),
        ({"uri": _URI, "uris": [_OTHER]}, (202, None)),
        ({"uri": _URI, "uris": [], "checksum_url": ""}, (202, None)),
        ({"uri": _URI, "checksum_url": f"{_URI}.sha256"}, (202, None)),
        ({"uri": _URI, "uris": _OTHER}, (400, "bad_json")),
        ({"uri": _URI, "uris": [1]}, (400, "bad_json")),
        (
            {"uris": [f"http://mirror{number}.example/disk" for number in range(17)]},
            (400, "bad_json"),
        ),
        ({"uri": _URI, "checksum_url": [_URI]}, (400, "bad_json")),
        ({"uris": []}, (400, "uri_refused")),
        ({"uri": _URI, "uris": ["http://127.0.0.1/disk"]}, (400, "uri_refused")),
        ({"uri": _URI, "checksum_url": "http://127.0.0.1/sums"}, (400, "uri_refused")),
        (
            {"uri": _URI, "uris": ["http://mirror.example/b"], "checksum_url": _URI},
            (400, "bad_request"),
        ),
        ({"uri": _URI, "checksum_url": _URI, "checksum_signature_url": _URI}, (400, "bad_request")),
    ],
)
def test_members_of_a_download(owner, members, answer):
    path = create(owner)
    started = owner.post(f"{path}/import", {"method": {"name": "web-download", **members}})
    assert (started.status_int, None) == answer if answer[0] == 202 else reason(started) == answer


@pytest.mark.parametrize("retry_time", [600, 0], ids=["tried again", "once"])
def test_a_mirror_with_wrong_data_is_followed_by_the_next(retry_time):
    """In another attempt at the job, since the first has written what it read."""
    further = {
        "import_filtering_opts": {"allowed_ports": []},
        "web_download": {"allowed_networks": ["127.0.0.1/32"]},
        "jobs": {"source_retry_time": retry_time},
    }
    gate = gateway(further=further)
    person = Person(gate.app, PEOPLE["owner"])
    path = create(person)
    image_id = path.rpartition("/")[2]
    with web_server.serving() as first, web_server.serving() as second:
        first.routes["/disk"] = web_server.whole(b"x" * len(web_server.DATA))
        second.routes["/disk"] = web_server.whole()
        digest = f"sha256:{hashlib.sha256(web_server.DATA).hexdigest()}"
        method = {"name": "web-download", "uris": [f"{first.url}/disk", f"{second.url}/disk"]}
        started = person.post(f"{path}/import", {"method": {**method, "digest": digest}})
        assert started.status_int == 202
        assert gate.engine.run_one()
        (job,) = gate.registry.jobs_of(image_id)
        if retry_time:
            gate.registry._jobs[job.id] = dataclasses.replace(job, lease=0.0)
            assert gate.engine.run_one()
    (job,) = gate.registry.jobs_of(image_id)
    if retry_time:
        assert job.state == JobState.SUCCESS
        assert person.get(f"{path}/file").body == web_server.DATA
        assert len(gate.stores.get("fast").held()) == 1
    else:
        assert (job.state, job.error_code) == (JobState.FAIL, "source_failed")
        assert "sha256 digest of the data is" in job.reason
        assert gate.stores.get("fast").held() == []


def test_a_gateway_does_not_start_without_its_keyring(tmp_path):
    keyring = str(tmp_path / "keyring.gpg")
    with pytest.raises(errors.BadConfig) as caught:
        gateway(further={"web_download": {"keyring": keyring}})
    assert caught.value.key == "[web_download] keyring"
