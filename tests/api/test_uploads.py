"""Resumable uploads by the IETF draft, as the API decides before and after the bytes move."""

import hashlib
import threading
import time
import types

import pytest

from imsgate import errors
from imsgate.api import receiver
from imsgate.http.request import IDENTITY
from imsgate.http.upload_headers import digest_field
from imsgate.stores.base import Store
from imsgate.testing import servers
from imsgate.testing.gateways import gateway, memory_store
from imsgate.transfer import resumable
from tests.api.people import PEOPLE, Person, replace

OCTETS = "application/octet-stream"
PARTIAL = "application/partial-upload"
#: A raw image of three parts; their digests differ.
PARTS = [bytes([number]) * 1536 for number in (1, 2, 3)]
WHOLE = b"".join(PARTS)


class Late(servers.Input):
    """A body that arrives, and ends too early, once ``arrived`` is set."""

    def __init__(self, data, arrived):
        super().__init__(data)
        self._arrived = arrived
        self.began = threading.Event()

    def read(self, size=-1):
        self.began.set()
        self._arrived.wait()
        return super().read(size)


@pytest.fixture
def path(owner):
    return owner.create(disk_format="raw", container_format="bare")


def create(person, path, data, complete, end="file", **headers):
    headers = {"Content_Type": OCTETS, "Upload_Complete": complete, **headers}
    return person.ask("PUT", f"{path}/{end}", data, **headers)


def append(person, path, offset, data, complete, **headers):
    headers = {
        "Content_Type": PARTIAL,
        "Upload_Offset": str(offset),
        "Upload_Complete": complete,
        **headers,
    }
    return person.ask("PATCH", f"{path}/upload", data, **headers)


def head(person, path):
    return person.ask("HEAD", f"{path}/upload")


def state(answer):
    return (
        answer.status_int,
        answer.headers.get("Upload-Offset"),
        answer.headers.get("Upload-Complete"),
    )


def content(owner, path):
    return owner.get(path).json["status"], owner.get(f"{path}/file").body


def test_one_request_may_bring_the_whole(owner, path):
    answer = create(owner, path, WHOLE, "?1")
    assert state(answer) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)
    shown = owner.get(path).json
    assert shown["os_hash_value"] == hashlib.sha512(WHOLE).hexdigest()


def test_several_requests_may_bring_it(owner, path):
    answer = create(owner, path, PARTS[0], "?0", Upload_Length=str(len(WHOLE)))
    assert state(answer) == (201, "1536", "?0")
    assert answer.headers["Location"].endswith(f"{path}/upload")
    assert "max-size=" in answer.headers["Upload-Limit"]
    assert owner.get(path).json["status"] == "saving"
    assert state(append(owner, path, 1536, PARTS[1], "?0")) == (204, "3072", "?0")
    answer = head(owner, path)
    assert state(answer) == (204, "3072", "?0")
    assert answer.headers["Upload-Length"] == "4608"
    assert answer.headers["Cache-Control"] == "no-store"
    assert state(append(owner, path, 3072, PARTS[2], "?1")) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)
    assert owner.get(path).json["checksum"] == hashlib.md5(WHOLE).hexdigest()
    assert state(head(owner, path)) == (204, "4608", "?1")


def test_appending_reads_the_image_no_more_than_necessary(owner, path, gate, monkeypatch):
    """Twice for the policy, once before and once with the claim, and once to write."""
    create(owner, path, PARTS[0], "?0", Upload_Length=str(len(WHOLE)))
    reads, get = [], gate.registry.get
    monkeypatch.setattr(gate.registry, "get", lambda id: reads.append(id) or get(id))
    assert state(append(owner, path, 1536, PARTS[1], "?0")) == (204, "3072", "?0")
    assert len(reads) <= 5


@pytest.mark.parametrize("announced", [{}, {"HTTP_UPLOAD_LENGTH": "4608"}])
def test_an_interrupted_last_request_continues(owner, path, gate, announced):
    """It meant to bring everything; what it brought is not the whole."""
    entries = {"REQUEST_METHOD": "PUT", "PATH_INFO": f"{path}/file", IDENTITY: PEOPLE["owner"]}
    entries |= {"HTTP_UPLOAD_COMPLETE": "?1", **announced}
    stream = servers.Input(PARTS[0])
    assert servers.serve(gate.app, servers.environ(stream, length=4608, **entries)).code == 400
    answer = head(owner, path)
    assert state(answer) == (204, "1536", "?0")
    assert answer.headers["Upload-Length"] == "4608"
    assert state(append(owner, path, 1536, PARTS[1] + PARTS[2], "?1")) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)


@pytest.mark.parametrize(
    ("version", "status"), [({"Upload_Draft_Interop_Version": "5"}, 204), ({}, 415)]
)
def test_draft_3_has_no_content_type_for_appending(owner, path, version, status):
    create(owner, path, b"", "?0")
    answer = append(owner, path, 0, WHOLE, "?1", Content_Type="", **version)
    assert answer.status_int == status


def test_it_may_begin_empty(owner, path):
    assert state(create(owner, path, b"", "?0")) == (201, "0", "?0")
    answer = head(owner, path)
    assert "Upload-Length" not in answer.headers
    assert state(append(owner, path, 0, WHOLE, "?1")) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)


def test_an_empty_request_may_complete_it(owner, path):
    create(owner, path, WHOLE, "?0")
    assert state(append(owner, path, 4608, b"", "?1")) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)


def test_staged_data_may_come_in_parts(owner, path, gate):
    create(owner, path, PARTS[0], "?0", end="stage")
    assert owner.get(path).json["status"] == "uploading"
    append(owner, path, 1536, PARTS[1], "?1")
    assert owner.post(f"{path}/import", {"method": {"name": "glance-direct"}}).status_int == 202
    assert gate.engine.run_one()
    assert content(owner, path) == ("active", PARTS[0] + PARTS[1])


def test_another_offset_is_409_with_the_current_one(owner, path):
    create(owner, path, PARTS[0], "?0")
    answer = append(owner, path, 7, PARTS[1], "?0")
    assert state(answer) == (409, "1536", "?0")
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json["type"].endswith("#mismatching-upload-offset")
    assert (answer.json["expected-offset"], answer.json["provided-offset"]) == (1536, 7)
    assert state(append(owner, path, 1536, PARTS[1], "?0"))[0] == 204


@pytest.mark.parametrize("complete", ["true", "1", "?2", "", "yes, ?1"])
def test_a_malformed_field_is_ignored(owner, path, complete):
    answer = create(owner, path, WHOLE, complete)
    assert state(answer) == (204, None, None)
    assert content(owner, path) == ("active", WHOLE)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload_Offset": "abc"}, 400),
        ({"Upload_Offset": "-1"}, 400),
        ({"Upload_Offset": "1.0"}, 400),
        ({"Upload_Complete": "true"}, 400),
        ({"Content_Type": OCTETS}, 415),
        ({"Upload_Length": "12"}, 400),
    ],
)
def test_what_cannot_be_appended_changes_nothing(owner, path, headers, status):
    create(owner, path, PARTS[0], "?0", Upload_Length="4608")
    answer = append(owner, path, 1536, PARTS[1], "?0", **headers)
    assert answer.status_int == status
    assert state(head(owner, path)) == (204, "1536", "?0")


def test_lengths_must_agree(owner, path):
    answer = create(owner, path, WHOLE, "?1", Upload_Length="4609")
    assert answer.status_int == 400
    assert answer.json["type"].endswith("#inconsistent-upload-length")
    assert owner.get(path).json["status"] == "queued"


def test_more_than_the_length_ends_the_upload(owner, path, gate):
    create(owner, path, PARTS[0], "?0", Upload_Length="2000")
    answer = append(owner, path, 1536, PARTS[1], "?0")
    assert answer.status_int == 400
    assert head(owner, path).status_int == 410
    assert owner.get(path).json["status"] == "queued"
    assert [backend.store.held() for backend in gate.stores] == [[], []]


def test_nothing_is_appended_to_a_complete_upload(owner, path):
    create(owner, path, WHOLE, "?1")
    answer = append(owner, path, 4608, b"x", "?1")
    assert answer.status_int == 400
    assert answer.json["type"].endswith("#inconsistent-upload-length")
    answer = append(owner, path, 4608, b"", "?1")
    assert answer.json["type"].endswith("#completed-upload")
    assert content(owner, path) == ("active", WHOLE)


def test_it_may_be_cancelled(owner, path, gate):
    create(owner, path, PARTS[0], "?0")
    assert owner.delete(f"{path}/upload").status_int == 204
    answer = head(owner, path)
    assert answer.status_int == 410
    assert "cancelled" in append(owner, path, 1536, PARTS[1], "?0").text
    assert owner.get(path).json["status"] == "queued"
    assert [backend.store.held() for backend in gate.stores] == [[], []]
    assert state(create(owner, path, WHOLE, "?1"))[0] == 204


def test_a_client_may_start_again(owner, path):
    create(owner, path, PARTS[0], "?0")
    assert state(create(owner, path, WHOLE, "?1")) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)


OTHERS = {
    "start again": (lambda owner, path: create(owner, path, WHOLE, "?1"), 204),
    "cancel": (lambda owner, path: owner.delete(f"{path}/upload"), 204),
    "delete the image": (lambda owner, path: owner.delete(path), 204),
}


@pytest.mark.parametrize("complete", ["?0", "?1"])
@pytest.mark.parametrize("other", OTHERS)
def test_an_upload_that_ends_before_its_first_byte_leaves_nothing(
    owner, path, gate, other, complete
):
    """The request that ends it finds no data to remove: the store receives it afterwards."""
    act, status = OTHERS[other]
    store = gate.stores.get("fast")
    begin = store.begin

    def late(*args):
        store.begin = begin
        assert act(owner, path).status_int == status
        return begin(*args)

    store.begin = late
    assert create(owner, path, WHOLE, complete).status_int in (404, 409, 410)
    assert len(store.held()) == (1 if other == "start again" else 0)


def test_nobody_else_may_continue_it(owner, path, people):
    create(owner, path, PARTS[0], "?0")
    assert append(people.admin, path, 1536, PARTS[1], "?1").status_int == 403
    assert head(people.reader, path).status_int == 403
    assert head(people.other, path).status_int == 404
    assert create(people.admin, path, WHOLE, "?1").status_int == 409


def test_a_plain_upload_is_refused_meanwhile(owner, path):
    create(owner, path, PARTS[0], "?0")
    assert owner.put(f"{path}/file", WHOLE, Content_Type=OCTETS).status_int == 409


def test_deleting_the_image_ends_it(owner, path, gate):
    create(owner, path, PARTS[0], "?0")
    assert owner.delete(path).status_int == 204
    assert head(owner, path).status_int == 404
    assert [backend.store.held() for backend in gate.stores] == [[], []]
    assert gate.registry.usage("p1").image_size_total == 0


def test_content_of_another_digest_is_not_appended(owner, path):
    create(owner, path, PARTS[0], "?0")
    wrong = digest_field({"sha256": hashlib.sha256(b"another").digest()})
    answer = append(owner, path, 1536, PARTS[1], "?0", Content_Digest=wrong)
    assert answer.status_int == 400
    assert state(head(owner, path)) == (204, "1536", "?0")
    right = digest_field({"sha256": hashlib.sha256(PARTS[1]).digest()})
    assert state(append(owner, path, 1536, PARTS[1], "?0", Content_Digest=right))[1] == "3072"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "md5", "sha1"])
def test_the_whole_must_have_the_announced_digest(owner, path, algorithm):
    wrong = digest_field({algorithm: hashlib.new(algorithm, b"another").digest()})
    create(owner, path, PARTS[0], "?0", Repr_Digest=wrong)
    answer = append(owner, path, 1536, PARTS[1], "?1")
    assert state(answer) == (400, None, "?1")
    assert owner.get(path).json["status"] == "queued"
    right = digest_field({algorithm: hashlib.new(algorithm, PARTS[0]).digest()})
    assert create(owner, path, PARTS[0], "?1", Repr_Digest=right).status_int == 204


def test_a_wanted_digest_is_returned(owner, path):
    answer = create(owner, path, WHOLE, "?1", Want_Repr_Digest="sha-512=3, sha-256=10, md5=1")
    assert "Repr-Digest" not in answer.headers or answer.headers["Repr-Digest"]
    path = owner.create(disk_format="raw", container_format="bare")
    answer = create(owner, path, WHOLE, "?1", Want_Repr_Digest="sha-512=3")
    expected = digest_field({"sha512": hashlib.sha512(WHOLE).digest()})
    assert answer.headers["Repr-Digest"] == expected


def cut_request(path, stream):
    """A request of which only the bytes of ``stream`` arrive."""
    environ = {
        "REQUEST_METHOD": "PATCH",
        "PATH_INFO": f"{path}/upload",
        "CONTENT_TYPE": PARTIAL,
        "HTTP_UPLOAD_OFFSET": "0",
        "HTTP_UPLOAD_COMPLETE": "?1",
        IDENTITY: PEOPLE["owner"],
    }
    return servers.environ(stream, length=len(WHOLE), **environ)


def clock(sleep):
    return types.SimpleNamespace(sleep=sleep, monotonic=time.monotonic, time=time.time)


def test_a_request_that_was_cut_may_store_what_has_arrived(monkeypatch, gate, owner, path):
    """Its client may ask for the offset before the server has read everything."""
    create(owner, path, b"", "?0")
    arrived = threading.Event()
    stream = Late(WHOLE[:3000], arrived)
    cut = threading.Thread(target=servers.serve, args=(gate.app, cut_request(path, stream)))
    cut.start()
    stream.began.wait()

    def sleep(_):
        arrived.set()
        cut.join()

    monkeypatch.setattr(receiver, "time", clock(lambda _: None))
    monkeypatch.setattr(resumable, "time", clock(sleep))
    assert state(head(owner, path)) == (204, "3000", "?0")


def test_a_request_that_was_cut_may_begin_after_the_next_one(monkeypatch, gate, owner, path):
    create(owner, path, b"", "?0")
    request = cut_request(path, servers.Input(WHOLE[:3000]))
    monkeypatch.setattr(receiver, "time", clock(lambda _: servers.serve(gate.app, request)))
    assert state(head(owner, path)) == (204, "3000", "?0")


def test_a_request_that_never_ends_is_overtaken(monkeypatch, gate, owner, path):
    create(owner, path, b"", "?0")
    arrived = threading.Event()
    stream = Late(WHOLE[:3000], arrived)
    cut = threading.Thread(target=servers.serve, args=(gate.app, cut_request(path, stream)))
    cut.start()
    stream.began.wait()
    monkeypatch.setattr(resumable, "GRACE_SECONDS", 0.0)
    try:
        assert state(head(owner, path)) == (204, "0", "?0")
    finally:
        arrived.set()
        cut.join()
    assert state(head(owner, path)) == (204, "0", "?0")


def test_a_refused_image_ends_the_upload_and_says_why(owner, gate):
    path = owner.create(disk_format="qcow2", container_format="bare")
    answer = create(owner, path, b"not a qcow2 image" * 1000, "?0")
    assert answer.status_int == 415
    answer = append(owner, path, 17000, b"more", "?0")
    assert answer.status_int == 410
    assert "qcow2" in answer.text
    assert owner.get(path).json["status"] == "queued"
    assert [backend.store.held() for backend in gate.stores] == [[], []]


def test_progress_is_shown_to_everyone_who_may_see_the_image(owner, people, path):
    assert owner.get(f"{path}/upload").status_int == 404
    create(owner, path, PARTS[0], "?0", Upload_Length="4608")
    shown = people.admin.get(f"{path}/upload").json
    assert (shown["state"], shown["received"], shown["size"]) == ("open", 1536, 4608)
    assert (shown["reason"], shown["user_id"]) == (None, PEOPLE["owner"].user_id)
    assert shown["started_at"] < shown["expires_at"]
    owner.delete(f"{path}/upload")
    shown = owner.get(f"{path}/upload").json
    assert (shown["state"], shown["reason"]) == ("ended", "it was cancelled")


def test_only_the_owning_project_sees_who_uploads(owner, people, path):
    owner.patch(path, replace("visibility", "community"))
    create(owner, path, PARTS[0], "?0")
    assert owner.get(f"{path}/upload").json["user_id"] == PEOPLE["owner"].user_id
    shown = people.other.get(f"{path}/upload").json
    assert (shown["received"], shown["user_id"]) == (1536, None)


def test_limits_are_announced(owner, path):
    for end in ("file", "stage", "upload"):
        answer = owner.ask("OPTIONS", f"{path}/{end}")
        assert answer.status_int == 204
        assert answer.headers["Upload-Limit"] == "max-size=1099511627776, max-age=86400"
        assert answer.headers["Accept-Patch"] == PARTIAL


class Whole(Store):
    """A store that takes objects in one piece, as glance_store's drivers do."""

    def __init__(self, store):
        super().__init__(store.name, store.settings)
        self._store = store

    def create(self, key, size):
        return self._store.create(key, size)

    def read(self, location, offset=0, length=None):
        return self._store.read(location, offset, length)

    def size(self, location):
        return self._store.size(location)

    def delete(self, location):
        self._store.delete(location)

    def discard(self, key):
        self._store.discard(key)


@pytest.mark.parametrize("complete", ["?1", "?0"])
def test_another_store_keeps_it_for_one_that_cannot_suspend(monkeypatch, complete):
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.0)
    whole, spool = memory_store("whole"), memory_store("spool")
    gate = gateway(stores=[Whole(whole), spool])
    owner = Person(gate.app, PEOPLE["owner"])
    path = owner.create(disk_format="raw", container_format="bare")
    answer = create(owner, path, WHOLE, complete)
    if complete == "?0":
        assert state(answer) == (201, "4608", "?0")
        answer = append(owner, path, 4608, b"", "?1")
    assert state(answer) == (202, "4608", "?1")
    assert (len(whole.held()), len(spool.held())) == (0, 1)
    assert gate.engine.run_one()
    assert content(owner, path) == ("active", WHOLE)
    assert owner.get(path).json["stores"] == "whole"
    assert (len(whole.held()), len(spool.held())) == (1, 0)


def test_a_refused_copy_leaves_nothing(monkeypatch):
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.0)
    whole, spool = memory_store("whole", 10), memory_store("spool")
    gate = gateway(stores=[Whole(whole), spool])
    owner = Person(gate.app, PEOPLE["owner"])
    path = owner.create(disk_format="raw", container_format="bare")
    create(owner, path, WHOLE, "?1")
    gate.engine.run_one()
    assert owner.get(path).json["status"] == "queued"
    assert (whole.held(), spool.held()) == ([], [])
    shown = owner.get(f"{path}/upload").json
    assert shown["state"] == "ended"
    assert "space" in shown["reason"]


def test_without_a_store_that_can_suspend_it_is_refused():
    gate = gateway(stores=[Whole(memory_store("whole"))])
    owner = Person(gate.app, PEOPLE["owner"])
    path = owner.create(disk_format="raw", container_format="bare")
    answer = create(owner, path, WHOLE, "?1")
    assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == (409, "not_resumable")
    assert owner.put(f"{path}/file", WHOLE, Content_Type=OCTETS).status_int == 204


def test_another_process_continues_it(owner, path, gate, monkeypatch):
    """It has not examined what came before, so a job reads all of it."""
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.0)
    create(owner, path, PARTS[0], "?0")
    other = Person(
        gateway(registry=gate.registry, stores=[b.store for b in gate.stores]).app, PEOPLE["owner"]
    )
    answer = append(other, path, 1536, PARTS[1] + PARTS[2], "?1")
    assert state(answer) == (202, "4608", "?1")
    assert owner.get(path).json["status"] == "saving"
    assert gate.engine.run_one()
    assert content(owner, path) == ("active", WHOLE)
    assert owner.get(path).json["checksum"] == hashlib.md5(WHOLE).hexdigest()
    assert owner.get(f"{path}/upload").json["state"] == "complete"


def test_the_job_may_be_faster_than_the_request_that_starts_it(owner, path, gate, monkeypatch):
    create(owner, path, PARTS[0], "?0")
    other = gateway(registry=gate.registry, stores=[b.store for b in gate.stores])
    monkeypatch.setattr(other.engine, "tell", other.engine.run_one)
    person = Person(other.app, PEOPLE["owner"])
    answer = append(person, path, 1536, PARTS[1] + PARTS[2], "?1")
    assert state(answer) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)
    assert state(head(owner, path)) == (204, "4608", "?1")


def test_another_request_between_the_last_byte_and_the_job(owner, path, gate, monkeypatch):
    """It takes the upload over when the job that verifies it has been started."""
    create(owner, path, PARTS[0], "?0")
    other = gateway(registry=gate.registry, stores=[b.store for b in gate.stores])

    def overtaken(job_id):
        upload = gate.registry.upload_of(path.rpartition("/")[2])
        gate.registry.change_upload(upload.id, upload.epoch, {"epoch": upload.epoch + 1})
        assert state(head(owner, path)) == (204, "4608", "?0")
        assert other.engine.run_one(job_id)
        assert state(head(owner, path)) == (204, "4608", "?1")

    monkeypatch.setattr(other.engine, "tell", overtaken)
    person = Person(other.app, PEOPLE["owner"])
    answer = append(person, path, 1536, PARTS[1] + PARTS[2], "?1")
    assert state(answer) == (204, "4608", "?1")
    assert content(owner, path) == ("active", WHOLE)


STORE_FAILURES = [errors.StoreUnavailable, errors.StoreDenied, errors.StoreFull]


@pytest.mark.parametrize("failure", STORE_FAILURES)
def test_an_upload_that_a_store_cannot_begin_holds_no_image(owner, gate, path, failure):
    """Nobody may come back for it, and its image would be ``saving`` for a day."""

    def begin(key, size, epoch):
        raise failure(store="fast", problem="away")

    store = gate.stores.get("fast")
    genuine, store.begin = store.begin, begin
    answer = create(owner, path, WHOLE, "?0")
    assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == (
        failure.status,
        failure.reason,
    )
    assert "Location" not in answer.headers
    assert owner.get(path).json["status"] == "queued"
    assert head(owner, path).status_int == 410
    store.begin = genuine
    assert owner.put(f"{path}/file", WHOLE, Content_Type=OCTETS).status_int == 204


@pytest.mark.parametrize("failure", STORE_FAILURES)
def test_an_upload_whose_client_knows_it_survives_a_store_that_cannot_begin(
    owner, gate, path, failure
):
    def begin(key, size, epoch):
        raise failure(store="fast", problem="away")

    assert state(create(owner, path, b"", "?0")) == (201, "0", "?0")
    store = gate.stores.get("fast")
    genuine, store.begin = store.begin, begin
    assert append(owner, path, 0, WHOLE, "?1").status_int == failure.status
    assert state(head(owner, path)) == (204, "0", "?0")
    store.begin = genuine
    assert append(owner, path, 0, WHOLE, "?1").status_int == 204
    assert content(owner, path) == ("active", WHOLE)
