"""What typed clients send and read: members that they do not use, ids, and numbers."""

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

    def __init__(self, profile):
        buckets = MemoryBuckets()
        buckets.objects["bkt", "a.raw"] = b"data"
        stores = [memory_store("fast"), memory_store("archive")]
        further = options(profile, "p1:bkt", locations={"stores": ["archive"]})
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
    "owner": None,
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
    body = {"method": method, "stores": stores, "all_stores": None, "all_stores_must_succeed": None}
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
    owner = PEOPLE["owner"]
    service = Person(
        plain.gate.app,
        type(owner)(
            user_id="nova", project_id="p1", roles=owner.roles, service_roles=frozenset({"service"})
        ),
    )
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
    assert ("X-Request-Id" in answer.headers) == bool(signed)


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


def test_every_answer_on_the_vendors_paths_has_a_request_id(huawei):
    image_id = huawei.active().rpartition("/")[2]
    for call in (
        "GET /v2/cloudimages",
        "GET /v1/cloudimages/quota",
        "GET /v1/cloudimages/os_version",
        f"GET /v2/p1/images/{image_id}/tags",
        "GET /v1/cloudimages/nothing/here",
        "GET /v1/p1/jobs/x",
    ):
        assert ask(huawei.owner, call, None).headers["X-Request-Id"], call
    shown = huawei.owner.get(f"/v2/images/{image_id}", X_Sdk_Date="x")
    assert shown.headers["X-Request-Id"]


@pytest.mark.parametrize("name", ["min_disk", "min_ram"])
def test_a_whole_number_is_shown_as_it_is_stored(plain, name):
    made = plain.owner.post("/v2/images", {name: 7.0})
    changed = plain.owner.patch(made.json["self"], replace(name, 8.0))
    assert f'"{name}":7,' in made.text
    assert f'"{name}":8,' in changed.text
