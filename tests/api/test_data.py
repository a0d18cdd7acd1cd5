"""PUT and GET of an image's data, as the API decides before and after the bytes move."""

import dataclasses
import gzip

import pytest

from imsgate import errors
from imsgate.http.request import IDENTITY
from imsgate.model import Location, Status, Usage
from imsgate.testing import servers
from imsgate.testing.gateways import gateway, memory_store
from tests.api.people import PEOPLE, Person, reason

OCTETS = {"Content_Type": "application/octet-stream"}


@pytest.fixture
def path(owner):
    return owner.create(disk_format="raw", container_format="bare")


def held(gate):
    return [backend.store.held() for backend in gate.stores]


def record(gate, path):
    return gate.registry.get(path.rpartition("/")[2])


def test_what_goes_in_comes_out(owner, path):
    assert owner.put(f"{path}/file", b"some data", **OCTETS).status_int == 204
    shown = owner.get(path).json
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", 9, "fast")
    assert shown["checksum"] == "1e50210a0202497fb79bc38b6ade6c34"
    assert shown["os_hash_algo"] == "sha512"
    answer = owner.get(f"{path}/file")
    assert answer.body == b"some data"
    assert answer.headers["Content-MD5"] == shown["checksum"]


def test_a_store_may_be_named(owner, path, gate):
    owner.put(f"{path}/file", b"data", X_Image_Meta_Store="archive", **OCTETS)
    assert owner.get(path).json["stores"] == "archive"
    assert [len(keys) for keys in held(gate)] == [0, 1]


def test_no_data_is_204(owner, path):
    answer = owner.get(f"{path}/file")
    assert (answer.status_int, answer.body) == (204, b"")


def active(owner, path):
    owner.upload(path, b"other")


def nothing(owner, path):
    pass


def without_formats(owner, path):
    for name in ("disk_format", "container_format"):
        owner.patch(path, {"op": "replace", "path": f"/{name}", "value": None})


REFUSED = {
    "unknown-store": (nothing, {"X_Image_Meta_Store": "tape"}, 400, "unknown_store"),
    "bad-store": (nothing, {"X_Image_Meta_Store": "../x"}, 400, "bad_header"),
    "size-word": (nothing, {"x_openstack_image_size": "four"}, 400, "bad_header"),
    "size-differs": (nothing, {"x_openstack_image_size": "5"}, 400, "size_mismatch"),
    "coding": (nothing, {"Content_Encoding": "gzip"}, 415, "unsupported_content_coding"),
    "no-formats": (without_formats, {}, 400, "formats_not_set"),
    "active": (active, {}, 409, "data_differs"),
    "deleted": (lambda owner, path: owner.delete(path), {}, 404, "not_found"),
}


@pytest.mark.parametrize(("before", "headers", "status", "why"), REFUSED.values(), ids=REFUSED)
def test_refused_unread(gate, owner, path, before, headers, status, why):
    before(owner, path)
    kept = held(gate)
    stream = servers.Input(b"data")
    entries = {"HTTP_" + name.upper(): text for name, text in headers.items()}
    entries |= {"REQUEST_METHOD": "PUT", "PATH_INFO": f"{path}/file"}
    request = servers.environ(stream, length=4, **entries, **{IDENTITY: PEOPLE["owner"]})
    answer = servers.serve(gate.app, request)
    assert (answer.code, answer.reason) == (status, why)
    assert stream.asked == 0
    assert held(gate) == kept


CUT = {
    "short": ({"body": b"dat", "length": 4}, 400, "body_cut"),
    "reset": ({"body": b"dat", "fails": ConnectionResetError(), "length": 4}, 400, "body_cut"),
    "chunked-reset": ({"body": b"dat", "fails": OSError(), "chunked": True}, 400, "body_cut"),
    "chunked-short": ({"body": b"dat", "chunked": True, "size": "4"}, 400, "size_mismatch"),
    "chunked-long": ({"body": b"data!", "chunked": True, "size": "4"}, 400, "size_mismatch"),
    "endless": ({"body": b"data", "chunked": True, "ends": False}, 411, "length_required"),
}


def send(app, path, body, fails=None, length=None, chunked=False, size=None, ends=True):
    entries = {"REQUEST_METHOD": "PUT", "PATH_INFO": f"{path}/file", IDENTITY: PEOPLE["owner"]}
    if size:
        entries["HTTP_X_OPENSTACK_IMAGE_SIZE"] = size
    if not ends:
        entries["wsgi.input_terminated"] = None
    stream = servers.Input(body, fails=fails)
    return servers.serve(app, servers.environ(stream, length=length, chunked=chunked, **entries))


@pytest.mark.parametrize(("body", "status", "why"), CUT.values(), ids=CUT)
def test_a_body_that_is_not_whole_leaves_nothing(gate, owner, path, body, status, why):
    answer = send(gate.app, path, **body)
    assert (answer.code, answer.reason) == (status, why)
    assert held(gate) == [[], []]
    assert owner.get(path).json["status"] == "queued"
    assert send(gate.app, path, b"data", length=4).code == 204


@pytest.mark.parametrize("size", [None, "4"])
def test_chunked(gate, owner, path, size):
    assert send(gate.app, path, b"data", chunked=True, size=size).code == 204
    assert owner.get(path).json["size"] == 4


def test_an_empty_image_is_one(owner, path):
    assert owner.put(f"{path}/file", b"", **OCTETS).status_int == 204
    answer = owner.get(f"{path}/file")
    assert (answer.status_int, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


def test_compressed_data_is_never_taken_for_the_image(owner, path):
    """A pipeline of an operator's own may lack the filter that decompresses it."""
    answer = owner.put(f"{path}/file", gzip.compress(b"data"), Content_Encoding="gzip", **OCTETS)
    assert reason(answer) == (415, "unsupported_content_coding")
    assert answer.headers["Accept-Encoding"] == "identity"
    answer = owner.put(f"{path}/file", b"data", Content_Encoding="identity", **OCTETS)
    assert answer.status_int == 204


@pytest.mark.parametrize(("end", "methods"), [("file", "GET, PUT, POST"), ("stage", "PUT")])
def test_options_names_the_methods(owner, path, end, methods):
    answer = owner.ask("OPTIONS", f"{path}/{end}")
    assert (answer.status_int, answer.headers["Allow"]) == (204, f"{methods}, OPTIONS")
    assert owner.ask("OPTIONS", path).status_int == 405


def test_a_full_store(people):
    gate = gateway(stores=[memory_store("fast", 3)])
    owner = Person(gate.app, PEOPLE["owner"])
    path = owner.create(disk_format="raw", container_format="bare")
    assert reason(owner.put(f"{path}/file", b"data", **OCTETS)) == (413, "store_full")
    assert send(gate.app, path, b"data", chunked=True).reason == "store_full"
    assert owner.get(path).json["status"] == "queued"
    assert gate.stores.get("fast").held() == []
    owner.upload(path, b"dat")


# Reading from several copies


@pytest.fixture
def copies(gate, owner, path):
    """An image that two stores hold; the default one's copy comes first."""
    owner.upload(path, b"data")
    image = record(gate, path)
    with gate.stores.get("archive").create("copy", 4) as sink:
        sink.write(b"data")
        location = Location("archive", sink.commit())
    gate.registry.change(image.id, {}, locations=(*image.locations, location))
    return path


def test_another_copy_replaces_a_lost_one(gate, owner, copies):
    [key] = gate.stores.get("fast").held()
    gate.stores.get("fast").delete(key)
    assert owner.get(f"{copies}/file").body == b"data"
    gate.stores.get("archive").delete("copy")
    assert reason(owner.get(f"{copies}/file")) == (404, "not_found")


PREFERENCES = {
    "none": ("", "fast"),
    "empty": ("?prefer=", "fast"),
    "commas": ("?prefer=%20,,", "fast"),
    "one": ("?prefer=archive", "archive"),
    "in-order": ("?prefer=archive,fast", "archive"),
    "spaces": ("?prefer=%20archive%20,fast", "archive"),
    "repeated": ("?prefer=fast,archive,fast", "fast"),
    "the-last-counts": ("?prefer=fast&prefer=archive", "archive"),
    "without-a-copy": ("?prefer=third", "fast"),
    "second": ("?prefer=third,archive", "archive"),
}


@pytest.fixture
def tellable():
    """A gateway with three stores and an image whose copies differ, so that one sees which is
    read; and the image's path."""
    gate = gateway(stores=[memory_store(name) for name in ("fast", "archive", "third")])
    owner = Person(gate.app, PEOPLE["owner"])
    path = owner.create(disk_format="raw", container_format="bare")
    owner.upload(path, b"fast...")
    with gate.stores.get("archive").create("copy", 7) as sink:
        sink.write(b"archive")
        location = Location("archive", sink.commit())
    image = record(gate, path)
    gate.registry.change(image.id, {}, locations=(*image.locations, location))
    return gate, path


@pytest.mark.parametrize(("query", "store"), PREFERENCES.values(), ids=PREFERENCES)
def test_a_client_may_prefer_stores(tellable, query, store):
    gate, path = tellable
    owner = Person(gate.app, PEOPLE["owner"])
    assert owner.get(f"{path}/file{query}").text.rstrip(".") == store
    assert owner.get(f"{path}/file{query}", Range="bytes=1-3").text == store[1:4]


def test_a_preferred_store_that_lost_the_data_is_skipped(tellable):
    gate, path = tellable
    gate.stores.get("archive").delete("copy")
    owner = Person(gate.app, PEOPLE["owner"])
    assert owner.get(f"{path}/file?prefer=archive").text == "fast..."


@pytest.mark.parametrize("query", ["prefer=tape", "prefer=fast,tape", "prefer=../fast"])
def test_an_unknown_preferred_store(owner, path, query):
    assert reason(owner.get(f"{path}/file?{query}")) == (400, "unknown_store")
    owner.upload(path)
    assert reason(owner.get(f"{path}/file?{query}")) == (400, "unknown_store")


def test_who_may_prefer_stores(people, owner, path):
    owner.upload(path)
    assert people.other.get(f"{path}/file?prefer=fast").status_int == 404
    assert people.reader.get(f"{path}/file?prefer=fast").status_int == 403
    assert people.admin.get(f"{path}/file?prefer=fast").status_int == 200


def test_a_store_that_is_disabled_is_unavailable(gate, owner, path):
    owner.upload(path)
    image = record(gate, path)
    gone = tuple(dataclasses.replace(one, store="gone") for one in image.locations)
    gate.registry.change(image.id, {}, locations=gone)
    answer = owner.get(f"{path}/file")
    assert reason(answer) == (503, "store_unavailable")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(
    ("who", "store", "expected"),
    [
        ("admin", "archive", (204, None)),
        ("admin", "fast", (204, None)),
        ("admin", "tape", (400, "unknown_store")),
        ("owner", "archive", (403, "forbidden")),
        ("other", "archive", (404, "not_found")),
        ("nobody", "archive", (401, "unauthenticated")),
    ],
)
def test_who_may_delete_a_copy(people, copies, who, store, expected):
    person = getattr(people, who)
    answer = person.delete(f"/v2/stores/{store}/{copies.rpartition('/')[2]}")
    assert reason(answer) == expected
    left = people.admin.get(copies).json["stores"].split(",")
    assert (store in left) is (expected[0] != 204 and store != "tape")
    assert people.owner.get(f"{copies}/file").body == b"data"


def test_two_cannot_delete_each_others_last_copy(people, gate, copies):
    image_id = copies.rpartition("/")[2]
    store = gate.stores.get("archive")
    delete, answers = store.delete, []

    def meanwhile(location):
        answers.append(reason(people.admin.delete(f"/v2/stores/fast/{image_id}")))
        delete(location)

    store.delete = meanwhile
    assert people.admin.delete(f"/v2/stores/archive/{image_id}").status_int == 204
    assert answers == [(403, "forbidden")]
    assert people.owner.get(f"{copies}/file").body == b"data"


@pytest.mark.parametrize("then", ["served", "deleted"])
def test_staged_data_that_cannot_go_yet_is_no_copy(then):
    """It may be packed: other bytes than the image has. Nor is it forgotten with the image."""
    packs = {"import_unpack": {"formats": ["gzip"]}}
    gate = gateway(stores=[memory_store("fast"), memory_store("archive")], further=packs)
    owner, admin = (Person(gate.app, PEOPLE[name]) for name in ("owner", "admin"))
    path = owner.create(disk_format="raw", container_format="bare")
    assert owner.put(f"{path}/stage", gzip.compress(b"data"), **OCTETS).status_int == 204
    body = {"method": {"name": "glance-direct"}, "stores": ["archive"]}
    assert owner.post(f"{path}/import", body).status_int == 202
    image_id, store = path.rpartition("/")[2], gate.stores.get("fast")
    delete = store.delete

    def away(location):
        raise errors.StoreUnavailable(store="fast", problem="away")

    store.delete = away
    assert gate.engine.run_one()
    assert owner.get(path).json["stores"] == "archive"
    answer = admin.delete(f"/v2/stores/archive/{image_id}")
    assert reason(answer) == (409, "conflict")
    if then == "deleted":
        assert owner.delete(path).status_int == 204
    else:
        assert owner.get(f"{path}/file").body == b"data"
    store.delete = delete
    [left] = gate.registry.jobs_of(image_id)
    gate.registry.change_job(left.id, left.epoch, {"lease": 0.0})
    assert gate.engine.run_one()
    assert [len(keys) for keys in held(gate)] == [0, int(then == "served")]


@pytest.mark.parametrize("meanwhile", ["nothing", "renamed", "deleted"])
def test_a_copy_whose_store_is_away_stays(people, gate, copies, meanwhile):
    store = gate.stores.get("archive")
    delete = store.delete

    def away(location):
        assert people.owner.get(copies).json["stores"] == "fast"
        if meanwhile == "renamed":
            change = {"op": "replace", "path": "/name", "value": "x"}
            assert people.owner.patch(copies, change).status_int == 200
        if meanwhile == "deleted":
            store.delete = away_still
            assert people.owner.delete(copies).status_int == 204
        raise errors.StoreUnavailable(store="archive", problem="away")

    def away_still(location):
        raise errors.StoreUnavailable(store="archive", problem="away")

    store.delete = away
    answer = people.admin.delete(f"/v2/stores/archive/{copies.rpartition('/')[2]}")
    assert reason(answer) == (503, "store_unavailable")
    store.delete = delete
    assert gate.cleanup.sweep() == (meanwhile == "deleted")
    if meanwhile == "deleted":
        assert held(gate) == [[], []]
        assert gate.registry.usage("p1") == Usage()
    else:
        assert people.admin.get(copies).json["stores"] == "fast,archive"
        answer = people.admin.delete(f"/v2/stores/archive/{copies.rpartition('/')[2]}")
        assert answer.status_int == 204


def test_a_copy_of_any_url_can_be_removed(people, gate, path):
    """Databases have room for 255 characters of what is being done."""
    people.owner.upload(path, b"data")
    image, store, url = record(gate, path), gate.stores.get("archive"), "x" * 1000
    with store.create(url, 4) as sink:
        sink.write(b"data")
        copy = Location("archive", sink.commit())
    gate.registry.change(image.id, {}, locations=(*image.locations, copy))
    delete, noted = store.delete, []

    def look(location):
        noted.append(record(gate, path).upload_key)
        delete(location)

    store.delete = look
    assert people.admin.delete(f"/v2/stores/archive/{image.id}").status_int == 204
    assert [len(key) for key in noted] == [64]
    assert (store.held(), record(gate, path).locations) == ([], image.locations)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_dies_while_it_removes_a_copy_leaves_none(people, gate, copies, when):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    store, change = gate.stores.get("archive"), gate.registry.change
    delete, image_id = store.delete, copies.rpartition("/")[2]

    def dies(location):
        gate.registry.change = killed
        if when == "before":
            raise Killed
        delete(location)

    store.delete = dies
    with pytest.raises(Killed):
        people.admin.delete(f"/v2/stores/archive/{image_id}")
    store.delete, gate.registry.change = delete, change
    copy = {"method": {"name": "copy-image"}, "stores": ["archive"]}
    assert reason(people.admin.post(f"{copies}/import", copy)) == (409, "wrong_status")
    assert gate.cleanup.sweep() == 0
    gate.registry.change(image_id, {}, upload_expires=1.0)
    assert gate.cleanup.sweep() == 1
    assert [location.store for location in record(gate, copies).locations] == ["fast"]
    assert gate.stores.get("archive").held() == []
    assert people.owner.get(f"{copies}/file").body == b"data"
    assert people.admin.post(f"{copies}/import", copy).status_int == 202


def test_a_copy_that_a_faulty_driver_does_not_delete_stays(people, gate, copies):
    def faulty(location):
        raise ZeroDivisionError

    gate.stores.get("archive").delete = faulty
    with pytest.raises(ZeroDivisionError):
        people.admin.delete(f"/v2/stores/archive/{copies.rpartition('/')[2]}")
    assert people.admin.get(copies).json["stores"] == "fast,archive"


def test_the_only_copy_stays(people, owner, path):
    owner.upload(path)
    image_id = path.rpartition("/")[2]
    assert reason(people.admin.delete(f"/v2/stores/fast/{image_id}")) == (403, "forbidden")
    assert reason(people.admin.delete(f"/v2/stores/archive/{image_id}")) == (404, "not_found")


def test_copies_of_what_has_no_data_cannot_be_deleted(people, path):
    answer = people.admin.delete(f"/v2/stores/fast/{path.rpartition('/')[2]}")
    assert reason(answer) == (409, "wrong_status")


@pytest.mark.parametrize("store", ["fast", "archive"])
def test_staged_data_that_its_store_has_lost(gate, owner, path, store):
    assert owner.put(f"{path}/stage", b"data", **OCTETS).status_int == 204
    [staged] = record(gate, path).locations
    gate.stores.get(staged.store).delete(staged.url)
    body = {"method": {"name": "glance-direct"}, "stores": [store]}
    assert owner.post(f"{path}/import", body).status_int == 202
    assert gate.engine.run_one()
    [task] = owner.get(f"{path}/tasks").json["tasks"]
    assert (task["status"], task["result"]) == ("failure", {"error_code": "source_failed"})
    assert f"store {staged.store} has lost it" in task["message"]
    assert record(gate, path).status == Status.QUEUED


@pytest.mark.parametrize("visibility", ["shared", "community", "public"])
def test_what_an_import_asked_for_is_its_own_projects(people, visibility):
    """The query of a URI may hold a signature."""
    path = people.admin.create(
        visibility=visibility, owner="p1", disk_format="raw", container_format="bare"
    )
    uri = "https://mirror.example/image?signature=secret"
    body = {"method": {"name": "web-download", "uri": uri}}
    assert people.owner.post(f"{path}/import", body).status_int == 202
    if visibility == "shared":
        assert people.owner.post(f"{path}/members", {"member": "p3"}).status_int == 200
    shown = {}
    for name in ("owner", "reader", "admin", "sharer"):
        answer = getattr(people, name).get(f"{path}/tasks")
        [shown[name]] = answer.json["tasks"]
        assert ("secret" in answer.text) == (name != "sharer")
    untold = {"input": None, "user_id": None, "request_id": None}
    assert shown["owner"]["input"]["import_req"] == body
    assert shown["owner"]["user_id"] == "user of p1"
    assert shown["owner"] == shown["reader"] == shown["admin"]
    assert shown["sharer"] == {**shown["owner"], **untold}


def test_an_upload_that_lost_its_image_is_gone(gate, owner, people, path):
    """Deleted while its data comes."""

    class Deletes(servers.Input):
        def read(self, size=-1):
            if self.given:
                assert owner.delete(path).status_int == 204
            return super().read(size)

    entries = {"REQUEST_METHOD": "PUT", "PATH_INFO": f"{path}/file", IDENTITY: PEOPLE["owner"]}
    request = servers.environ(Deletes(b"data", step=2), length=4, **entries)
    answer = servers.serve(gate.app, request)
    assert (answer.code, answer.reason) == (410, "image_gone")
    assert held(gate) == [[], []]
    assert gate.registry.expired(2**40) == []


@pytest.mark.parametrize("error", [errors.StoreUnavailable, errors.StoreDenied])
def test_a_store_that_fails_is_named_with_retry_after(owner, gate, path, error, caplog):
    def create(key, size):
        raise error(store="fast", problem="away")

    gate.stores.get("fast")._watched.create = create
    answer = owner.put(f"{path}/file", b"data", **OCTETS)
    assert reason(answer) == (503, error.reason)
    assert answer.headers["Retry-After"] == "30"
    assert record(gate, path).status == Status.QUEUED
    logged = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert logged == ["Writing to store fast fails: away"]
