"""Records: creating, showing, tagging, deactivating, deleting."""

import re
import urllib.parse
import uuid

import pytest

from imsgate import errors
from imsgate.model import Location, Status
from imsgate.testing.gateways import gateway, memory_store
from tests.api.people import PEOPLE, Person, add, reason, remove, replace

ID = "71C675AB-D94F-49CD-A114-E12490B328D9"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def limited(**api):
    return Person(gateway(**api).app, PEOPLE["owner"])


# Creating


def test_an_empty_document_makes_an_image(owner):
    answer = owner.post("/v2/images", {})
    made = answer.json
    assert answer.status_int == 201
    assert uuid.UUID(made["id"]).version == 4
    assert answer.headers["Location"].endswith(f"/v2/images/{made['id']}")
    assert answer.headers["OpenStack-image-store-ids"] == "fast,archive"
    times = [made.pop("created_at"), made.pop("updated_at")]
    assert times[0] == times[1]
    assert TIME.fullmatch(times[0])
    path = f"/v2/images/{made['id']}"
    assert made == {
        "id": made["id"],
        "name": None,
        "status": "queued",
        "visibility": "shared",
        "owner": "p1",
        "disk_format": None,
        "container_format": None,
        "size": None,
        "virtual_size": None,
        "checksum": None,
        "os_hash_algo": None,
        "os_hash_value": None,
        "min_disk": 0,
        "min_ram": 0,
        "protected": False,
        "os_hidden": False,
        "tags": [],
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }


FIELDS = {
    "name": "café ☃",
    "visibility": "private",
    "protected": True,
    "os_hidden": True,
    "tags": ["b", "a"],
    "min_disk": 2**31 - 1,
    "min_ram": 512,
    "disk_format": "qcow2",
    "container_format": "bare",
    "hw_disk_bus": "scsi",
    "": None,
}


def test_what_was_given_is_shown(owner):
    fields = {name: value for name, value in FIELDS.items() if name}
    path = owner.create(**fields)
    shown = owner.get(path).json
    assert {name: shown[name] for name in fields} == {**fields, "tags": ["a", "b"]}


def test_what_clients_copy_of_another_image_is_not_kept(owner):
    shown = owner.get(owner.create(os_hash_algo="md5", os_hash_value="0" * 32)).json
    assert shown["os_hash_algo"] is shown["os_hash_value"] is None
    answer = owner.post("/v2/images", {"os_hash_value": 5})
    assert reason(answer) == (400, "bad_json")


def test_a_client_may_choose_the_id(owner):
    path = owner.create(id=ID)
    assert path == f"/v2/images/{ID}"
    assert owner.get(f"/v2/images/{ID.lower()}").json["id"] == ID


@pytest.mark.parametrize("who", ["owner", "other", "admin"])
@pytest.mark.parametrize("state", ["there", "deleted"])
def test_no_id_is_ever_used_twice(people, state, who):
    path = people.owner.create(id=ID)
    if state == "deleted":
        people.owner.delete(path)
    answer = getattr(people, who).post("/v2/images", {"id": ID.lower()})
    assert reason(answer) == (409, "already_exists")


def test_a_repeated_tag_is_one(owner):
    assert owner.get(owner.create(tags=["a", "a"])).json["tags"] == ["a"]


REFUSED = {
    "array": ([], 400, "bad_json"),
    "number": (1, 400, "bad_json"),
    "null": (None, 400, "bad_json"),
    "no-json": (b"{", 400, "bad_json"),
    "nothing": (b"", 400, "bad_json"),
    "not-utf-8": (b'{"name": "\xff"}', 400, "bad_json"),
    "deep": (b"[" * 100_000, 400, "bad_json"),
    "deep-objects": (b'{"a":' * 900 + b"1" + b"}" * 900, 400, "bad_json"),
    "many-values": ({"tags": ["a"] * 10_000}, 400, "bad_json"),
    "half-a-pair": (b'{"name": "\\ud800"}', 400, "bad_json"),
    "nul": (b'{"name": "\\u0000"}', 400, "bad_json"),
    "nul-in-utf-16": ('{"name": "\\u0000"}'.encode("utf-16"), 400, "bad_json"),
    "nul-in-a-key": (b'{"a\\u0000": "b"}', 400, "bad_json"),
    "id": ({"id": "1"}, 400, "bad_json"),
    "id-with-a-line": ({"id": f"{ID}\n"}, 400, "bad_json"),
    "name-number": ({"name": 1}, 400, "bad_json"),
    "name-long": ({"name": "a" * 256}, 400, "bad_json"),
    "visibility": ({"visibility": "secret"}, 400, "bad_json"),
    "disk_format": ({"disk_format": "floppy"}, 400, "bad_json"),
    "container_format": ({"container_format": "box"}, 400, "bad_json"),
    "protected": ({"protected": "yes"}, 400, "bad_json"),
    "protected-number": ({"protected": 1}, 400, "bad_json"),
    "min_disk": ({"min_disk": -1}, 400, "bad_json"),
    "min_disk-fraction": ({"min_disk": 1.5}, 400, "bad_json"),
    "min_disk-large": ({"min_disk": 2**31}, 400, "bad_json"),
    "min_disk-text": ({"min_disk": "1"}, 400, "bad_json"),
    "min_ram-bool": ({"min_ram": True}, 400, "bad_json"),
    "tags-text": ({"tags": "a"}, 400, "bad_json"),
    "tag-number": ({"tags": [1]}, 400, "bad_json"),
    "tag-long": ({"tags": ["a" * 256]}, 400, "bad_json"),
    "tag-empty": ({"tags": [""]}, 400, "bad_json"),
    "property-number": ({"custom": 1}, 400, "bad_json"),
    "property-object": ({"custom": {"a": "b"}}, 400, "bad_json"),
    "property-long": ({"custom": "x" * 65536}, 400, "bad_json"),
    "property-without-a-name": ({"": "x"}, 400, "bad_json"),
    "property-with-a-long-name": ({"a" * 256: "x"}, 400, "bad_json"),
    **{
        f"read-only-{name}": ({name: "x"}, 403, "read_only")
        for name in "checksum created_at direct_url file schema self "
        "size status stores updated_at virtual_size locations".split()
    },
    **{
        f"reserved-{name}": ({name: "x"}, 403, "reserved")
        for name in ("location", "deleted", "deleted_at", "os_glance_failed_import", "os_glance")
    },
}


@pytest.mark.parametrize(("document", "status", "why"), REFUSED.values(), ids=REFUSED)
def test_refused(owner, document, status, why):
    answer = owner.post("/v2/images", document)
    assert reason(answer) == (status, why)
    assert owner.get("/v2/images").json["images"] == []


def test_a_backslash_before_u0000_is_no_nul(owner):
    assert owner.get(owner.create(name="\\u0000")).json["name"] == "\\u0000"


QUOTAS = {
    "properties": ("image_property_quota", lambda n: {f"p{i}": "x" for i in range(n)}),
    "tags": ("image_tag_quota", lambda n: {"tags": [f"t{i}" for i in range(n)]}),
}


@pytest.mark.parametrize(("option", "fields"), QUOTAS.values(), ids=QUOTAS)
@pytest.mark.parametrize(
    ("quota", "count", "status"),
    [(0, 0, 201), (0, 1, 413), (2, 2, 201), (2, 3, 413), (-1, 200, 201)],
)
def test_quotas(option, fields, quota, count, status):
    answer = limited(**{option: quota}).post("/v2/images", fields(count))
    assert answer.status_int == status
    if status == 413:
        assert answer.headers["X-Imsgate-Reason"] == "quota_exceeded"


def test_properties_have_a_size_in_all(owner):
    full = {"a": "x" * 65535, "b": "\u00e4" * 32767 + "x"}  # 128 KiB with the two names
    path = owner.create(**full)
    for name, value in (("c", ""), ("a", "\u00e4" * 65535)):
        assert reason(owner.patch(path, add(name, value))) == (413, "quota_exceeded")
    assert reason(owner.post("/v2/images", {**full, "c": ""})) == (413, "quota_exceeded")
    assert owner.patch(path, replace("name", "still to be changed")).status_int == 200
    assert owner.patch(path, {"op": "remove", "path": "/b"}, add("c", "x")).status_int == 200


def test_quotas_hold_for_every_way_to_add():
    owner = limited(image_property_quota=1, image_tag_quota=1, image_member_quota=1)
    path = owner.create(a="1", tags=["t"])
    assert reason(owner.patch(path, add("b", "2"))) == (413, "quota_exceeded")
    assert reason(owner.patch(path, replace("tags", ["t", "u"]))) == (413, "quota_exceeded")
    assert reason(owner.put(f"{path}/tags/u")) == (413, "quota_exceeded")
    assert owner.put(f"{path}/tags/t").status_int == 204
    assert owner.patch(path, add("b", "2"), remove("a")).status_int == 200
    assert owner.post(f"{path}/members", {"member": "p2"}).status_int == 200
    assert reason(owner.post(f"{path}/members", {"member": "p3"})) == (413, "quota_exceeded")


# Showing


@pytest.mark.parametrize(
    "image_id",
    ["71c675ab-d94f-49cd-a114-e12490b328d9", "nothing", "a%2Fb", "%F0%9F%92%BE", "." * 300],
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
def test_what_never_was_is_404(people, method, image_id):
    for person in (people.owner, people.admin):
        assert person.ask(method, f"/v2/images/{image_id}").status_int == 404


def test_head_is_get_without_a_body(owner):
    path = owner.create()
    head, get = owner.ask("HEAD", path), owner.get(path)
    assert (head.status_int, head.body) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


# Tags


@pytest.mark.parametrize("tag", ["a", "a b", "caf%C3%A9", "a" * 255, "%25"])
def test_tags_come_and_go(owner, tag):
    path = owner.create(tags=["kept"])
    for _ in range(2):
        assert owner.put(f"{path}/tags/{tag}").status_int == 204
    assert len(owner.get(path).json["tags"]) == 2
    assert owner.delete(f"{path}/tags/{tag}").status_int == 204
    assert reason(owner.delete(f"{path}/tags/{tag}")) == (404, "not_found")
    assert owner.get(path).json["tags"] == ["kept"]


@pytest.mark.parametrize("tag", [" a", "a ", "\u00a0a", "a/b", "a%2Fb", "\U0001f600"])
def test_every_call_can_name_a_tag_that_was_accepted(owner, tag):
    path, name = owner.create(tags=[tag]), urllib.parse.quote(tag, safe="")
    found = owner.get(f"/v2/images?tag={name}").json["images"]
    assert [image["tags"] for image in found] == [[tag]]
    assert owner.delete(f"{path}/tags/{name}").status_int == 204
    assert owner.put(f"{path}/tags/{name}").status_int == 204
    assert owner.get(path).json["tags"] == [tag]


@pytest.mark.parametrize("tag", ["a%2F", "%2Fa", "%2F%2Fa", "a%2F%2F"])
def test_a_slash_at_either_end_does_not_make_it_another_tag(owner, tag):
    path = owner.create(tags=["a"])
    assert reason(owner.put(f"{path}/tags/{tag}")) == (400, "bad_json")
    assert reason(owner.delete(f"{path}/tags/{tag}")) == (404, "not_found")
    assert owner.get(path).json["tags"] == ["a"]


def test_a_tag_that_is_too_long_is_refused(owner):
    path = owner.create()
    assert reason(owner.put(f"{path}/tags/{'a' * 256}")) == (400, "bad_json")


# Deactivating


def test_deactivating_and_back(owner, people):
    path = owner.create(disk_format="raw", container_format="bare")
    owner.upload(path)
    for action, status in (("deactivate", "deactivated"), ("reactivate", "active")):
        for _ in range(2):
            assert owner.post(f"{path}/actions/{action}").status_int == 204
            assert owner.get(path).json["status"] == status
        code = 200 if status == "active" else 403
        assert owner.get(f"{path}/file").status_int == code
        assert people.admin.get(f"{path}/file").status_int == 200


@pytest.mark.parametrize("action", ["deactivate", "reactivate"])
def test_only_what_has_data_can_be_deactivated(owner, action):
    path = owner.create()
    assert reason(owner.post(f"{path}/actions/{action}")) == (403, "forbidden")


# Deleting


def test_a_deleted_image_is_gone_for_everybody(owner, people, gate):
    path = owner.create(disk_format="raw", container_format="bare")
    owner.upload(path)
    assert owner.delete(path).status_int == 204
    for person in (owner, people.admin):
        assert person.get(path).status_int == 404
        assert person.delete(path).status_int == 404
        assert person.get(f"{path}/file").status_int == 404
        assert person.get("/v2/images").json["images"] == []
    assert gate.stores.get("fast").held() == []


def test_a_protected_image_stays(owner, people):
    path = owner.create(protected=True)
    for person in (owner, people.admin):
        assert reason(person.delete(path)) == (403, "protected")
    owner.patch(path, add("protected", False))
    assert owner.delete(path).status_int == 204


class Away(type(memory_store())):
    """A store that is away whenever something is to be deleted."""

    away = True

    def delete(self, location):
        if self.away:
            raise errors.StoreUnavailable(store=self.name, problem="away")
        super().delete(location)


def test_a_store_that_is_away_is_swept_later():
    store = Away("fast", memory_store().settings)
    gate = gateway(stores=[store])
    owner = Person(gate.app, PEOPLE["owner"])
    path = owner.create(disk_format="raw", container_format="bare")
    owner.upload(path)
    assert owner.delete(path).status_int == 204
    assert owner.get(path).status_int == 404
    assert gate.cleanup.sweep() == 0
    assert len(store.held()) == 1
    store.away = False
    assert gate.cleanup.sweep() == 1
    assert store.held() == []
    assert gate.registry.expired(0) == []


def test_locations_are_never_shown(owner, gate):
    path = owner.create(disk_format="raw", container_format="bare")
    owner.upload(path)
    image = gate.registry.get(path.rpartition("/")[2])
    [location] = image.locations
    assert isinstance(location, Location)
    assert image.status == Status.ACTIVE
    answer = owner.get(path)
    assert answer.json["stores"] == "fast"
    assert location.url not in answer.text


# Ways that do not exist


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v2/images", "GET, POST"),
        ("DELETE", "/v2/images", "GET, POST"),
        ("POST", "/v2/images/x", "GET, PATCH, DELETE"),
        ("PUT", "/v2/images/x", "GET, PATCH, DELETE"),
        ("POST", "/v2/images/x/file", "GET, PUT"),
        ("GET", "/v2/images/x/tags/t", "PUT, DELETE"),
        ("GET", "/v2/images/x/actions/deactivate", "POST"),
        ("POST", "/versions", "GET"),
    ],
)
def test_methods_that_do_not_exist(owner, method, path, allowed):
    answer = owner.ask(method, path)
    assert reason(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "path",
    ["/v2/nothing", "/v2/images/x/nothing", "/v2//v2/images", "/v2/images//file", "/v2/schemas/x"],
)
def test_paths_that_do_not_exist(owner, path):
    assert reason(owner.get(path)) == (404, "not_found")


@pytest.mark.parametrize("collection", ["/v2/images", "/v2/tasks", "{image}/members"])
def test_nothing_has_an_empty_id(owner, collection):
    path = collection.format(image=owner.create()) + "/"
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        assert reason(owner.ask(method, path)) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v2/images/%ff", "/v2/images/%ed%a0%80", "/v2/images/a%00"])
def test_paths_that_are_no_text(owner, path):
    assert reason(owner.get(path)) == (400, "bad_request")
