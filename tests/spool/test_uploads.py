"""Both protocols in front of a service that knows neither."""

import base64
import hashlib
import json

import pytest

from imsgate import model
from imsgate.http.upload_headers import digest_field
from imsgate.model import Identity
from tests.functional import images
from tests.spool.conftest import OCTETS

DATA = bytes(range(256)) * 1000
HALF = len(DATA) // 2
TUS = {"tus_resumable": "1.0.0"}
DEMO = Identity(user_id="one", project_id="demo")


def metadata(**fields):
    pairs = ((name, base64.b64encode(text.encode()).decode()) for name, text in fields.items())
    return ",".join(f"{name} {text}" for name, text in pairs)


def test_an_upload_in_two_parts(front):
    image_id = front.upstream.create()
    begun = front.begin(image_id, DATA[:HALF], x_image_meta_store="fast")
    assert (begun.code, begun.header("Upload-Offset")) == (201, str(HALF))
    location = f"http://front.example/v2/images/{image_id}/upload"
    assert begun.header("Location") == location
    assert front.upstream.records[image_id]["status"] == "queued"
    assert front.progress(image_id, "HEAD").header("Upload-Offset") == str(HALF)
    assert front.append(image_id, HALF, DATA[HALF:]).code == 202
    view = json.loads(front.progress(image_id).body)
    assert (view["state"], view["size"], view["user_id"]) == ("finishing", None, None)
    front.run()
    assert front.upstream.data == {image_id: DATA}
    (headers,) = front.upstream.uploads()
    assert headers["x-image-meta-store"] == "fast"
    assert headers["x-auth-token"] == "token"
    assert headers["content-length"] == str(len(DATA))
    view = json.loads(front.progress(image_id).body)
    assert (view["state"], view["received"]) == ("complete", len(DATA))
    done = front.progress(image_id, "HEAD")
    assert (done.code, done.header("Upload-Complete")) == (204, "?1")
    front.assert_empty(image_id)


def test_the_last_request_waits_for_upstream(front, monkeypatch):
    monkeypatch.setattr("imsgate.api.receiver.PATIENCE_SECONDS", 60)
    front.spool.engine.start_threads(1)
    try:
        image_id = front.upstream.create()
        assert front.begin(image_id, DATA, "?1").code == 204
        assert front.upstream.data == {image_id: DATA}
        refused = front.upstream.create()
        front.upstream.answers = [(413, "the quota is used up")]
        answer = front.begin(refused, DATA, "?1")
    finally:
        front.spool.engine.stop()
    assert (answer.code, answer.reason) == (410, "upload_ended")
    assert b"the quota is used up" in answer.body


def test_tus_with_a_new_image(front):
    fields = {"name": "first", "disk_format": "raw", "container_format": "bare", "min_disk": "3"}
    headers = {**TUS, "upload_length": str(len(DATA)), "upload_metadata": metadata(**fields)}
    begun = front.ask("POST", "/v2/uploads", **headers)
    assert begun.code == 201
    path = begun.header("Location").removeprefix("http://front.example")
    (record,) = front.upstream.records.values()
    assert (record["name"], record["min_disk"]) == ("first", 3)
    kind = {"content_type": "application/offset+octet-stream"}
    part = front.ask("PATCH", path, DATA[:HALF], **TUS, **kind, upload_offset="0")
    assert (part.code, part.header("Upload-Offset")) == (204, str(HALF))
    last = front.ask("PATCH", path, DATA[HALF:], **TUS, **kind, upload_offset=str(HALF))
    assert last.code == 204
    front.run()
    assert front.upstream.data == {record["id"]: DATA}
    front.assert_empty(record["id"])


def test_tus_removes_an_image_whose_upload_does_not_begin(fronts):
    front = fronts(spool_limit=1)
    headers = {**TUS, "upload_length": str(2 << 20), "upload_metadata": metadata(name="a")}
    assert front.ask("POST", "/v2/uploads", **headers).code == 413
    assert front.upstream.records == {}


REFUSED = {
    "unsafe": ({"disk_format": "qcow2"}, images.DATA_FILE, {}, (415, "image_refused")),
    "another format": ({"disk_format": "qcow2"}, DATA, {}, (415, "format_mismatch")),
    "not queued": ({"status": "active"}, DATA, {}, (409, "wrong_status")),
    "no credentials": ({}, DATA, {"token": None}, (401, "unauthenticated")),
    "invalid credentials": ({}, DATA, {"token": "expired"}, (401, "unauthenticated")),
    "too large": ({}, b"", {"upload_length": str(2 << 20)}, (413, "too_large")),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED)
def test_refused_at_once(row, fronts):
    fields, data, more, outcome = row
    front = fronts(spool_limit=1)
    image_id = front.upstream.create(**fields)
    answer = front.begin(image_id, data, **more)
    assert (answer.code, answer.reason) == outcome
    assert front.upstream.uploads() == []
    assert front.spool.stores.get("spool").held() == []


def test_an_unknown_image(front):
    for image_id in ("71c675ab-d94f-49cd-a114-e12490b328d9", "..%2f", "x"):
        assert front.begin(image_id, DATA).code == 404


def test_only_its_user_continues_an_upload(front):
    one = {"token": "one"}
    image_id = front.upstream.create()
    front.begin(image_id, DATA[:HALF], **one)
    assert front.append(image_id, HALF, DATA[HALF:], token="two").code == 403
    assert front.progress(image_id, "DELETE", token="two").code == 403
    assert front.progress(image_id, token=None).code == 401
    assert front.progress(image_id, token="two").code == 200
    assert front.append(image_id, HALF, b"", "?0", **one).code == 204


def test_a_user_that_a_filter_has_authenticated_may_have_a_new_token(front):
    image_id = front.upstream.create()
    front.begin(image_id, DATA[:HALF], token="old", identity=DEMO)
    assert front.append(image_id, HALF, DATA[HALF:], token="new", identity=DEMO).code == 202
    assert json.loads(front.progress(image_id, identity=DEMO).body)["user_id"] == "one"
    front.run()
    assert [headers["x-auth-token"] for headers in front.upstream.uploads()] == ["new"]


def test_uploads_share_the_space(fronts):
    front = fronts(spool_limit=1)
    first, second = front.upstream.create(), front.upstream.create()
    assert front.begin(first, b"", upload_length=str(1 << 20)).code == 201
    full = front.begin(second, b"", upload_length="1024")
    assert (full.code, full.reason, full.header("Retry-After")) == (503, "busy", "30")
    assert front.progress(first, "DELETE").code == 204
    front.assert_empty(first)
    assert front.begin(second, b"", upload_length="1024").code == 201


def test_starting_again(front):
    image_id = front.upstream.create()
    front.begin(image_id, DATA[:HALF])
    assert front.begin(image_id, DATA[:10], "?0").header("Upload-Offset") == "10"
    assert front.append(image_id, 10, DATA[10:]).code == 202
    front.run()
    assert front.upstream.data == {image_id: DATA}
    front.assert_empty(image_id)


def test_the_declared_digest(front):
    image_id = front.upstream.create()
    digest = digest_field({"sha256": hashlib.sha256(b"other").digest()})
    assert front.begin(image_id, DATA, "?1", repr_digest=digest).code == 202
    front.run()
    assert front.progress(image_id, "HEAD").code == 410
    assert image_id not in front.upstream.data
    front.assert_empty(image_id)


def test_what_is_not_resumable_is_passed_on(front):
    image_id = front.upstream.create()
    answer = front.ask("PUT", f"/v2/images/{image_id}/file", DATA, content_type=OCTETS)
    assert answer.code == 204
    assert front.upstream.data == {image_id: DATA}
    assert json.loads(front.ask("GET", f"/v2/images/{image_id}").body)["status"] == "active"
    # Upstream may know uploads of its own.
    front.progress(image_id)
    assert front.upstream.requests[-1][1] == f"/v2/images/{image_id}/upload"


def test_data_is_not_staged_in_parts(front):
    image_id = front.upstream.create()
    headers = {"content_type": OCTETS, "upload_complete": "?0"}
    assert front.ask("PUT", f"/v2/images/{image_id}/stage", DATA, **headers).code == 400
    headers = {**TUS, "upload_length": "1", "upload_metadata": metadata(stage="", name="a")}
    assert front.ask("POST", "/v2/uploads", **headers).code == 400
    assert front.upstream.uploads() == []


def test_what_is_offered(front):
    path = "/v2/images/71c675ab-d94f-49cd-a114-e12490b328d9/file"
    assert "max-size=" in front.ask("OPTIONS", path, token=None).header("Upload-Limit")
    assert front.ask("OPTIONS", "/v2/uploads", token=None).header("Tus-Version") == "1.0.0"


def test_read_only(front):
    image_id = front.upstream.create()
    front.spool.registry.begin_read_only(model.now())
    answer = front.begin(image_id, DATA)
    assert (answer.code, answer.reason) == (503, "service_read_only")
    assert front.ask("DELETE", f"/v2/images/{image_id}").reason == "service_read_only"
    assert front.ask("GET", f"/v2/images/{image_id}").code == 200
