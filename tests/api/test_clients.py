"""What typed clients send and read: members that they do not use, ids, and numbers."""

import dataclasses
import urllib.parse

import pytest

from imsgate import model
from imsgate.testing.gateways import gateway, memory_store
from tests.api.buckets import MemoryBuckets, options
from tests.api.people import PEOPLE, V20, Person, reason, replace

FORMATS = {"disk_format": "raw", "container_format": "bare"}
URL = "bkt:a.raw"
NEW = {"name": "n", "image_url": URL, "min_disk": 40}


class Site:
    """A gateway under one profile, and those who ask it."""

    def __init__(self, profile, **groups):
        buckets = MemoryBuckets()
        buckets.objects["bkt", "a.raw"] = bytes(512)
        stores = [memory_store("fast"), memory_store("archive")]
        further = options(profile, "p1:bkt", locations={"stores": ["archive"]}, **groups)
        self.gate = gateway(stores=stores, buckets=buckets, further=further)
        for name, who in PEOPLE.items():
            setattr(self, name, Person(self.gate.app, who))

    def run(self):
        while self.gate.engine.run_one():
            pass

    def queued(self, **fields):
        return self.owner.create(**FORMATS, **fields)

    def active(self, **fields):
        path = self.queued(**fields)
        self.owner.upload(path)
        return path


@pytest.fixture
def plain():
    return Site("none")


@pytest.fixture
def huawei():
    return Site("huawei")


# Unused members

UNUSED_OF_A_NEW_IMAGE = {
    "id": None,
    "name": None,
    "tags": None,
    "min_disk": None,
    "min_ram": None,
    "protected": None,
    "os_hidden": None,
    "visibility": None,
    "custom": None,
    "size": None,
    "checksum": None,
    "__description": None,
    "hw_firmware_type": None,
}


@pytest.mark.parametrize("profile", ["none", "huawei"])
@pytest.mark.parametrize("unused", [None, ""], ids=repr)
def test_unused_members_of_a_new_image(profile, unused):
    names = ["id", "visibility", "disk_format", "container_format"]
    if profile == "huawei":
        names += ["hw_firmware_type", "enterprise_project_id", "virtual_env_type", "__os_version"]
    body = UNUSED_OF_A_NEW_IMAGE if unused is None else dict.fromkeys(names, unused)
    owner = Site(profile).owner
    made, expected = (owner.post("/v2/images", document) for document in (body, {}))
    assert made.status_int == 201, made
    differ = {"id", "self", "file", "created_at", "updated_at"}
    assert {k: v for k, v in made.json.items() if k not in differ} == {
        k: v for k, v in expected.json.items() if k not in differ
    }


EMPTY_OF_A_NEW_IMAGE = {
    "status": ["", None],
    "checksum": ["", None],
    "os_hash_value": ["", None],
    "size": ["", None],
    "created_at": ["", None],
    "schema": ["", None],
    "locations": [[], "", None],
    "stores": ["", []],
    "deleted_at": ["", None],
    "os_glance_importing_to_stores": ["", []],
    "min_disk": ["", []],
    "min_ram": ["", {}],
    "protected": ["", []],
    "os_hidden": [""],
    "tags": ["", {}],
    "name": [[], {}],
    "properties": [{}, []],
}


@pytest.mark.parametrize("profile", ["none", "huawei"])
@pytest.mark.parametrize("name", EMPTY_OF_A_NEW_IMAGE)
def test_empty_members_of_a_new_image(profile, name):
    """Whether a client may set the attribute or not: nothing is set."""
    owner = Site(profile).owner
    for empty in EMPTY_OF_A_NEW_IMAGE[name]:
        made = owner.post("/v2/images", {"name": "n", **FORMATS, name: empty})
        assert made.status_int == 201, (empty, made)
        assert made.json["status"] == "queued"
        assert made.json["checksum"] is None


@pytest.mark.parametrize("name", ["__support_kvm", "max_ram", "hw_vif_multiqueue_enabled"])
def test_empty_attributes_of_ims(name, huawei):
    made = huawei.owner.post("/v2/images", {"name": "n", name: ""})
    assert made.status_int == 201
    assert name not in made.json


def test_an_empty_property_is_a_value(plain):
    made = plain.owner.post("/v2/images", {"os_distro": "", "mine": "", "name": ""})
    assert [made.json[name] for name in ("os_distro", "mine", "name")] == ["", "", ""]


@pytest.mark.parametrize(
    ("member", "status"),
    [
        ({"status": "active"}, 403),
        ({"size": 0}, 403),
        ({"locations": [{"url": "file:///etc/passwd"}]}, 403),
        ({"deleted_at": "now"}, 403),
        ({"min_disk": " "}, 400),
        ({"properties": {"a": "b"}}, 400),
    ],
    ids=repr,
)
def test_what_has_a_meaning_is_refused(member, status, plain):
    assert plain.owner.post("/v2/images", member).status_int == status


def test_a_change_to_an_empty_value_is_not_ignored(plain):
    path = plain.queued()
    answers = {
        name: plain.owner.patch(path, replace(name, "")) for name in ("min_disk", "checksum")
    }
    assert {name: answer.status_int for name, answer in answers.items()} == {
        "min_disk": 400,
        "checksum": 403,
    }
    assert plain.owner.patch(path, replace("name", "")).json["name"] == ""


def test_a_null_owner_is_a_value(plain):
    """As in Glance: an image that belongs to nobody, which only an administrator may ask for."""
    assert plain.owner.post("/v2/images", {"owner": None}).status_int == 403


def test_unused_operations_of_an_old_patch(plain):
    path = plain.queued()
    change = {"replace": "/name", "add": "", "remove": None, "value": "n"}
    assert plain.owner.patch(path, change, kind=V20).json["name"] == "n"


@pytest.mark.parametrize("unused", [None, ""], ids=repr)
@pytest.mark.parametrize("stores", [None, []], ids=repr)
def test_unused_members_of_an_import(plain, unused, stores):
    path = plain.queued()
    staged = plain.owner.put(f"{path}/stage", b"data", Content_Type="application/octet-stream")
    assert staged.status_int == 204
    method = {"name": "glance-direct", "uri": unused, "digest": unused}
    further = dict.fromkeys(("all_stores", "all_stores_must_succeed", "import_from"), unused)
    body = {"method": method, "stores": stores, **further}
    assert plain.owner.post(f"{path}/import", body).status_int == 202
    plain.run()
    assert plain.owner.get(path).json["status"] == "active"


def test_a_download_needs_its_uri(plain):
    body = {"method": {"name": "web-download", "uri": ""}}
    answer = plain.owner.post(f"{plain.queued()}/import", body)
    assert reason(answer) == (400, "uri_refused")


@pytest.mark.parametrize(
    "unused",
    [None, {}, {"os_hash_algo": "", "os_hash_value": ""}, {"os_hash_algo": None}],
    ids=repr,
)
def test_unused_members_of_a_location(plain, unused):
    with plain.gate.stores.get("archive").create("object", None) as sink:
        sink.write(b"data")
        sink.commit()
    path = plain.queued()
    body = {"url": "memory://archive/object", "validation_data": unused}
    assert plain.admin.post(f"{path}/locations", body).status_int == 403
    nova = dataclasses.replace(PEOPLE["owner"], service_roles=frozenset({"service"}))
    service = Person(plain.gate.app, nova)
    assert service.post(f"{path}/locations", body).status_int == 202


UNUSED_OF_A_CREATION = [
    "type", "os_type", "os_version", "is_config", "is_config_init", "is_quick_import", "cmk_id",
    "description", "min_ram", "max_ram", "architecture", "hw_firmware_type", "tags", "image_tags",
    "enterprise_project_id", "data_images", "instance_id", "volume_id",
]  # fmt: skip


@pytest.mark.parametrize("unused", [None, ""], ids=repr)
def test_unused_members_of_a_creation(huawei, unused):
    further = dict.fromkeys(UNUSED_OF_A_CREATION, unused)
    assert huawei.owner.post("/v2/cloudimages/action", {**NEW, **further}).status_int == 200
    huawei.run()
    (image,) = huawei.owner.get("/v2/cloudimages").json["images"]
    assert image["status"] == "active"
    assert image["tags"] == []
    assert image["enterprise_project_id"] == "0"
    assert "hw_firmware_type" not in image


@pytest.mark.parametrize("unused", [None, ""], ids=repr)
def test_unused_members_of_other_calls(huawei, unused):
    path = huawei.active()
    image_id = path.rpartition("/")[2]
    tag = {"key": "k", "value": "v"}
    calls = {
        "PUT /v1/cloudimages/tags": {"image_id": image_id, "tag": unused, "image_tag": tag},
        f"POST /v1/cloudimages/{image_id}/file": {
            "bucket_url": "bkt:b.raw",
            "file_format": "raw",
            "is_quick_export": unused,
        },
        f"POST /v2/p1/images/{image_id}/tags/action": {"action": "create", "tags": unused},
        f"POST /v2/images/{image_id}/members": {"member": "p3", "status": unused},
    }
    for call, body in calls.items():
        method, _, where = call.partition(" ")
        answer = huawei.owner.ask(method, where, body)
        assert answer.status_int < 300, (call, answer)
    body = {"image_id": image_id, "tag": "a=b", "image_tag": unused}
    assert huawei.owner.put("/v1/cloudimages/tags", body).status_int == 204
    body = {"images": [image_id], "project_id": "p3", "status": "accepted", "vault_id": unused}
    assert huawei.sharer.put("/v1/cloudimages/members", body).status_int == 200


# Identifiers


def quoted(text):
    return urllib.parse.quote(text, safe="")


GIVEN = "71C675ab-D94F-49CD-A114-E12490B328D9"
CASES = [GIVEN, GIVEN.lower(), GIVEN.upper()]


@pytest.mark.parametrize("image_id", CASES)
def test_an_id_is_shown_as_given_and_found_in_any_case(huawei, image_id):
    owner, sharer = huawei.owner, huawei.sharer
    made = owner.post("/v2/images", {**FORMATS, "id": GIVEN})
    assert made.headers["Location"].endswith(f"/v2/images/{GIVEN}")
    assert not [name for name in made.json if name.startswith("os_glance")]
    path = f"/v2/images/{image_id}"
    owner.upload(path)
    for shown in (made.json, owner.get(path).json, owner.patch(path, replace("name", "n")).json):
        assert (shown["id"], shown["self"]) == (GIVEN, f"/v2/images/{GIVEN}")
        assert shown["file"] == f"/v2/images/{GIVEN}/file"
    other = owner.create(created_at=None).rpartition("/")[2]
    for query in (f"id={image_id}", f"id=in:{image_id}", f"id=eq:{image_id}"):
        for where in ("/v2/images", "/v2/cloudimages"):
            listed = owner.get(f"{where}?{query}").json["images"]
            assert [image["id"] for image in listed] == [GIVEN], query
    page = owner.get("/v2/images?sort=created_at:asc&limit=1").json
    assert page["next"].endswith(f"marker={GIVEN}")
    assert [image["id"] for image in owner.get(page["next"]).json["images"]] == [other]
    ask = f"/v2/images?sort=created_at:asc&marker={image_id}"
    assert [image["id"] for image in owner.get(ask).json["images"]] == [other]
    assert owner.post(f"{path}/members", {"member": "p3"}).json["image_id"] == GIVEN
    assert owner.get(f"{path}/members").json["members"][0]["image_id"] == GIVEN
    assert sharer.put(f"{path}/members/p3", {"status": "accepted"}).json["image_id"] == GIVEN
    assert owner.put(f"{path}/tags/t").status_int == 204
    tag = {"image_id": image_id, "tag": "a=b"}
    assert owner.put("/v1/cloudimages/tags", tag).status_int == 204
    assert owner.get(f"/v2/p1/images/{image_id}/tags").status_int == 200
    assert owner.get(f"{path}/file").body == b"data"


@pytest.mark.parametrize("image_id", CASES)
def test_jobs_show_the_id_as_given(huawei, image_id):
    owner = huawei.owner
    owner.create(**FORMATS, id=GIVEN)
    started = owner.put(f"/v1/cloudimages/{image_id}/upload", {"image_url": URL}).json["job_id"]
    huawei.run()
    for job_id in (started, started.upper()):
        job = owner.get(f"/v1/cloudimages/job/{job_id}").json
        assert (job["status"], job["entities"]["image_id"]) == ("SUCCESS", GIVEN)
    (task,) = owner.get(f"/v2/images/{image_id}/tasks").json["tasks"]
    assert (task["image_id"], task["result"]) == (GIVEN, {"image_id": GIVEN})
    assert huawei.admin.get(f"/v2/tasks/{task['id'].upper()}").json == task
    assert huawei.admin.get(f"/v2/tasks?marker={task['id'].upper()}").json["tasks"] == []
    body = {"images": [image_id, GIVEN.lower()], "projects": ["p3"]}
    job_id = owner.post("/v1/cloudimages/members", body).json["job_id"]
    job = owner.get(f"/v1/cloudimages/job/{job_id}").json
    assert job["entities"]["results"] == [
        {"image_id": GIVEN, "project_id": "p3", "status": "success"}
    ]
    assert reason(owner.post("/v2/images", {"id": image_id})) == (409, "already_exists")
    assert owner.delete(f"/v2/images/{image_id}").status_int == 204
    assert reason(owner.post("/v2/images", {"id": image_id})) == (409, "already_exists")


def test_the_message_names_the_id_that_was_asked_for(plain):
    answer = plain.owner.get(f"/v2/images/{GIVEN}", Accept="application/json")
    assert GIVEN in answer.json["message"]


ODD = ["a/b", "a//b", "a=b", "k=http://x", "a b", "ä€", "a?b#c", "%2F", "a.b", "...", "a;b", "tags"]


@pytest.mark.parametrize("tag", ODD)
def test_every_tag_that_is_accepted_can_be_named(plain, tag):
    path = plain.queued(tags=[tag])
    for answer in (
        plain.owner.delete(f"{path}/tags/{quoted(tag)}"),
        plain.owner.put(f"{path}/tags/{quoted(tag)}"),
        plain.owner.delete(f"{path}/tags/{quoted(tag)}"),
    ):
        assert answer.status_int == 204, answer
    assert plain.owner.get(path).json["tags"] == []


NOT_IN_PATHS = ["a\nb", "a\r", "\ta", "a\x7f", "a\u2028b", "/a", "a/", ".", "..", "a/../b"]


@pytest.mark.parametrize("tag", NOT_IN_PATHS)
def test_a_tag_that_no_path_can_name_is_refused(plain, tag):
    assert reason(plain.owner.post("/v2/images", {"tags": [tag]})) == (400, "bad_json")
    path = plain.queued()
    assert reason(plain.owner.patch(path, replace("tags", [tag]))) == (400, "bad_json")


def test_a_stored_tag_that_no_path_can_name_hinders_nobody(plain):
    path = plain.queued()
    stored = plain.gate.registry.get(path.rpartition("/")[2])
    plain.gate.registry.change(stored.id, {}, tags=frozenset({"a/"}))
    assert plain.owner.put(f"{path}/tags/b").status_int == 204
    assert plain.owner.patch(path, replace("tags", ["a/", "c"])).json["tags"] == ["a/", "c"]


@pytest.mark.parametrize("project", [*NOT_IN_PATHS, "a/b", "a//b"])
def test_a_project_that_no_path_can_name_is_refused(huawei, project):
    path = huawei.queued()
    image_id = path.rpartition("/")[2]
    if project == project.strip():  # as in Glance, the spaces around an id do not count
        answer = huawei.owner.post(f"{path}/members", {"member": project})
        assert reason(answer) == (400, "bad_json")
    body = {"images": [image_id], "projects": ["p3", project]}
    assert reason(huawei.owner.post("/v1/cloudimages/members", body)) == (400, "bad_json")
    assert huawei.owner.get(f"{path}/members").json["members"] == []


@pytest.mark.parametrize("project", ["a/b", "a//b", "a\nb"])
def test_a_stored_member_with_an_odd_id_can_be_removed(plain, project):
    path = plain.queued()
    now = model.now()
    image_id = path.rpartition("/")[2]
    plain.gate.registry.add_member(
        model.Member(image_id=image_id, member_id=project, created_at=now, updated_at=now)
    )
    member = f"{path}/members/{quoted(project)}"
    assert plain.owner.get(member).json["member_id"] == project
    assert plain.owner.delete(member).status_int == 204
    assert plain.owner.get(f"{path}/members").json["members"] == []


@pytest.mark.parametrize("key", ["action", "a/b", "a//b", "tags", "ä", "a b"])
def test_every_key_of_a_tag_that_is_accepted_can_be_named(huawei, key):
    path = huawei.queued()
    image_id = path.rpartition("/")[2]
    tags = f"/v2/p1/images/{image_id}/tags"
    assert huawei.owner.post(tags, {"tag": {"key": key, "value": "v"}}).status_int == 204
    assert huawei.owner.delete(f"{tags}/{quoted(key)}").status_int == 204
    assert huawei.owner.get(tags).json == {"tags": []}
    bad = huawei.owner.post(tags, {"tag": {"key": "a\n", "value": "v"}})
    assert reason(bad) == (400, "bad_attribute")


@pytest.mark.parametrize("name", [" a", "a ", " "])
def test_a_property_that_no_patch_can_name_is_refused(plain, name):
    assert reason(plain.owner.post("/v2/images", {name: "x"})) == (400, "bad_json")


# Paths, codes and words of IMS

NO_ROUTES = [
    "/v1/p1/cloudimages",
    "/v1/p1/cloudimages/x/unknown",
    "/v1/cloudimages/x/y/z",
    "/v1/p1/anything/else",
    "/v1.1/p1/servers",
    "/v2/cloudimages/x/y",
    "/v2.1/cloudimages/x",
    "/v3/cloudimages",
    "/v3/p1/cloudimages/x",
    "/v2/p1/images/unknown/x",
]


@pytest.mark.parametrize("path", NO_ROUTES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_unknown_path_of_the_vendors_is_404_in_its_form(huawei, path, method):
    answer = huawei.owner.ask(method, path)
    assert reason(answer) == (404, "not_found")
    assert answer.headers["X-Request-Id"]
    if method != "HEAD":
        assert answer.json["error_code"] == "APIGW.0101"


@pytest.mark.parametrize("path", ["/v1/images/detail", "/v1/images", "/anything", "/v3/x"])
def test_an_unknown_path_of_a_signed_request_is_404(huawei, path):
    answer = huawei.owner.get(path, X_Sdk_Date="20260101T000000Z")
    assert (answer.status_int, answer.json["error_code"]) == (404, "APIGW.0101")
    assert "versions" in huawei.owner.get(path).json


@pytest.mark.parametrize("path", ["/", "/v1", "/v2", "/v2.1", "/v1.1/"])
@pytest.mark.parametrize("signed", [{}, {"X_Sdk_Date": "x"}], ids=["token", "signed"])
def test_versions_are_listed_to_all(huawei, path, signed):
    answer = huawei.owner.get(path, **signed)
    assert answer.status_int == 300
    assert answer.headers["X-Request-Id"]


BAD_ID = "not-a-uuid"
TAG = {"key": "k", "value": "v"}
MALFORMED = {
    f"PUT /v1/cloudimages/{BAD_ID}/upload": {"image_url": URL},
    f"POST /v1/cloudimages/{BAD_ID}/file": {"bucket_url": URL, "file_format": "raw"},
    f"PATCH /v2/cloudimages/{BAD_ID}": [{"op": "replace", "path": "/name", "value": "n"}],
    f"GET /v2/p1/images/{BAD_ID}/tags": None,
    f"POST /v2/p1/images/{BAD_ID}/tags": {"tag": TAG},
    f"DELETE /v2/p1/images/{BAD_ID}/tags/k": None,
    f"POST /v2/p1/images/{BAD_ID}/tags/action": {"action": "create", "tags": [TAG]},
    "PUT /v1/cloudimages/tags": {"image_id": BAD_ID, "tag": "a=b"},
    "POST /v1/cloudimages/members": {"images": [BAD_ID], "projects": ["p3"]},
    "DELETE /v1/cloudimages/members": {"images": [BAD_ID], "projects": ["p3"]},
    "PUT /v1/cloudimages/members": {
        "images": [BAD_ID],
        "project_id": "p1",
        "status": "accepted",
    },
}


def ask(person, call, body):
    method, _, path = call.partition(" ")
    return person.ask(method, path, b"" if body is None else body)


@pytest.mark.parametrize(("call", "body"), MALFORMED.items(), ids=MALFORMED)
def test_a_malformed_image_id(huawei, call, body):
    answer = ask(huawei.owner, call, body)
    assert (answer.status_int, answer.json["error"]["code"]) == (400, "IMG.0066")
    assert ask(huawei.nobody, call, body).status_int == 401


@pytest.mark.parametrize("member", ["instance_id", "volume_id"])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/cloudimages/action",
        "/v2/cloudimages/quickimport/action",
        "/v1/cloudimages/dataimages/action",
    ],
)
@pytest.mark.parametrize("further", [{}, {"name": "n"}, NEW], ids=["alone", "named", "with-url"])
def test_images_of_servers_and_volumes_are_not_offered(huawei, member, path, further):
    answer = huawei.owner.post(path, {member: "x", **further})
    assert (answer.status_int, answer.json["error"]["code"]) == (400, "IMG.0105")


def test_refusals_have_the_vendors_words_for_statuses(huawei):
    image_id = huawei.queued().rpartition("/")[2]
    upload = f"/v1/cloudimages/{image_id}/upload"
    assert huawei.owner.put(upload, {"image_url": URL}).status_int == 200
    refused = huawei.owner.put(upload, {"image_url": URL}).json["error"]
    assert (refused["code"], refused["status"], refused["needed"]) == (
        "IMG.0046",
        "saving",
        "queued",
    )
    assert "importing" not in str(refused)
    huawei.run()
    assert huawei.owner.post(f"/v2/images/{image_id}/actions/deactivate").status_int == 204
    export = f"/v1/cloudimages/{image_id}/file"
    refused = huawei.owner.post(export, {"bucket_url": "bkt:b", "file_format": "raw"}).json["error"]
    assert (refused["code"], refused["status"]) == ("IMG.0046", "active")
    assert "deactivated" not in str(refused)


def test_every_answer_has_a_request_id(huawei):
    image_id = huawei.active().rpartition("/")[2]
    for call in (
        "GET /v2/cloudimages",
        "GET /v1/cloudimages/quota",
        "GET /v1/cloudimages/os_version",
        f"GET /v2/p1/images/{image_id}/tags",
        "GET /v1/cloudimages/nothing/here",
        "GET /v1/p1/jobs/x",
        "GET /v2/images",
        f"GET /v2/images/{image_id}/file",
        f"PUT /v2/images/{image_id}/tags/t",
        "GET /v2/images/x",
        "GET /v2/nothing",
        "GET /v1.1/images/detail",
    ):
        assert ask(huawei.owner, call, None).headers["X-Request-Id"], call


@pytest.mark.parametrize("name", ["min_disk", "min_ram"])
def test_a_whole_number_is_shown_as_it_is_stored(plain, name):
    made = plain.owner.post("/v2/images", {name: 7.0})
    changed = plain.owner.patch(made.json["self"], replace(name, 8.0))
    assert f'"{name}":7,' in made.text
    assert f'"{name}":8,' in changed.text


# Failures that pollers can see

FAILED, MESSAGE = "os_glance_failed_import", "os_glance_failed_import_message"


def failing(site, how):
    """Begin what fails for a queued image; its path."""
    path = site.queued()
    image_id = path.rpartition("/")[2]
    if how == "download":
        body = {"method": {"name": "web-download", "uri": "http://localhost/disk"}}
        answer = site.owner.post(f"{path}/import", body)
    elif how == "register":
        body = {"image_url": "bkt:missing"}
        answer = site.owner.put(f"/v1/cloudimages/{image_id}/upload", body)
    else:
        url = "memory://archive/object"
        with site.gate.stores.get("archive").create("object", None) as sink:
            sink.write(b"data")
            sink.commit()
        validation = {"os_hash_algo": "sha256", "os_hash_value": "0" * 64}
        body = {"url": url, "validation_data": validation}
        service = dataclasses.replace(PEOPLE["owner"], service_roles=frozenset({"service"}))
        answer = Person(site.gate.app, service).post(f"{path}/locations", body)
    assert answer.status_int in (200, 202), answer
    return path


@pytest.mark.parametrize("how", ["download", "register", "location"])
@pytest.mark.parametrize("profile", ["none", "huawei"])
def test_a_failed_import_says_so_in_the_record(how, profile):
    site = Site(profile)
    path = failing(site, how)
    assert MESSAGE not in site.owner.get(path).json
    site.run()
    (task,) = site.owner.get(f"{path}/tasks").json["tasks"]
    assert task["status"] == "failure"
    shown = site.owner.get(path).json
    assert (shown["status"], shown[MESSAGE]) == ("queued", task["message"])
    assert shown[FAILED] == ("archive" if how == "location" else "fast")
    site.owner.upload(path)
    assert MESSAGE not in site.owner.get(path).json


@pytest.mark.parametrize("how", ["download", "register", "location"])
def test_the_message_can_be_switched_off(how):
    site = Site("none", jobs={"failure_message": False})
    path = failing(site, how)
    site.run()
    shown = site.owner.get(path).json
    assert shown["status"] == "queued"
    assert shown[FAILED]
    assert MESSAGE not in shown


def test_a_new_import_forgets_the_message(plain):
    path = failing(plain, "download")
    plain.run()
    plain.owner.put(f"/v1/cloudimages/{path.rpartition('/')[2]}/upload", {"image_url": URL})
    plain.run()
    shown = plain.owner.get(path).json
    assert shown["status"] == "active"
    assert shown[FAILED] == ""
    stored = plain.gate.registry.get(path.rpartition("/")[2])
    assert MESSAGE not in stored.properties


# Calls of IMS for tags and members


@pytest.fixture
def tagged(huawei):
    """A site whose four images have tags; the ids by name."""
    tags = {"a": ["k=1", "j=1"], "b": ["k=2"], "c": ["j=1", "plain"], "d": []}
    ids = {
        name: huawei.queued(name=name, tags=some).rpartition("/")[2] for name, some in tags.items()
    }
    return huawei, ids


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["j=1", "k=1", "k=2", "plain"]),
        ("limit=2", ["j=1", "k=1"]),
        ("limit=3&page=2", ["plain"]),
        ("limit=3&page=3", []),
        ("name=b", ["k=2"]),
        ("id={a}", ["j=1", "k=1"]),
        ("status=active", []),
        ("__imagetype=private&status=queued&limit=1", ["j=1"]),
    ],
)
def test_tags_of_images(tagged, query, expected):
    site, ids = tagged
    answer = site.owner.get(f"/v1/cloudimages/tags?{query.format(**ids)}")
    assert answer.json == {"tags": expected}


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "page=0", 'name=in:"a'])
def test_tags_of_images_with_a_bad_query(tagged, query):
    answer = tagged[0].owner.get(f"/v1/cloudimages/tags?{query}")
    assert (answer.status_int, answer.json["error"]["code"]) == (400, "IMG.0001")


def k(*values):
    return {"key": "k", "values": list(values)}


J = {"key": "j", "values": ["1"]}

SEARCHES = [
    ({}, "abcd"),
    ({"tags": [k()]}, "ab"),
    ({"tags": [k("1", "2")]}, "ab"),
    ({"tags": [k("1"), J]}, "a"),
    ({"tags": [{"key": "plain"}]}, "c"),
    ({"tags_any": [k("2"), J]}, "abc"),
    ({"not_tags": [k("1"), J]}, "bcd"),
    ({"not_tags_any": [k(), J]}, "d"),
    ({"without_any_tag": True, "tags": [k()]}, "d"),
    ({"matches": [{"key": "resource_name", "value": "b"}]}, "b"),
    ({"matches": [{"key": "resource_id", "value": "{a}"}]}, "a"),
    ({"tags": [], "tags_any": None, "matches": [], "limit": "", "offset": None}, "abcd"),
]


@pytest.mark.parametrize(("search", "expected"), SEARCHES, ids=str)
def test_images_are_found_by_tags(tagged, search, expected):
    site, ids = tagged
    if search.get("matches") and search["matches"][0]["value"] == "{a}":
        search = {"matches": [{"key": "resource_id", "value": ids["a"].upper()}]}
    where = "/v2/p1/images/resource_instances/action"
    found = site.owner.post(where, {"action": "filter", **search}).json
    assert sorted(one["resource_name"] for one in found["resources"]) == list(expected)
    assert found["total_count"] == len(expected)
    count = site.owner.post(where, {"action": "count", **search}).json
    assert count == {"total_count": len(expected)}


def test_a_page_of_images_found_by_tags(tagged):
    site, ids = tagged
    where = "/v2/p1/images/resource_instances/action"
    pages = [
        site.owner.post(where, {"action": "filter", "limit": "3", "offset": offset}).json
        for offset in ("0", 3)
    ]
    found = [one for page in pages for one in page["resources"]]
    assert {one["resource_id"] for one in found} == set(ids.values())
    assert [len(page["resources"]) for page in pages] == [3, 1]
    (a,) = (one for one in found if one["resource_name"] == "a")
    assert a["tags"] == [{"key": "j", "value": "1"}, {"key": "k", "value": "1"}]
    assert a["resource_detail"] == {"status": "queued"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "IMG.0001"),
        ({"action": "delete"}, "IMG.0001"),
        ({"action": "filter", "limit": "0"}, "IMG.0001"),
        ({"action": "filter", "offset": -1}, "IMG.0001"),
        ({"action": "filter", "tags": "k"}, "IMG.0115"),
        ({"action": "filter", "tags": [{"values": ["1"]}]}, "IMG.0115"),
        ({"action": "filter", "tags": [k(), k()]}, "IMG.0115"),
        ({"action": "filter", "matches": [{"key": "x", "value": "y"}]}, "IMG.0001"),
    ],
    ids=str,
)
def test_searches_that_are_refused(huawei, body, expected):
    answer = huawei.owner.post("/v2/p1/images/resource_instances/action", body)
    assert (answer.status_int, answer.json["error"]["code"]) == (400, expected)


def test_another_projects_images_are_not_searched(huawei):
    where = "/v2/p2/images/resource_instances/action"
    assert huawei.owner.post(where, {"action": "count"}).status_int == 404


def test_members_on_the_vendors_path(huawei):
    image_id = huawei.queued().rpartition("/")[2]
    for project in ("p3", "p4", "p5"):
        huawei.owner.post(f"/v2/images/{image_id}/members", {"member": project})
    where = f"/v1/p1/cloudimages/{image_id}/members"
    page = huawei.owner.get(where).json
    assert [one["member_id"] for one in page["members"]] == ["p3", "p4", "p5"]
    assert page["page_info"] == {"current_count": 3}
    native = huawei.owner.get(f"/v2/images/{image_id}/members").json
    assert (page["members"], page["schema"]) == (native["members"], native["schema"])
    page = huawei.owner.get(f"{where}?limit=2").json
    assert page["page_info"] == {"current_count": 2, "next_marker": "p4"}
    page = huawei.owner.get(f"{where}?limit=2&marker=p4").json
    assert [one["member_id"] for one in page["members"]] == ["p5"]
    assert huawei.owner.get(f"{where}/p4").json["member_id"] == "p4"
    assert huawei.sharer.get(f"/v1/p3/cloudimages/{image_id}/members/p3").status_int == 200
    assert huawei.owner.get(f"{where}/p9").status_int == 404
    assert huawei.owner.get(f"{where}?marker=p9").status_int == 400
    assert huawei.other.get(f"/v1/p2/cloudimages/{image_id}/members").status_int == 404
    assert huawei.owner.get(f"/v1/p2/cloudimages/{image_id}/members").status_int == 404


# Copies


def copied(site, person, image_id, **body):
    """The job of a copy, after it has ended."""
    answer = person.post(f"/v1/cloudimages/{image_id}/copy", body)
    assert answer.status_int == 200, answer
    site.run()
    return person.get(f"/v1/cloudimages/job/{answer.json['job_id']}").json


def test_a_copy_within_the_region(huawei):
    path = huawei.active(
        id=GIVEN, name="old", own="x", min_disk=20, tags=["t"], __description="d", protected=True
    )
    job = copied(huawei, huawei.owner, GIVEN, name="new", description="copy", cmk_id="")
    assert (job["status"], job["job_type"]) == ("SUCCESS", "imsCopyImageInRegionJob")
    entities = job["entities"]
    assert (entities["image_name"], entities["process_percent"]) == ("new", 1.0)
    copy, old = (
        huawei.owner.get(where).json for where in (f"/v2/images/{entities['image_id']}", path)
    )
    assert copy["id"] != old["id"]
    expected = {"name": "new", "__description": "copy", "__data_origin": f"image,{GIVEN}"}
    assert {name: copy[name] for name in expected} == expected
    same = ("own", "min_disk", "disk_format", "checksum", "size", "__image_size", "__os_version")
    assert {name: copy[name] for name in same} == {name: old[name] for name in same}
    assert (copy["status"], copy["tags"], copy["protected"]) == ("active", [], False)
    huawei.owner.patch(path, replace("protected", False))
    assert huawei.owner.delete(path).status_int == 204
    assert huawei.owner.get(f"{copy['self']}/file").body == b"data"


def test_a_member_copies_an_image_into_its_own_project(huawei):
    path = huawei.active()
    huawei.owner.post(f"{path}/members", {"member": "p3"})
    job = copied(huawei, huawei.sharer, path.rpartition("/")[2], name="mine")
    image = huawei.sharer.get(f"/v2/images/{job['entities']['image_id']}").json
    assert (image["owner"], image["__imagetype"], image["status"]) == ("p3", "private", "active")


def test_a_copy_of_what_is_gone_leaves_nothing(huawei):
    path = huawei.active()
    image_id = path.rpartition("/")[2]
    started = huawei.owner.post(f"/v1/cloudimages/{image_id}/copy", {"name": "n"}).json["job_id"]
    assert huawei.owner.delete(path).status_int == 204
    huawei.run()
    assert huawei.owner.get(f"/v1/cloudimages/job/{started}").json["status"] == "FAIL"
    assert huawei.owner.get("/v2/images").json["images"] == []
    assert huawei.gate.stores.get("fast").held() == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "IMG.0013")),
        ({"name": "a/b"}, (400, "IMG.0003")),
        ({"name": "n", "description": "<"}, (400, "IMG.0054")),
        ({"name": "n", "cmk_id": "x"}, (400, "IMG.0105")),
    ],
    ids=str,
)
def test_copies_that_are_refused(huawei, body, expected):
    image_id = huawei.active().rpartition("/")[2]
    answer = huawei.owner.post(f"/v1/cloudimages/{image_id}/copy", body)
    assert (answer.status_int, answer.json["error"]["code"]) == expected
    assert len(huawei.owner.get("/v2/images").json["images"]) == 1


def test_who_and_what_is_not_copied(huawei):
    queued, active = (path.rpartition("/")[2] for path in (huawei.queued(), huawei.active()))
    body = {"name": "n"}
    for person, image_id, expected in (
        (huawei.owner, queued, (400, "IMG.0046")),
        (huawei.owner, BAD_ID, (400, "IMG.0066")),
        (huawei.other, active, (404, "IMG.0027")),
        (huawei.reader, active, (403, "IMG.0026")),
    ):
        answer = person.post(f"/v1/cloudimages/{image_id}/copy", body)
        assert (answer.status_int, answer.json["error"]["code"]) == expected
