"""Huawei's image service in front of memory: what is derived, refused and shown."""

import types
import uuid

import pytest

from imsgate.api.ims import systems
from imsgate.buckets.base import Accounts
from imsgate.errors import BadAttribute, Unavailable
from imsgate.stores.memory import MemoryStore
from imsgate.testing.gateways import gateway, memory_store, settings
from tests.api.buckets import MemoryBuckets, options
from tests.api.people import PEOPLE, Person, add, remove, replace
from tests.api.test_imports import ReadOnly
from tests.filters.alone import alone
from tests.formats import craft

__all__ = ["alone"]

RAW = b"raw." * 128
URL = "bkt:a.raw"


def started(profile):
    """A gateway, its buckets and the people who ask it."""
    buckets = MemoryBuckets()
    buckets.objects["bkt", "a.raw"] = RAW
    made = gateway(buckets=buckets, further=options(profile, "p1:bkt"))
    people = {name: Person(made.app, who) for name, who in PEOPLE.items()}
    return types.SimpleNamespace(
        engine=made.engine, registry=made.registry, buckets=buckets, **people
    )


@pytest.fixture
def huawei():
    return started("huawei")


@pytest.fixture
def plain():
    return started("none")


def code(answer):
    """Status and code of a refusal, in either of the two forms."""
    told = answer.json
    return answer.status_int, told.get("error_code") or told["error"]["code"]


def made(asks, **fields):
    answer = asks.owner.post("/v2/images", fields)
    assert answer.status_int == 201, answer
    return answer.json


def register(asks, image_id, url=URL):
    return asks.owner.put(f"/v1/cloudimages/{image_id}/upload", {"image_url": url})


def finished(asks, answer):
    """The job that a call started, done now."""
    assert answer.status_int == 200, answer
    asks.engine.run_one()
    return asks.owner.get(f"/v1/cloudimages/job/{answer.json['job_id']}").json


def taken_over(asks, answer):
    """The job whose worker died, done now: its lease has run out."""
    job = asks.registry.get_job(str(uuid.UUID(answer.json["job_id"])))
    asks.registry.change_job(job.id, job.epoch, {"lease": 0.0})
    return finished(asks, answer)


def active(asks, **fields):
    image_id = made(asks, **fields)["id"]
    job = finished(asks, register(asks, image_id))
    assert job["status"] == "SUCCESS", job
    return image_id


# Records

SYSTEMS = {
    "Ubuntu 22.04 server 64bit": ("Ubuntu", "Linux", "64"),
    "Redhat Linux Enterprise 8.4 64bit": ("RedHat", "Linux", "64"),
    "openSUSE 15 64bit": ("OpenSUSE", "Linux", "64"),
    "SUSE Enterprise 12 SP5 64bit": ("SUSE", "Linux", "64"),
    "Oracle Linux Server release 7.6 64bit": ("Oracle Linux", "Linux", "64"),
    "Windows 7 32bit": ("Windows", "Windows", "32"),
    "Other Windows (64 bit)": ("Other", "Windows", "64"),
    "Other Linux(32 bit)": ("Other", "Linux", "32"),
    None: ("Other", "Linux", "64"),
}


@pytest.mark.parametrize("version", SYSTEMS)
def test_what_a_version_says(huawei, version):
    image = made(huawei, **({} if version is None else {"__os_version": version}))
    told = tuple(image[name] for name in ("__platform", "__os_type", "__os_bit"))
    assert told == SYSTEMS[version]
    assert image["__os_version"] == (version or systems.DEFAULT)


def test_another_version_changes_what_it_says(huawei):
    path = made(huawei, __os_version="Ubuntu 22.04 server 64bit")["self"]
    image = huawei.owner.patch(path, replace("__os_version", "Windows 10 32bit")).json
    told = tuple(image[name] for name in ("__platform", "__os_type", "__os_bit"))
    assert told == ("Windows", "Windows", "32")
    assert huawei.owner.patch(path, replace("__os_version", "Plan 9")).status_int == 400


def test_every_version_offered_is_taken():
    for platform in systems.offered():
        for version in platform["version_list"]:
            assert systems.parse(version["os_version"]).platform == platform["platform"]


def test_a_new_image(huawei):
    image = made(huawei)
    fixed = {
        "status": "queued",
        "name": "",
        "visibility": "private",
        "protected": False,
        "owner": "p1",
        "container_format": "bare",
        "disk_format": "zvhd2",
        "min_ram": 0,
        "min_disk": 0,
        "tags": [],
        "__image_source_type": "uds",
        "__image_size": "0",
        "__isregistered": "true",
        "__imagetype": "private",
        "__root_origin": "file",
        "virtual_env_type": "FusionCompute",
        "enterprise_project_id": "0",
    }
    assert fixed.items() <= image.items()
    assert all(isinstance(value, str) for name, value in image.items() if name.startswith("__"))
    assert made(huawei, disk_format="iso")["virtual_env_type"] == "IsoImage"
    told = made(huawei, __image_size="7", __imagetype="gold", __os_type="Windows")
    assert (told["__image_size"], told["__imagetype"], told["__os_type"]) == (
        "0",
        "private",
        "Linux",
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "x" * 129}, "IMG.0002"),
        ({"name": " x"}, "IMG.0003"),
        ({"name": "a/b"}, "IMG.0003"),
        ({"__os_version": "Plan 9"}, "IMG.0056"),
        ({"min_disk": 9}, "IMG.0055"),
        ({"min_disk": 19, "__os_version": "Windows 10 64bit"}, "IMG.0055"),
        ({"min_disk": 1025}, "IMG.0055"),
        ({"hw_firmware_type": "coreboot"}, "IMG.0141"),
        ({"virtual_env_type": "Xen"}, "IMG.0024"),
        ({"virtual_env_type": "IsoImage", "disk_format": "raw"}, "IMG.0024"),
        ({"__description": "x" * 1025}, "IMG.0004"),
        ({"__description": "a > b"}, "IMG.0054"),
    ],
    ids=str,
)
def test_what_cannot_be_made(huawei, fields, expected):
    answer = huawei.owner.post("/v2/images", fields, X_Sdk_Date="x")
    assert code(answer) == (400, expected)


def test_limits_differ_by_cloud():
    otc = started("otc")
    assert made(otc, min_disk=1)["min_disk"] == 1
    assert otc.owner.post("/v2/images", {"min_disk": 1025}).status_int == 400


def test_without_a_profile_nothing_is_added(plain):
    image = made(plain, name="n", __os_version="Plan 9", min_disk=5)
    assert image["visibility"] == "shared"
    assert image["disk_format"] is None
    added = {name for name in image if name.startswith(("__", "virtual_env"))}
    assert added == {"__os_version"}
    answer = plain.owner.put(f"{image['self']}/file", RAW, Content_Type="application/octet-stream")
    assert answer.headers["X-Imsgate-Reason"] == "formats_not_set"


def test_both_dialects_show_the_same_image(plain):
    image_id = active(plain, name="both", disk_format="raw", container_format="bare")
    (image,) = plain.owner.get(f"/v2/cloudimages?id={image_id}").json["images"]
    record = plain.owner.get(f"/v2/images/{image_id}").json
    same = ("id", "name", "size", "checksum", "os_hash_value", "owner", "created_at", "file")
    assert {name: image[name] for name in same} == {name: record[name] for name in same}
    assert image["__image_size"] == str(record["size"])
    assert image["__platform"] == "Other"
    assert not [name for name in image if name.startswith("os_glance")]


def test_a_format_that_is_declared_counts(huawei):
    image_id = made(huawei, disk_format="qcow2")["id"]
    job = finished(huawei, register(huawei, image_id))
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0057")
    assert huawei.owner.get(f"/v2/images/{image_id}").json["status"] == "queued"


def test_where_data_came_from(huawei):
    image = made(huawei, __data_origin="file,bkt:forged")
    assert "__data_origin" not in image
    job = finished(huawei, register(huawei, image["id"], "bkt:missing"))
    assert job["status"] == "FAIL"
    assert "__data_origin" not in huawei.owner.get(image["self"]).json
    job = finished(huawei, register(huawei, image["id"]))
    assert job["status"] == "SUCCESS"
    assert huawei.owner.get(image["self"]).json["__data_origin"] == f"file,{URL}"
    for change in (replace("__data_origin", "file,bkt:forged"), remove("__data_origin")):
        assert huawei.owner.patch(image["self"], change).status_int == 403
    job = finished(huawei, huawei.owner.post("/v2/cloudimages/action", GOOD))
    created = huawei.owner.get(f"/v2/images/{job['entities']['image_id']}").json
    assert created["__data_origin"] == f"file,{URL}"


def found_by(asks, **filters):
    asked = "&".join(f"{name}={value}" for name, value in filters.items())
    return {image["id"] for image in asks.owner.get(f"/v2/cloudimages?{asked}").json["images"]}


def test_lists_find_what_is_shown(huawei):
    queued = made(huawei, __support_kvm="True", __support_agent_list="hss,ces")["id"]
    done = active(huawei, disk_format="raw")
    both = {queued, done}
    cases = [
        ({"status": "in:queued,active"}, both),
        ({"status": "in:saving,active"}, {done}),
        ({"status": "eq:active"}, {done}),
        ({"disk_format": "zvhd2"}, {queued}),
        ({"disk_format": "in:zvhd2,raw"}, both),
        ({"disk_format": "raw"}, {done}),
        ({"__isregistered": "True"}, both),
        ({"__isregistered": "False"}, set()),
        ({"__support_kvm": "True"}, {queued}),
        ({"__support_kvm": "true"}, {queued}),
        ({"__support_kvm": "False"}, both),
        ({"__support_agent_list": "hss,ces"}, {queued}),
    ]
    for filters, expected in cases:
        assert found_by(huawei, **filters) == expected, filters


@pytest.mark.parametrize("path", ["/v2/images", "/v2/cloudimages"])
def test_the_processor_is_found_after_a_change(huawei, path):
    image_id = active(huawei)

    def change(operation):
        assert huawei.owner.patch(f"{path}/{image_id}", operation).status_int == 200
        return len(found_by(huawei, architecture="arm"))

    assert change(add("__support_arm", "True")) == 1
    assert change(replace("__support_arm", "false")) == 0
    assert change(add("__support_arm", "true")) == 1
    assert change({**remove("__support_arm"), "value": "true"}) == 0
    assert found_by(huawei, architecture="x86") == {image_id}


def test_what_an_image_does_not_support_is_not_shown(huawei):
    image = made(huawei, __support_kvm="false", __support_xen="true")
    assert "__support_kvm" not in image
    assert image["__support_xen"] == "true"
    image = huawei.owner.patch(image["self"], replace("__support_xen", "False")).json
    assert "__support_xen" not in image


def test_an_iso_is_one_whether_declared_or_found(huawei):
    huawei.buckets.objects["bkt", "a.iso"] = craft.iso_primary()
    kinds = {"declared": {"disk_format": "iso"}, "found": {}, "data": {}, "queued": {}}
    kinds["data"]["virtual_env_type"] = "DataImage"
    ids = {name: made(huawei, **fields)["id"] for name, fields in kinds.items()}
    for name in ("declared", "found"):
        job = finished(huawei, register(huawei, ids[name], "bkt:a.iso"))
        assert job["status"] == "SUCCESS"
    expected = {"IsoImage": ("declared", "found"), "FusionCompute": ("queued",)}
    expected["DataImage"] = ("data",)
    for kind, names in expected.items():
        assert found_by(huawei, virtual_env_type=kind) == {ids[name] for name in names}
        for name in names:
            image = huawei.owner.get(f"/v2/images/{ids[name]}").json
            assert image["virtual_env_type"] == kind


def test_an_iso_image_is_made_of_an_iso(huawei):
    huawei.buckets.objects["bkt", "a.iso"] = craft.iso_primary()
    body = {**GOOD, "type": "IsoImage", "os_version": "CentOS 7.9 64bit"}
    job = finished(huawei, huawei.owner.post("/v2/cloudimages/action", body))
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0057")
    body["image_url"] = "bkt:a.iso"
    job = finished(huawei, huawei.owner.post("/v2/cloudimages/action", body))
    assert job["status"] == "SUCCESS"
    assert found_by(huawei, virtual_env_type="IsoImage") == {job["entities"]["image_id"]}


def test_nothing_has_no_format(alone):
    app = alone("sniff", gateway(further=options("huawei")).app)
    asks = types.SimpleNamespace(owner=Person(app, PEOPLE["owner"]))

    def upload(**fields):
        image = made(asks, **fields)
        headers = {"Content_Type": "application/octet-stream", "X_Sdk_Date": "x"}
        answer = asks.owner.put(f"{image['self']}/file", b"", **headers)
        return answer, asks.owner.get(image["self"]).json["status"]

    refused, status = upload()
    assert (code(refused), status) == ((400, "IMG.0057"), "queued")
    taken, status = upload(disk_format="raw")
    assert (taken.status_int, status) == (204, "active")


# Changes


def test_changes(huawei):
    image_id = active(huawei, name="old")
    path = f"/v2/cloudimages/{image_id}"
    changes = [
        replace("name", "new"),
        add("__description", "d"),
        add("__support_kvm", "true"),
        add("min_ram", "1024"),
        add("max_ram", 4096),
        add("hw_vif_multiqueue_enabled", True),
        add("hw_firmware_type", "uefi"),
        add("own", "x"),
    ]
    image = huawei.owner.patch(path, *changes, kind="application/json").json
    assert (image["name"], image["__description"], image["min_ram"]) == ("new", "d", 1024)
    assert (image["max_ram"], image["own"], image["__support_kvm"]) == ("4096", "x", "true")
    assert "own" not in huawei.owner.patch(path, remove("own")).json


def test_an_image_made_private_can_be_shared(huawei):
    image = made(huawei, visibility="private")
    shown = huawei.owner.patch(image["self"], replace("visibility", "private"))
    assert shown.json["visibility"] == "private"
    answer = huawei.owner.post(f"{image['self']}/members", {"member": "p3"})
    assert answer.status_int == 200
    assert huawei.sharer.get(image["self"]).json["visibility"] == "shared"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (replace("missing", "x"), "IMG.0035"),
        (remove("missing"), "IMG.0035"),
        (replace("__os_version", "Ubuntu 22.04 server 64bit"), "IMG.0035"),
        (replace("__image_size", "1"), "IMG.0035"),
        (replace("__data_origin", "file,bkt:x"), "IMG.0035"),
        (replace("min_disk", 1), "IMG.0035"),
        (replace("visibility", "public"), "IMG.0035"),
        (add("Upper", "x"), "IMG.0035"),
        (replace("name", ""), "IMG.0013"),
        (replace("name", "a/b"), "IMG.0003"),
        (add("min_ram", "many"), "IMG.0055"),
        (add("max_ram", "zzz"), "IMG.0055"),
        (add("max_ram", True), "IMG.0055"),
        (add("hw_vif_multiqueue_enabled", "maybe"), "IMG.0035"),
        (add("__description", "a <b"), "IMG.0054"),
        (add("__description", "a\rb"), "IMG.0054"),
        (add("hw_firmware_type", "x"), "IMG.0141"),
        (add("own", {}), "IMG.0035"),
    ],
    ids=str,
)
def test_what_cannot_be_changed(huawei, change, expected):
    image_id = active(huawei, name="old")
    answer = huawei.owner.patch(f"/v2/cloudimages/{image_id}", change)
    assert code(answer) == (400, expected)


def test_only_active_images_are_changed_and_exported(huawei):
    image_id = made(huawei)["id"]
    answer = huawei.owner.patch(f"/v2/cloudimages/{image_id}", replace("name", "n"))
    assert code(answer) == (400, "IMG.0046")
    target = {"bucket_url": "bkt:b.raw", "file_format": "raw"}
    answer = huawei.owner.post(f"/v1/cloudimages/{image_id}/file", target)
    assert code(answer) == (400, "IMG.0046")


@pytest.mark.parametrize("flag", ["true", 1, {"a": 1}], ids=str)
def test_a_flag_that_is_no_boolean_is_refused(huawei, flag):
    """It was ignored: the client got something else than it asked for."""
    image_id = active(huawei)
    target = {"bucket_url": "bkt:b.raw", "file_format": "raw", "is_quick_export": flag}
    search = {"action": "filter", "without_any_tag": flag}
    for path, body in {
        f"/v1/cloudimages/{image_id}/file": target,
        "/v2/p1/images/resource_instances/action": search,
    }.items():
        assert code(huawei.owner.post(path, body)) == (400, "IMG.0001")


@pytest.mark.parametrize("when", ["before", "during"])
def test_an_image_that_is_deactivated_meanwhile_is_not_exported(huawei, when):
    image_id = active(huawei)
    create = huawei.buckets.create

    def deactivate():
        assert huawei.owner.post(f"/v2/images/{image_id}/actions/deactivate").status_int == 204

    def deactivating(*args):
        deactivate()
        return create(*args)

    target = {"bucket_url": "bkt:b.raw", "file_format": "raw"}
    answer = huawei.owner.post(f"/v1/cloudimages/{image_id}/file", target)
    if when == "before":
        deactivate()
    else:
        huawei.buckets.create = deactivating
    assert finished(huawei, answer)["status"] == "FAIL"
    assert ("bkt", "b.raw") not in huawei.buckets.objects
    assert not huawei.buckets.begun


# Jobs


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "IMG.0017"),
        ({"image_url": 7}, "IMG.0017"),
        ({"image_url": "a:b:c"}, "IMG.0017"),
        ({"image_url": "b?acl:x"}, "IMG.0109"),
        ({"image_url": "b/../c:x"}, "IMG.0109"),
        ({"image_url": "bkt:x\r\nHost: y"}, "IMG.0017"),
        ({"image_url": "bkt:x\r\nHost"}, "IMG.0075"),
        ({"image_url": ":x"}, "IMG.0068"),
        ({"image_url": "bkt:"}, "IMG.0073"),
        ({"image_url": "others:x"}, "IMG.0069"),
        ([], "IMG.0001"),
        (b"", "IMG.0007"),
    ],
    ids=str,
)
def test_objects_that_are_refused(huawei, body, expected):
    image_id = made(huawei)["id"]
    calls = (
        ("PUT", f"/v1/cloudimages/{image_id}/upload"),
        ("POST", "/v2/cloudimages/action"),
        ("POST", "/v2/cloudimages/quickimport/action"),
        ("POST", "/v1/cloudimages/dataimages/action"),
    )
    for method, path in calls:
        assert code(huawei.owner.ask(method, path, body)) == (400, expected)
    image_id = active(huawei)
    if isinstance(body, dict) and body:
        body = {"bucket_url": body["image_url"]}
    answer = huawei.owner.post(f"/v1/cloudimages/{image_id}/file", body)
    assert code(answer) == (400, expected if body != {} else "IMG.0017")


GOOD = {"name": "n", "image_url": URL, "min_disk": 40}


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        ("/v2/cloudimages/action", {"name": None}, "IMG.0013"),
        ("/v2/cloudimages/action", {"min_disk": None}, "IMG.0055"),
        ("/v2/cloudimages/action", {"min_disk": 9}, "IMG.0055"),
        ("/v2/cloudimages/action", {"min_disk": 0}, "IMG.0055"),
        ("/v2/cloudimages/action", {"instance_id": "x"}, "IMG.0105"),
        ("/v2/cloudimages/action", {"cmk_id": "x"}, "IMG.0105"),
        ("/v2/cloudimages/action", {"type": "Xen"}, "IMG.0024"),
        ("/v2/cloudimages/action", {"type": ["ECS"]}, "IMG.0024"),
        ("/v2/cloudimages/action", {"type": "IsoImage"}, "IMG.0166"),
        ("/v2/cloudimages/action", {"os_version": "Plan 9"}, "IMG.0056"),
        ("/v2/cloudimages/action", {"os_type": "Plan 9"}, "IMG.0056"),
        ("/v2/cloudimages/action", {"os_type": ["Linux"]}, "IMG.0056"),
        ("/v2/cloudimages/action", {"architecture": "mips"}, "IMG.0212"),
        ("/v2/cloudimages/action", {"is_quick_import": True}, "IMG.0159"),
        ("/v2/cloudimages/action", {"is_quick_import": "true"}, "IMG.0001"),
        ("/v2/cloudimages/action", {"enterprise_project_id": ["0"]}, "IMG.0001"),
        ("/v2/cloudimages/action", {"tags": ["x" * 50]}, "IMG.0115"),
        ("/v2/cloudimages/action", {"image_tags": [{"value": "x"}]}, "IMG.0115"),
        ("/v2/cloudimages/action", {"tags": [str(n) for n in range(11)]}, "IMG.0116"),
        ("/v2/cloudimages/quickimport/action", {}, "IMG.0159"),
        ("/v2/cloudimages/quickimport/action", {"os_version": "Linux"}, "IMG.0056"),
        ("/v1/cloudimages/dataimages/action", {"min_disk": 39}, "IMG.0055"),
    ],
    ids=str,
)
def test_images_that_are_not_made(huawei, path, change, expected):
    assert code(huawei.owner.post(path, {**GOOD, **change})) == (400, expected)
    assert huawei.owner.get("/v2/cloudimages").json == {"images": []}


def test_an_image_that_is_made(huawei):
    more = {
        "os_type": "Windows",
        "description": "d",
        "architecture": "arm",
        "min_ram": 1024,
        "max_ram": 2048,
        "image_tags": [{"key": "a", "value": "b"}],
        "hw_firmware_type": "uefi",
    }
    job = finished(huawei, huawei.owner.post("/v2/cloudimages/action", {**GOOD, **more}))
    assert job["entities"]["process_percent"] == 1.0
    (image,) = huawei.owner.get("/v2/cloudimages?architecture=arm&tag=a=b").json["images"]
    assert image["id"] == job["entities"]["image_id"]
    told = {name: image[name] for name in ("__os_type", "__support_arm", "max_ram", "tags")}
    expected = {"__os_type": "Windows", "__support_arm": "true", "max_ram": "2048"}
    assert told == {**expected, "tags": ["a=b"]}
    assert (image["status"], image["min_disk"], image["__description"]) == ("active", 40, "d")


DISK = "quickimport/action", {"type": "DataImage"}


@pytest.mark.parametrize(
    ("call", "change", "expected"),
    [
        (DISK, {"os_version": "Windows"}, ("Windows", "DataImage")),
        (DISK, {"os_version": "Linux"}, ("Linux", "DataImage")),
        (DISK, {}, ("Linux", "DataImage")),
        (DISK, {"os_type": "Windows"}, ("Windows", "DataImage")),
        (("action", {}), {"os_type": "Other"}, ("Linux", "FusionCompute")),
        (("action", {}), {"os_type": "Windows"}, ("Windows", "FusionCompute")),
    ],
    ids=str,
)
def test_systems_that_are_not_known_any_better(huawei, call, change, expected):
    path, more = call
    answer = huawei.owner.post(f"/v2/cloudimages/{path}", {**GOOD, **more, **change})
    job = finished(huawei, answer)
    image = huawei.owner.get(f"/v2/images/{job['entities']['image_id']}").json
    assert (image["__os_type"], image["virtual_env_type"]) == expected


def test_over_quota_nothing_is_made():
    further = options("none", "p1:bkt", quota={"image_count_uploading": 0})
    parts = gateway(buckets=MemoryBuckets(), further=further)
    owner = Person(parts.app, PEOPLE["owner"])
    assert code(owner.post("/v2/cloudimages/action", GOOD)) == (400, "IMG.0015")
    assert owner.get("/v2/cloudimages").json == {"images": []}


@pytest.mark.parametrize("done", [False, True], ids=["not begun", "done"])
def test_a_job_whose_start_got_no_response_leaves_nothing(monkeypatch, done):
    buckets = MemoryBuckets()
    buckets.objects["bkt", "a.raw"] = RAW
    parts = gateway(buckets=buckets, further=options("none", "p1:bkt"))
    start, store = parts.engine.start_with, parts.stores.get("fast")

    def unheard(*args, **more):
        start(*args, **more)
        assert not done or parts.engine.run_one()
        raise Unavailable(what="The database")

    monkeypatch.setattr(parts.engine, "start_with", unheard)
    owner = Person(parts.app, PEOPLE["owner"])
    assert owner.post("/v2/cloudimages/action", GOOD).status_int == 503
    parts.engine.run_one()
    assert (owner.get("/v2/cloudimages").json, store.held()) == ({"images": []}, [])


def test_a_project_with_an_account_of_its_own():
    """Its objects are found, the operator's are not."""
    own, operators = MemoryBuckets(), MemoryBuckets()
    operators.objects["bkt", "a.raw"] = own.objects["bkt", "b.raw"] = RAW
    accounts = Accounts(operators, {"p1": own})
    parts = gateway(buckets=accounts, further=options("huawei", "p1:bkt"))
    asks = types.SimpleNamespace(engine=parts.engine, owner=Person(parts.app, PEOPLE["owner"]))
    jobs = [finished(asks, register(asks, made(asks)["id"], f"bkt:{key}.raw")) for key in "ab"]
    assert [job["status"] for job in jobs] == ["FAIL", "SUCCESS"]
    image_id = jobs[1]["entities"]["image_id"]
    target = {"bucket_url": "bkt:a.raw", "file_format": "raw"}
    job = finished(asks, asks.owner.post(f"/v1/cloudimages/{image_id}/file", target))
    assert job["status"] == "SUCCESS"  # there was nothing of that name


def test_only_the_standard_class(huawei):
    huawei.buckets.classes["bkt", "a.raw"] = "GLACIER"
    job = finished(huawei, register(huawei, made(huawei)["id"]))
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0057")
    assert "GLACIER" in job["fail_reason"]


def test_a_bucket_that_is_taken_away_meanwhile(huawei):
    answer = register(huawei, made(huawei)["id"])
    del huawei.buckets.objects["bkt", "a.raw"]
    job = finished(huawei, answer)
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0057")


def test_a_job_from_begin_to_end(huawei):
    image_id = made(huawei)["id"]
    job_id = register(huawei, image_id).json["job_id"]
    paths = (f"/v1/p1/jobs/{job_id}", f"/v1/cloudimages/job/{job_id}")
    for path in paths:
        job = huawei.owner.get(path).json
        assert (job["status"], job["end_time"], job["error_code"]) == ("INIT", "", None)
        assert job["progress"] == {"bytes": 0, "total": None}
    assert (
        huawei.owner.get(f"/v2/cloudimages?id={image_id}").json["images"][0]["status"] == "saving"
    )
    assert len(huawei.owner.get("/v2/cloudimages?status=saving").json["images"]) == 1
    assert huawei.engine.run_one()
    job = huawei.owner.get(paths[0]).json
    assert (job["status"], job["fail_reason"]) == ("SUCCESS", None)
    assert job["progress"] == {"bytes": len(RAW), "total": len(RAW)}
    assert job["begin_time"] <= job["end_time"]
    for who, path in (
        (huawei.other, paths[1]),
        (huawei.other, paths[0]),
        (huawei.other, f"/v1/p2/jobs/{job_id}"),
        (huawei.owner, f"/v1/p2/jobs/{job_id}"),
        (huawei.owner, "/v1/p1/jobs/" + "0" * 32),
        (huawei.owner, "/v1/p1/jobs/x"),
    ):
        assert code(who.get(path)) == (404, "IMG.0023")
    assert huawei.admin.get(paths[1]).json["status"] == "SUCCESS"


def export(asks, image_id, url="bkt:out.raw"):
    target = {"bucket_url": url, "file_format": "raw"}
    return asks.owner.post(f"/v1/cloudimages/{image_id}/file", target)


def test_of_two_exports_to_one_object_one_ends_well(huawei):
    one, two = active(huawei), active(huawei)
    jobs = [export(huawei, image_id).json["job_id"] for image_id in (one, two)]
    huawei.buckets.first_write = huawei.engine.run_one
    huawei.engine.run_one()
    told = [huawei.owner.get(f"/v1/cloudimages/job/{job_id}").json for job_id in jobs]
    assert {(job["status"], job["error_code"]) for job in told} == {
        ("SUCCESS", None),
        ("FAIL", "IMG.0070"),
    }
    assert huawei.buckets.objects["bkt", "out.raw"] == RAW
    assert not huawei.buckets.begun


@pytest.mark.parametrize("deleted", [False, True], ids=["goes on", "cancelled"])
def test_what_a_dead_export_began_is_discarded_and_nothing_else(huawei, deleted):
    image_id = active(huawei)
    answer = export(huawei, image_id)
    huawei.buckets.begun.append("another's")

    class Died(BaseException):
        pass

    def die():
        (ours,) = set(huawei.buckets.begun) - {"another's"}
        dead.append(ours)
        raise Died

    dead = []
    huawei.buckets.first_write = die
    with pytest.raises(Died):
        huawei.engine.run_one()
    huawei.buckets.begun += dead  # a killed process aborts nothing
    if deleted:
        huawei.owner.delete(f"/v2/images/{image_id}")
    job = taken_over(huawei, answer)
    assert job["status"] == ("FAIL" if deleted else "SUCCESS")
    assert huawei.buckets.begun == ["another's"]


def test_without_buckets_none_is_read():
    owner = Person(gateway(further=options("otc")).app, PEOPLE["owner"])
    path = owner.post("/v2/images", {}).json["id"]
    answer = owner.put(f"/v1/cloudimages/{path}/upload", {"image_url": URL})
    assert code(answer) == (400, "IMG.0105")


def test_the_sdks_path_without_a_project(huawei):
    """It is the asker's own, for nobody else's job or image."""
    image = made(huawei, tags=["a=b"])
    job_id = register(huawei, image["id"]).json["job_id"]
    paths = (
        f"/v1/%7Bproject_id%7D/jobs/{job_id}",
        f"/v2/%7Bproject_id%7D/images/{image['id']}/tags",
    )
    for path in paths:
        assert huawei.owner.get(path).status_int == 200
        assert huawei.other.get(path).status_int == 404
    assert huawei.owner.get("/v2/%7Bproject_id%7D/images/tags").json["tags"]
    assert huawei.other.get("/v2/%7Bproject_id%7D/images/tags").json == {"tags": []}


def test_tags_of_other_services_are_left_as_they_are(huawei):
    image = made(huawei, tags=["v1.2", "v1.3", "prod"])

    def change(action, **tag):
        body = {"action": action, "tags": [tag]}
        path = f"/v2/{image['owner']}/images/{image['id']}/tags/action"
        answer = huawei.owner.post(path, body)
        return answer.status_int, set(huawei.owner.get(image["self"]).json["tags"])

    others = {"v1.2", "v1.3", "prod"}
    assert change("create", key="k", value="v") == (204, {*others, "k=v"})
    assert change("create", key="k", value="w") == (204, {*others, "k=w"})
    assert change("delete", key="k", value="v") == (204, {*others, "k=w"})
    assert change("delete", key="v1", value="3") == (204, {"v1.2", "prod", "k=w"})
    assert change("create", key="v1", value="4") == (204, {"v1=4", "prod", "k=w"})


def test_too_many_tags_of_other_services_can_be_removed(huawei):
    image = made(huawei, tags=[f"t{n}" for n in range(12)])
    path = f"/v2/{image['owner']}/images/{image['id']}/tags"
    more = {"tag": {"key": "more", "value": ""}}
    assert code(huawei.owner.post(path, more)) == (400, "IMG.0116")
    assert huawei.owner.delete(f"{path}/t0").status_int == 204
    assert huawei.owner.delete(f"{path}/t0").status_int == 404
    other_value = {"image_id": image["id"], "image_tag": {"key": "t1", "value": "x"}}
    assert huawei.owner.put("/v1/cloudimages/tags", other_value).status_int == 204
    assert len(huawei.owner.get(image["self"]).json["tags"]) == 11


def test_a_tag_whose_key_has_a_dot_comes_back(huawei):
    image = made(huawei)
    path = f"/v2/{image['owner']}/images/{image['id']}/tags"
    for key in ("a.b", "c"):
        tag = {"key": key, "value": ""}
        assert huawei.owner.post(path, {"tag": tag}).status_int == 204
    shown = [{"key": "a.b", "value": ""}, {"key": "c", "value": ""}]
    assert huawei.owner.get(path).json["tags"] == shown
    for key in ("a.b", "c"):
        assert huawei.owner.delete(f"{path}/{key}").status_int == 204
    assert huawei.owner.get(path).json["tags"] == []


def test_the_operators_limit_of_members():
    made_gateway = gateway(further=options("huawei"), image_member_quota=1)
    asks = types.SimpleNamespace(owner=Person(made_gateway.app, PEOPLE["owner"]))
    body = {"images": [made(asks)["id"]], "projects": ["p2", "p3"]}
    job_id = asks.owner.post("/v1/cloudimages/members", body).json["job_id"]
    job = asks.owner.get(f"/v1/cloudimages/job/{job_id}").json
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0088")
    assert [one["status"] for one in job["entities"]["results"]] == ["success", "failed"]


def test_the_operators_limit_of_tags_holds_for_every_call():
    made_gateway = gateway(further=options("huawei"), image_tag_quota=2)
    asks = types.SimpleNamespace(owner=Person(made_gateway.app, PEOPLE["owner"]))
    image = made(asks, tags=["a=1", "b=1"])
    path = f"/v2/{image['owner']}/images/{image['id']}/tags"
    c = {"key": "c", "value": ""}
    assert code(asks.owner.post(path, {"tag": c})) == (400, "IMG.0116")
    body = {"action": "create", "tags": [c]}
    assert code(asks.owner.post(f"{path}/action", body)) == (400, "IMG.0116")
    body = {"image_id": image["id"], "image_tag": c}
    assert code(asks.owner.put("/v1/cloudimages/tags", body)) == (400, "IMG.0116")
    body["image_tag"] = {"key": "a", "value": "2"}
    assert asks.owner.put("/v1/cloudimages/tags", body).status_int == 204


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/cloudimages", (404, "APIGW.0101")),
        ("GET", "/v1/cloudimages/x", (404, "APIGW.0101")),
        ("POST", "/v1/cloudimages/wholeimages/action", (404, "APIGW.0101")),
        ("DELETE", "/v2/cloudimages", (405, "APIGW.0101")),
        ("GET", "/v2/cloudimages?limit=x", (400, "IMG.0001")),
        ("GET", "/v2/cloudimages?__imagetype=x", (400, "IMG.0001")),
        ("GET", "/v2/cloudimages?__isregistered=x", (400, "IMG.0001")),
        ("GET", "/v2/cloudimages?architecture=x", (400, "IMG.0001")),
        ("PUT", "/v1/cloudimages/00000000-0000-0000-0000-000000000000/upload", (404, "IMG.0027")),
        ("GET", "/v2/p2/images/tags", (404, "IMG.0027")),
    ],
)
def test_refusals_of_calls(huawei, method, path, expected):
    assert code(huawei.owner.ask(method, path, b"{}" if method != "GET" else b"")) == expected


def test_users_without_permission(huawei):
    image_id = made(huawei)["id"]
    path = f"/v1/cloudimages/{image_id}/upload"
    assert code(huawei.nobody.put(path, {"image_url": URL})) == (401, "APIGW.0301")
    assert code(huawei.reader.put(path, {"image_url": URL})) == (403, "IMG.0026")


def test_a_version_that_nobody_knows():
    with pytest.raises(BadAttribute):
        systems.parse(None)


CALLS = {
    "register": ("PUT", "/v1/cloudimages/{}/upload", {"image_url": URL}),
    "create": (
        "POST",
        "/v2/cloudimages/action",
        {"name": "n", "image_url": URL, "min_disk": 10, "os_version": "Debian 12.0.0 64bit"},
    ),
    "data image": (
        "POST",
        "/v1/cloudimages/dataimages/action",
        {"name": "n", "image_url": URL, "min_disk": 40},
    ),
    "copy": ("POST", "/v1/cloudimages/{}/copy", {"name": "n"}),
}


@pytest.mark.parametrize(("method", "path", "body"), CALLS.values(), ids=CALLS)
def test_without_a_default_store_to_write_to_there_is_no_job(method, path, body):
    mirror = ReadOnly("mirror", settings(MemoryStore.OPTS))
    buckets = MemoryBuckets()
    buckets.objects["bkt", "a.raw"] = RAW
    parts = gateway(
        stores=[mirror, memory_store("fast")], buckets=buckets, further=options("huawei", "p1:bkt")
    )
    owner = Person(parts.app, PEOPLE["owner"])
    image = owner.post("/v2/images", {"disk_format": "raw", "container_format": "bare"}).json
    if "copy" in path:
        kept = owner.put(f"/v2/images/{image['id']}/file", RAW, X_Image_Meta_Store="fast")
        assert kept.status_int == 204
    answer = getattr(owner, method.lower())(path.format(image["id"]), body)
    assert code(answer) == (400, "IMG.0001")
    assert answer.json["error"]["reason"] == "store_read_only"
    assert not parts.engine.run_one()
    assert len(owner.get("/v2/images").json["images"]) == 1
