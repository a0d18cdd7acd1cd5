"""Data goes into the bucket, and IMS registers it."""

import base64
import hashlib
import random

import pytest

from imsgate import model
from imsgate.bridge import application
from imsgate.bridge.records import CALL, FILE
from imsgate.config import Section
from tests.bridge.conftest import MEMBER, OTHER, READER, BucketStore
from tests.bridge.ims import PROJECT

DATA = random.Random(1).randbytes(300_000)
CONTENT = (len(DATA), hashlib.sha256(DATA).hexdigest())


def assert_arrived(bridge, ims, image_id):
    """IMS has the data, the client sees that, and nothing is left here."""
    assert ims.data[image_id] == CONTENT
    assert bridge.status(image_id) == "active"
    assert bridge.local(image_id).status == "deleted"
    assert bridge.store.held() == []
    assert ims.count("PUT /v2/images/.*") == 0


def test_upload(bridge, ims):
    image_id = ims.queued()
    answer = bridge.put(image_id, DATA)
    assert (answer.status_int, answer.body) == (204, b"")
    assert bridge.status(image_id) == "saving"
    assert ims.jobs == {}
    bridge.work()
    assert_arrived(bridge, ims, image_id)


def test_stage_and_import(bridge, ims):
    image_id = ims.queued()
    path = f"/v2/images/{image_id}"
    assert bridge.call(MEMBER, "PUT", f"{path}/stage", DATA).status_int == 204
    bridge.gate.sweep()
    assert bridge.status(image_id) == "uploading"
    refused = bridge.call(MEMBER, "POST", f"{path}/import", {"method": {"name": "web-download"}})
    assert refused.status_int == 400
    asked = {"method": {"name": "glance-direct"}}
    assert bridge.call(MEMBER, "POST", f"{path}/import", asked).status_int == 202
    assert bridge.status(image_id) == "importing"
    assert bridge.call(MEMBER, "POST", f"{path}/import", asked).status_int == 409
    bridge.work()
    assert_arrived(bridge, ims, image_id)


@pytest.mark.parametrize("call", ["file", "stage"])
def test_resumable_upload(bridge, ims, call):
    image_id = ims.queued()
    path = f"/v2/images/{image_id}"
    begun = bridge.call(MEMBER, "PUT", f"{path}/{call}", DATA[:1000], Upload_Complete="?0")
    assert begun.status_int == 201
    assert begun.headers["Location"].endswith(f"{path}/upload")
    assert bridge.status(image_id) == ("saving" if call == "file" else "uploading")
    asked = bridge.call(MEMBER, "HEAD", f"{path}/upload")
    assert asked.headers["Upload-Offset"] == "1000"
    fields = {"Content_Type": "application/partial-upload", "Upload_Complete": "?1"}
    ended = bridge.call(
        MEMBER, "PATCH", f"{path}/upload", DATA[1000:], Upload_Offset="1000", **fields
    )
    assert ended.status_int == 204
    if call == "stage":
        asked = {"method": {"name": "glance-direct"}}
        assert bridge.call(MEMBER, "POST", f"{path}/import", asked).status_int == 202
    bridge.work()
    assert_arrived(bridge, ims, image_id)
    # A client that lost the last response asks, also once IMS has everything.
    asked = bridge.call(MEMBER, "HEAD", f"{path}/upload")
    assert (asked.status_int, asked.headers["Upload-Complete"]) == (204, "?1")


def tus(**metadata):
    pairs = (f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in metadata.items())
    fields = {"Upload_Metadata": ",".join(pairs)} if metadata else {}
    return {"Tus_Resumable": "1.0.0", "Content_Type": "application/offset+octet-stream", **fields}


def test_tus(bridge, ims):
    image_id = ims.queued()
    length = {"Upload_Length": str(len(DATA))}
    begun = bridge.call(MEMBER, "POST", "/v2/uploads", **tus(image_id=image_id), **length)
    assert begun.status_int == 201, begun.text
    path = begun.headers["Location"].removeprefix("http://localhost")
    assert bridge.status(image_id) == "saving"
    first = bridge.call(MEMBER, "PATCH", path, DATA[:5000], Upload_Offset="0", **tus())
    assert first.headers["Upload-Offset"] == "5000"
    last = bridge.call(MEMBER, "PATCH", path, DATA[5000:], Upload_Offset="5000", **tus())
    assert last.status_int == 204
    assert last.headers["X-Imsgate-Job"]
    bridge.work()
    assert_arrived(bridge, ims, image_id)


def test_tus_creates_no_image(bridge, ims):
    answer = bridge.call(MEMBER, "POST", "/v2/uploads", **tus(name="n"), Upload_Length="5")
    assert (answer.status_int, ims.images) == (400, {})


def test_data_that_a_job_has_to_verify(bridge, ims, make, store):
    """The requests of one upload reached two processes: neither has examined all of it."""
    other = make(store, registry=bridge.services.registry)
    image_id = ims.queued()
    path = f"/v2/images/{image_id}"
    bridge.call(MEMBER, "PUT", f"{path}/file", DATA[:1000], Upload_Complete="?0")
    fields = {"Content_Type": "application/partial-upload", "Upload_Complete": "?1"}
    upload = bridge.services.registry.upload_of(image_id)
    # The job does its work before the last request waits for it.
    tell = other.services.engine.tell
    other.services.engine.tell = lambda job_id: tell(job_id) or other.services.engine.run_one()
    ended = other.call(
        MEMBER, "PATCH", f"{path}/upload", DATA[1000:], Upload_Offset="1000", **fields
    )
    assert ended.status_int == 204, ended.text
    assert bridge.services.registry.get_upload(upload.id).state == "complete"
    bridge.work()
    assert_arrived(bridge, ims, image_id)


def test_process_that_died_before_the_registration_began(bridge, ims):
    image_id = ims.queued()
    bridge.call(MEMBER, "PUT", f"/v2/images/{image_id}/stage", DATA)
    bridge.services.registry.change(image_id, {}, properties={CALL: FILE})
    assert bridge.work() == 0
    bridge.gate.sweep()
    bridge.work()
    assert_arrived(bridge, ims, image_id)


def test_record_that_a_client_asks_for_begins_the_registration(bridge, ims):
    image_id = ims.queued()
    bridge.call(MEMBER, "PUT", f"/v2/images/{image_id}/stage", DATA)
    bridge.services.registry.change(image_id, {}, properties={CALL: FILE})
    assert bridge.status(image_id) == "saving"
    bridge.work()
    assert_arrived(bridge, ims, image_id)


def test_the_vendors_job(bridge, ims):
    image_id = ims.queued()
    job_id = bridge.put(image_id, DATA).headers["X-Imsgate-Job"]
    paths = (f"/v1/cloudimages/job/{job_id}", f"/v1/p/jobs/{job_id}")
    shown = [bridge.call(MEMBER, "GET", path).json for path in paths]
    assert shown[0] == shown[1]
    assert (shown[0]["status"], shown[0]["job_id"]) == ("INIT", job_id)
    assert shown[0]["job_type"] == "imsNativeImportImageJob"
    bridge.work()
    shown = bridge.call(MEMBER, "GET", paths[0]).json
    assert (shown["status"], shown["entities"]) == ("SUCCESS", {"image_id": image_id})


def test_jobs_of_ims_itself(bridge, ims):
    """The path has the project here; IMS gets its own."""
    ims.jobs["0" * 32] = {
        "job_id": "0" * 32,
        "status": "SUCCESS",
        "owner": PROJECT,
        "entities": {},
    }
    for path in ("/v1/cloudimages/job/", "/v1/p/jobs/"):
        answer = bridge.call(MEMBER, "GET", path + "0" * 32)
        assert (answer.status_int, answer.json["status"]) == (200, "SUCCESS")
    assert ims.asked[-1] == f"GET /v1/{PROJECT}/jobs/{'0' * 32}"


PROJECTS = {
    "/v2/p/images/tags": f"/v2/{PROJECT}/images/tags",
    "/v1/p/cloudimages/x/members": f"/v1/{PROJECT}/cloudimages/x/members",
    "/v2/other/images/tags": "/v2/other/images/tags",
    "/v2/images/p/members": "/v2/images/p/members",
}


@pytest.mark.parametrize("path", PROJECTS)
def test_the_users_project_in_a_path_is_that_of_the_cloud(bridge, ims, path):
    bridge.call(MEMBER, "GET", path)
    assert ims.asked == [f"GET {PROJECTS[path]}"]


def test_undeclared_format_is_detected(bridge, ims):
    """IMS shows zvhd2 if nothing was declared, and accepts every format."""
    image_id = ims.queued(disk_format="zvhd2")
    assert bridge.put(image_id, DATA).status_int == 204
    assert bridge.local(image_id).disk_format is None


STATUSES = {
    "not queued": ({"status": "saving"}, (409, "wrong_status")),
    "active": ({"status": "active"}, (409, "wrong_status")),
    "killed": ({"status": "killed"}, (409, "wrong_status")),
    "of another project": ({"owner": "x", "visibility": "public"}, (403, "forbidden")),
    "unseen": ({"owner": "x"}, (404, "not_found")),
}


@pytest.mark.parametrize("fields", STATUSES)
@pytest.mark.parametrize("call", ["plain", "resumable", "tus"])
def test_images_that_take_no_data(bridge, ims, fields, call):
    changed, outcome = STATUSES[fields]
    image_id = ims.queued()
    ims.images[image_id].update(changed)
    if call == "tus":
        headers = {**tus(image_id=image_id), "Upload_Length": "5"}
        answer = bridge.call(MEMBER, "POST", "/v2/uploads", **headers)
    else:
        headers = {"Upload_Complete": "?0"} if call == "resumable" else {}
        answer = bridge.put(image_id, DATA, **headers)
    assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == outcome
    assert bridge.store.held() == []


@pytest.mark.parametrize("name", ["..", "x", "00000000-0000-0000-0000-00000000000g"])
def test_no_other_path_of_ims_is_asked(bridge, ims, name):
    assert bridge.put(name, DATA).status_int == 404
    assert ims.asked == []


def test_second_upload_while_the_first_is_registered(bridge, ims):
    image_id = ims.queued()
    assert bridge.put(image_id, DATA).status_int == 204
    again = bridge.put(image_id, DATA)
    assert (again.status_int, again.headers["X-Imsgate-Reason"]) == (409, "wrong_status")
    bridge.work()
    assert_arrived(bridge, ims, image_id)


def test_upload_in_the_name_of_another_project(bridge, ims):
    """With one key for all, every project sees every image."""
    image_id = ims.queued()
    assert bridge.put(image_id, b"x" * 600, identity=OTHER).status_int == 204
    assert bridge.status(image_id) == "saving"


def test_lists_show_what_is_known_here(bridge, ims):
    ids = [ims.queued(name=str(number)) for number in range(3)]
    bridge.put(ids[1], DATA)
    for path in ("/v2/images", "/v2/cloudimages"):
        listed = bridge.call(MEMBER, "GET", path).json["images"]
        assert [image["status"] for image in listed] == ["queued", "saving", "queued"]
    assert [image["name"] for image in listed] == ["0", "1", "2"]


def test_statuses_of_the_vendor(bridge, ims):
    """IMS has no uploading and no importing."""
    image_id = ims.queued()
    bridge.call(MEMBER, "PUT", f"/v2/images/{image_id}/stage", DATA)
    signed = {"X_Sdk_Date": "20261101T000000Z"}
    shown = bridge.call(MEMBER, "GET", f"/v2/images/{image_id}", **signed).json
    assert shown["status"] == "saving"
    assert bridge.status(image_id) == "uploading"


def test_what_is_not_about_data_is_passed_on(bridge, ims):
    made = bridge.call(MEMBER, "POST", "/v2/images", {"name": "n", "disk_format": "raw"})
    assert made.status_int == 201
    image_id = made.json["id"]
    path = f"/v2/images/{image_id}"
    assert made.json["self"] == f"http://localhost{path}"
    change = [{"op": "replace", "path": "/name", "value": "m"}]
    assert bridge.call(MEMBER, "PATCH", path, change).json["name"] == "m"
    refused = bridge.call(MEMBER, "PUT", f"/v1/cloudimages/{image_id}/upload", {"image_url": "b:"})
    assert refused.json == {"error": {"code": "IMG.0017", "message": "malformed URL"}}
    assert bridge.call(MEMBER, "DELETE", path).status_int == 204
    assert bridge.call(MEMBER, "GET", path).status_int == 404
    assert ims.images == {}


RIGHTS = {
    ("GET", "/v2/images", None): 200,
    ("POST", "/v2/images", b"{}"): 403,
    ("PATCH", "/v2/images/{id}", b"[]"): 403,
    ("PUT", "/v1/cloudimages/{id}/upload", b"{}"): 403,
    ("POST", "/v2/cloudimages/action", b"{}"): 403,
    ("DELETE", "/v2/images/{id}", None): 403,
    ("PUT", "/v2/images/{id}/file", b"data"): 403,
}


@pytest.mark.parametrize("request_", RIGHTS, ids=lambda request: "".join(request[:2]))
def test_a_reader_changes_nothing(bridge, ims, request_):
    """IMS only sees the key of the cloud, which may do everything."""
    method, path, body = request_
    image_id = ims.queued()
    answer = bridge.call(READER, method, path.format(id=image_id), body)
    assert answer.status_int == RIGHTS[request_]
    assert ims.images[image_id]["status"] == "queued"
    assert len(ims.images) == 1


def test_longer_lists_are_passed_on(bridge, ims, monkeypatch):
    image_id = ims.queued()
    bridge.put(image_id, DATA)
    monkeypatch.setattr(application, "_MAX_LIST_BYTES", 100)
    listed = bridge.call(MEMBER, "GET", "/v2/images")
    assert [each["status"] for each in listed.json["images"]] == ["queued"]


DISCOVERY = {
    "/v2/info/import": {"import-methods", "glance-direct"},
    "/v2/info/stores": {"stores", "obs"},
}


@pytest.mark.parametrize("path", DISCOVERY)
def test_what_clients_look_up(bridge, path):
    answer = bridge.call(MEMBER, "GET", path)
    assert all(word in answer.text for word in DISCOVERY[path])


def test_nobody_comes_in_without_a_name(bridge, ims):
    for method, path in (("PUT", "/v2/images/x/file"), ("POST", "/v2/images/x/import")):
        assert bridge.call(None, method, path, b"{}").status_int == 401
    assert ims.asked == []


def test_full_bucket(make, ims):
    bridge = make(BucketStore("obs", Section(memory_store_capacity=1000)))
    image_id = ims.queued()
    answer = bridge.put(image_id, DATA)
    assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == (413, "store_full")
    assert bridge.status(image_id) == "queued"
    assert bridge.store.held() == []
    assert (bridge.work(), ims.jobs) == (0, {})


def test_read_only(bridge, ims):
    image_id = ims.queued()
    bridge.services.registry.begin_read_only(model.now())
    assert bridge.put(image_id, DATA).headers["X-Imsgate-Reason"] == "service_read_only"
    refused = bridge.call(MEMBER, "DELETE", f"/v2/images/{image_id}")
    assert (refused.status_int, ims.count("DELETE .*")) == (503, 0)
    assert bridge.status(image_id) == "queued"


def test_there_is_no_description_of_what_the_cloud_serves(bridge):
    assert bridge.call(None, "GET", "/openapi.json").status_int == 404
