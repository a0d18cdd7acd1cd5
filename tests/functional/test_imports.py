"""Stage and import over a real gateway, by raw calls and by unchanged clients."""

import hashlib
import os

import pytest

from tests.functional.gateway import eventually

BODY = os.urandom(3 << 20)

FAST = "[jobs]\nlease = 2\npoll = 0.2\n[upload]\nlease = 2\n"
STORES = """
[DEFAULT]
enabled_backends = fast:file, archive:file, third:file
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {state}/fast
weight = 10
[archive]
filesystem_store_datadir = {state}/archive
[third]
filesystem_store_datadir = {state}/third
"""


@pytest.fixture(scope="module")
def _importing(tmp_path_factory):
    from tests.functional.gateway import Gateway, serving

    directory = tmp_path_factory.mktemp("importing")
    with serving(Gateway(directory, config=STORES + FAST)) as gateway:
        yield gateway


@pytest.fixture
def importing(_importing):
    yield _importing
    _importing.check_log()


def stage(gateway, image_id, body=BODY):
    headers = {"Content-Type": "application/octet-stream"}
    return gateway.call("PUT", f"/v2/images/{image_id}/stage", body, headers=headers)


def begin(gateway, image_id, name, token="", **more):
    method = {"name": name, **{key: more.pop(key) for key in ("uri", "digest") if key in more}}
    return gateway.call(
        "POST", f"/v2/images/{image_id}/import", {"method": method, **more}, token=token
    )


def task(gateway, image_id):
    answer = gateway.call("GET", f"/v2/images/{image_id}/tasks", token=gateway.admin)
    assert answer.status == 200, answer.body
    return answer.json["tasks"][-1]


def ended(gateway, image_id):
    """The last task of an image, once it has ended."""
    done = ("success", "failure")
    eventually(lambda: task(gateway, image_id)["status"] in done, f"{image_id} is imported")
    return task(gateway, image_id)


def assert_active(gateway, image_id, body, stores):
    record = gateway.show(image_id)
    assert (record["status"], record["size"]) == ("active", len(body))
    assert record["os_hash_value"] == hashlib.sha512(body).hexdigest()
    assert record["checksum"] == hashlib.md5(body).hexdigest()
    assert set(record["stores"].split(",")) == set(stores)
    assert record["os_glance_importing_to_stores"] == ""
    assert gateway.download(image_id).body == body
    assert len(gateway.residue(image_id)) == len(stores)


def test_staged_data_waits_and_is_imported(importing):
    image_id = importing.create()
    assert stage(importing, image_id).status == 204
    record = importing.show(image_id)
    assert record["status"] == "uploading"
    assert "stores" not in record
    assert importing.download(image_id).status == 204
    assert stage(importing, image_id).outcome == (409, "wrong_status")
    assert importing.upload(image_id, BODY).outcome == (409, "wrong_status")
    assert begin(importing, image_id, "glance-direct").status == 202
    found = ended(importing, image_id)
    assert (found["status"], found["type"]) == ("success", "api_image_import")
    assert_active(importing, image_id, BODY, ["fast"])


@pytest.mark.parametrize(
    ("where", "stores"),
    [
        ({"stores": ["archive"]}, ["archive"]),
        ({"stores": ["archive", "third"]}, ["archive", "third"]),
        ({"stores": ["third", "fast"]}, ["third", "fast"]),
        ({"all_stores": True}, ["fast", "archive", "third"]),
        ({"all_stores": True, "all_stores_must_succeed": False}, ["fast", "archive", "third"]),
    ],
    ids=str,
)
def test_staged_data_goes_to_the_stores_asked_for(importing, where, stores):
    image_id = importing.create()
    assert stage(importing, image_id).status == 204
    assert begin(importing, image_id, "glance-direct", **where).status == 202
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, stores)


def test_copies(importing):
    image_id = importing.stored(BODY)
    assert begin(importing, image_id, "copy-image", all_stores=True).outcome == (403, "forbidden")
    refused = begin(importing, image_id, "copy-image", importing.admin, stores=["fast"])
    assert refused.outcome == (400, "bad_request")
    started = begin(importing, image_id, "copy-image", importing.admin, stores=["archive"])
    assert started.status == 202
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, ["fast", "archive"])
    started = begin(importing, image_id, "copy-image", importing.admin, all_stores=True)
    assert started.status == 202
    eventually(lambda: "third" in importing.show(image_id)["stores"], "the third copy")
    assert ended(importing, image_id)["progress"] == {"bytes": len(BODY), "total": len(BODY)}
    assert_active(importing, image_id, BODY, ["fast", "archive", "third"])
