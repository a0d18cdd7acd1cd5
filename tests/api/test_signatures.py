"""Signed images, by every way in: real keys, real certificates, and what does not fit them."""

import gzip
import os
import sys
import uuid

import pytest

from imsgate.api import receiver
from imsgate.errors import BadConfig
from imsgate.signatures import verify
from imsgate.testing.gateways import gateway, memory_store
from tests import signing
from tests.api.buckets import MemoryBuckets, options
from tests.api.people import PEOPLE, Person, identity, reason, remove, replace
from tests.api.stack import MEMBER

DATA = os.urandom(300_000)
OTHER = DATA[:-1] + bytes([DATA[-1] ^ 1])
REFUSED = (400, "signature_refused")


@pytest.fixture
def certificates(tmp_path):
    directory = tmp_path / "certificates"
    directory.mkdir()
    return directory


@pytest.fixture
def gate(certificates):
    further = {
        "signatures": {"certificates": str(certificates)},
        "locations": {"stores": ["archive"]},
        "import_unpack": {"formats": ["gzip"]},
        "sniff": {"accept_gzip": True},
    }
    return gateway(stores=[memory_store("fast"), memory_store("archive")], further=further)


@pytest.fixture
def owner(gate):
    return Person(gate.app, PEOPLE["owner"])


def create(owner, **properties):
    return owner.create(disk_format="raw", container_format="bare", **properties)


def upload(owner, path, data):
    return owner.put(f"{path}/file", data, Content_Type="application/octet-stream")


def assert_queued(gate, owner, path):
    assert owner.get(path).json["status"] == "queued"
    assert [gate.stores.get(name).held() for name in ("fast", "archive")] == [[], []]


@pytest.mark.parametrize("method", signing.HASHES)
@pytest.mark.parametrize("kind", signing.KEYS)
def test_the_signature_decides(gate, owner, certificates, kind, method):
    path = create(owner, **signing.properties(certificates, DATA, kind, method))
    for wrong in (OTHER, DATA[:-1], DATA + b"x", b""):
        assert reason(upload(owner, path, wrong)) == REFUSED
        assert_queued(gate, owner, path)
    assert upload(owner, path, DATA).status_int == 204
    assert owner.get(f"{path}/file").body == DATA


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("img_signature", "not base64!"),
        ("img_signature", ""),
        ("img_signature", "AAAA"),
        ("img_signature_hash_method", "SHA-512"),
        ("img_signature_hash_method", "MD5"),
        ("img_signature_key_type", "DSA"),
        ("img_signature_key_type", "ROT13"),
        ("img_signature_certificate_uuid", "6e2b6f0a-5c0e-4a53-a1b7-3f0a9e4f7d11"),
        ("img_signature_certificate_uuid", "../certificates/x"),
        ("img_signature_certificate_uuid", "/etc/passwd"),
    ],
)
def test_properties_that_verify_nothing(gate, owner, certificates, name, value):
    path = create(owner, **signing.properties(certificates, DATA))
    assert owner.patch(path, replace(name, value)).status_int == 200
    assert reason(upload(owner, path, DATA)) == REFUSED
    assert_queued(gate, owner, path)


def test_a_file_that_holds_no_certificate(gate, owner, certificates):
    signed = signing.properties(certificates, DATA)
    (certificates / f"{signed['img_signature_certificate_uuid']}.pem").write_text("none")
    assert reason(upload(owner, create(owner, **signed), DATA)) == REFUSED


@pytest.mark.parametrize("left", verify.PROPERTIES)
def test_some_of_the_properties_are_no_signature(owner, certificates, left):
    path = create(owner, **signing.properties(certificates, DATA))
    owner.patch(path, remove(left))
    assert upload(owner, path, OTHER).status_int == 204


def in_parts(owner, path, data, *, other=None):
    """Upload in two requests; the second one may come to another process."""
    headers = {"Content_Type": "application/octet-stream", "Upload_Complete": "?0"}
    answer = owner.put(f"{path}/file", data[:1000], **headers)
    if answer.status_int != 201:
        return answer
    return (other or owner).ask(
        "PATCH",
        f"{path}/upload",
        data[1000:],
        Content_Type="application/partial-upload",
        Upload_Offset="1000",
        Upload_Complete="?1",
    )


def test_the_parts_of_an_upload_are_verified_as_one(gate, owner, certificates):
    path = create(owner, **signing.properties(certificates, DATA))
    assert reason(in_parts(owner, path, OTHER)) == REFUSED
    assert_queued(gate, owner, path)
    assert in_parts(owner, path, DATA).status_int == 204
    assert owner.get(f"{path}/file").body == DATA


@pytest.mark.parametrize("data", [DATA, OTHER], ids=["signed", "another"])
def test_parts_that_came_to_several_processes_are_verified_by_a_job(
    gate, owner, certificates, monkeypatch, data
):
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.0)
    further = {"signatures": {"certificates": str(certificates)}}
    stores = [backend.store for backend in gate.stores]
    other = gateway(registry=gate.registry, stores=stores, further=further)
    path = create(owner, **signing.properties(certificates, DATA))
    answer = in_parts(owner, path, data, other=Person(other.app, PEOPLE["owner"]))
    assert answer.status_int == 202
    assert gate.engine.run_one()
    if data is DATA:
        assert owner.get(f"{path}/file").body == DATA
    else:
        assert_queued(gate, owner, path)
        assert "signature" in owner.get(f"{path}/upload").json["reason"]


def test_an_upload_that_cannot_be_verified_ends(certificates):
    gate = gateway(stores=[memory_store("fast"), memory_store("archive")])
    owner = Person(gate.app, PEOPLE["owner"])
    path = create(owner, **signing.properties(certificates, DATA))
    assert reason(in_parts(owner, path, DATA)) == REFUSED
    assert_queued(gate, owner, path)


def staged(owner, gate, path, data):
    answer = owner.put(f"{path}/stage", data, Content_Type="application/octet-stream")
    assert answer.status_int == 204
    return owner.post(f"{path}/import", {"method": {"name": "glance-direct"}})


def located(owner, gate, path, data):
    with gate.stores.get("archive").create("object", None) as sink:
        sink.write(data)
        sink.commit()
    nova = Person(gate.app, identity("p1", "member", "reader", "service"))
    return nova.post(f"{path}/locations", {"url": "memory://archive/object"})


def packed(owner, gate, path, data):
    return staged(owner, gate, path, gzip.compress(data))


@pytest.mark.parametrize("way", [staged, packed, located])
def test_jobs_verify(gate, owner, certificates, way):
    signed = signing.properties(certificates, DATA)
    path = create(owner, **signed)
    assert way(owner, gate, path, OTHER).status_int == 202
    assert gate.engine.run_one()
    assert owner.get(path).json["status"] == "queued"
    (task,) = owner.get(f"{path}/tasks").json["tasks"]
    assert task["result"] == {"error_code": "signature_refused"}
    if way is not located:
        assert_queued(gate, owner, path)
    else:
        gate.stores.get("archive").delete("object")
    assert way(owner, gate, path, DATA).status_int == 202
    assert gate.engine.run_one()
    assert owner.get(path).json["status"] == "active"
    assert owner.get(f"{path}/file").body == DATA
    held = [gate.stores.get(name).held() for name in ("fast", "archive")]
    assert sum(map(len, held)) == 1


@pytest.mark.parametrize("way", [staged, located])
def test_jobs_are_refused_at_once_without_a_certificate(gate, owner, certificates, way):
    signed = signing.properties(certificates, DATA)
    signed["img_signature_certificate_uuid"] = str(uuid.uuid4())
    path = create(owner, **signed)
    assert reason(way(owner, gate, path, DATA)) == REFUSED


def test_an_image_signed_after_its_import_began(gate, owner, certificates):
    path = create(owner)
    assert located(owner, gate, path, DATA).status_int == 202
    signed = signing.properties(certificates, OTHER)
    added = [{"op": "add", "path": f"/{name}", "value": value} for name, value in signed.items()]
    assert owner.patch(path, *added).status_int == 200
    assert gate.engine.run_one()
    assert owner.get(path).json["status"] == "queued"


def test_where_nothing_verifies_signed_images_are_refused(certificates):
    owner = Person(gateway().app, PEOPLE["owner"])
    path = create(owner, **signing.properties(certificates, DATA))
    assert reason(upload(owner, path, DATA)) == REFUSED
    owner.patch(path, remove("img_signature"))
    assert upload(owner, path, DATA).status_int == 204


def test_certificates_of_castellans_key_manager(start, certificates, monkeypatch):
    """Asked with the user's token, like the rest of the stack."""
    config = "\n[signatures]\ncertificates = castellan\n[key_manager]\nbackend = {}\n"
    with pytest.raises(BadConfig, match=r"\[key_manager\] backend"):
        start(config=config.format("tests.signing.Nothing"))
    stack = start(config=config.format("tests.signing.Keys"))
    monkeypatch.setattr(signing.Keys, "directory", certificates)
    signed = signing.properties(certificates, DATA)
    path = stack.create(**signed)
    for token, data, status in (("x", DATA, 400), ("user's", OTHER, 400), ("user's", DATA, 204)):
        answer = stack.call(MEMBER, "PUT", f"{path}/file", data, X_Auth_Token=token)
        assert answer.status_int == status, answer
    path = stack.create(**{**signed, "img_signature_certificate_uuid": str(uuid.uuid4())})
    answer = stack.call(MEMBER, "PUT", f"{path}/file", DATA, X_Auth_Token="user's")
    assert reason(answer) == REFUSED


def test_what_cannot_work_refuses_to_start(tmp_path, monkeypatch):
    with pytest.raises(BadConfig, match=r"\[signatures\] certificates: .*nor a directory"):
        gateway(further={"signatures": {"certificates": str(tmp_path / "nowhere")}})
    monkeypatch.setitem(sys.modules, "cursive", None)
    monkeypatch.delitem(sys.modules, "imsgate.signatures.certificates", raising=False)
    with pytest.raises(BadConfig, match=r"\[signatures\] certificates: .*imsgate\[signatures\]"):
        gateway(further={"signatures": {"certificates": str(tmp_path)}})


def test_an_object_of_a_bucket_is_verified_too(certificates):
    buckets = MemoryBuckets()
    buckets.objects |= {("bkt", "good"): DATA, ("bkt", "bad"): OTHER}
    further = options("none", "p1:bkt", signatures={"certificates": str(certificates)})
    gate = gateway(buckets=buckets, further=further)
    owner = Person(gate.app, PEOPLE["owner"])
    path = create(owner, **signing.properties(certificates, DATA))
    for key, outcome in (("bad", ("FAIL", "IMG.0057")), ("good", ("SUCCESS", None))):
        call = path.replace("/v2/images", "/v1/cloudimages") + "/upload"
        job_id = owner.put(call, {"image_url": f"bkt:{key}"}).json["job_id"]
        assert gate.engine.run_one()
        job = owner.get(f"/v1/cloudimages/job/{job_id}").json
        assert (job["status"], job["error_code"]) == outcome
