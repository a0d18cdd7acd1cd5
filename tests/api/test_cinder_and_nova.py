"""The requests that Cinder and Nova send, after their source.

Cinder: ``cinder/image/glance.py``, ``cinder/image/cache.py``, ``cinder/volume/api.py`` and
``cinder/volume/manager.py``. Nova: ``nova/image/glance.py`` and ``nova/virt/libvirt/driver.py``.
"""

import dataclasses
import datetime
import json
import logging
import sys
import uuid

import pytest

from imsgate.errors import BadConfig
from imsgate.model import Status
from imsgate.testing.gateways import gateway, memory_store
from tests import key_managers
from tests.api.buckets import MemoryBuckets, options
from tests.api.people import PEOPLE, Person, reason, replace
from tests.api.stack import ADMIN, MEMBER, OTHER
from tests.filters.test_sniff import LUKS
from tests.key_managers import UsersKeys

KEY = "cinder_encryption_key_id"
POLICY = "cinder_encryption_key_deletion_policy"
OCTETS = "application/octet-stream"


def encrypted(key_id, **more):
    """The record that Cinder makes for an encrypted volume (``copy_volume_to_image``)."""
    return {
        "name": "volume",
        "visibility": "shared",
        "protected": False,
        "disk_format": "raw",
        "container_format": "bare",
        KEY: key_id,
        POLICY: "on_image_deletion",
        **more,
    }


# Encrypted volumes


class Keys:
    """A gateway that deletes keys, and castellan's key manager with some."""

    def __init__(self, start, monkeypatch):
        monkeypatch.setattr(UsersKeys, "of_the_test", {})
        backend = "[key_manager]\nbackend = tests.key_managers.UsersKeys\n"
        self.stack = start(config=f"\n[encryption]\ndelete_keys = true\n{backend}")

    def new(self):
        """Cinder makes a copy of the volume's key for each image."""
        return UsersKeys().create_key(object(), "AES", 256)

    def upload(self, key_id, **more):
        path = self.stack.create(**encrypted(key_id, **more))
        answer = self.stack.call(MEMBER, "PUT", f"{path}/file", LUKS)
        assert answer.status_int == 204, answer
        return path

    def delete(self, path, who=MEMBER, token="user's"):
        return self.stack.call(who, "DELETE", path, X_Auth_Token=token).status_int

    @property
    def left(self):
        return list(UsersKeys.of_the_test)


@pytest.fixture
def keys(start, monkeypatch):
    return Keys(start, monkeypatch)


def test_the_key_of_an_encrypted_volume_is_deleted_with_the_image(keys):
    key_id, other = keys.new(), keys.new()
    path = keys.upload(key_id)
    shown = keys.stack.call(MEMBER, "GET", path).json
    assert (shown["status"], shown["disk_format"]) == ("active", "raw")
    assert (shown[KEY], shown[POLICY]) == (key_id, "on_image_deletion")
    assert keys.left == [key_id, other]
    assert keys.delete(path) == 204
    assert keys.left == [other]


@pytest.mark.parametrize(
    "changed",
    [{POLICY: "do_not_delete"}, {POLICY: ""}, {POLICY: "On_image_deletion"}, {KEY: ""}],
    ids=str,
)
def test_a_key_that_is_still_needed_stays(keys, changed):
    key_id = keys.new()
    path = keys.stack.create(**{**encrypted(key_id), **changed})
    assert keys.delete(path) == 204
    assert keys.left == [key_id]


@pytest.mark.parametrize(("who", "protected", "status"), [(OTHER, False, 404), (ADMIN, True, 403)])
def test_a_key_stays_with_its_image(keys, who, protected, status):
    key_id = keys.new()
    path = keys.upload(key_id, protected=protected)
    assert keys.delete(path, who) == status
    assert keys.left == [key_id]


@pytest.mark.parametrize(
    ("key_id", "token", "words"),
    [
        (None, "another's", "the user may not delete it"),
        ("8d45dbf6-2122-4469-8c49-b91d74fd6306", "user's", "there is no such key"),
        (None, "broken", "the key manager failed: the key manager has a bug"),
        ("../../../sys/mounts/secret", "user's", "its id is not a UUID"),
        ("http://evil.example/v1/secrets/1", "user's", "its id is not a UUID"),
    ],
)
def test_an_image_is_deleted_whatever_becomes_of_its_key(keys, caplog, key_id, token, words):
    kept = keys.new()
    path = keys.upload(key_id or kept)
    assert keys.delete(path, token=token) == 204
    assert keys.stack.call(MEMBER, "GET", path).status_int == 404
    assert keys.left == [kept]
    (warning,) = [line for line in caplog.records if line.levelno == logging.WARNING]
    assert words in warning.getMessage()


def test_castellans_vault_driver_deletes_a_key(start):
    key_id = uuid.uuid4().hex
    with key_managers.vault() as vault:
        path = f"/v1/secret/data/{key_id}"
        vault.keys |= {path, "/v1/secret/data/other"}
        config = (
            "\n[encryption]\ndelete_keys = true\n[key_manager]\nbackend = vault\n"
            f"[vault]\nroot_token_id = t\nvault_url = {vault.url}\n"
        )
        stack = start(config=config)
        for wrong in ("../data/other", "..%2fdata%2fother", "other"):
            image = stack.create(**encrypted(wrong))
            assert stack.call(MEMBER, "DELETE", image).status_int == 204
        assert vault.seen == []
        image = stack.create(**encrypted(key_id))
        assert stack.call(MEMBER, "DELETE", image).status_int == 204
        assert vault.seen == [(path, "t")]
        assert vault.keys == {"/v1/secret/data/other"}


def test_keys_stay_unless_the_operator_wants_them_deleted(caplog):
    owner = Person(gateway().app, PEOPLE["owner"])
    key_id = str(uuid.uuid4())
    assert owner.delete(owner.create(**encrypted(key_id))).status_int == 204
    (warning,) = [line for line in caplog.records if line.levelno == logging.WARNING]
    assert key_id in warning.getMessage()
    assert "[encryption] delete_keys is false" in warning.getMessage()


def test_what_cannot_work_refuses_to_start(start, monkeypatch):
    config = (
        "\n[encryption]\ndelete_keys = true\n[key_manager]\nbackend = tests.key_managers.None\n"
    )
    with pytest.raises(BadConfig, match=r"\[key_manager\] backend"):
        start(config=config)
    monkeypatch.setitem(sys.modules, "castellan", None)
    monkeypatch.delitem(sys.modules, "imsgate.signatures.key_deletion", raising=False)
    with pytest.raises(BadConfig, match=r"\[encryption\] delete_keys: .*imsgate\[signatures\]"):
        gateway(further={"encryption": {"delete_keys": True}})


def test_a_copy_of_an_encrypted_image_does_not_delete_the_key_of_both():
    """By IMS's call; the copy's data needs the same key."""
    further = options("huawei", "p1:bkt")
    gate = gateway(buckets=MemoryBuckets(), further=further)
    owner = Person(gate.app, PEOPLE["owner"])
    path = owner.create(**encrypted("5ad1c2b0-5a4f-4a29-8e0b-9f2b40a6f1ab"))
    assert owner.put(f"{path}/file", LUKS, Content_Type=OCTETS).status_int == 204
    copy = path.replace("/v2/images", "/v1/cloudimages") + "/copy"
    assert owner.post(copy, {"name": "copy"}).status_int == 200
    assert gate.engine.run_one()
    (made,) = owner.get("/v2/images?name=copy").json["images"]
    assert made["status"] == "active"
    assert KEY in made
    assert POLICY not in made


# Snapshots by Nova


@pytest.fixture
def site():
    """Stores as a site with Ceph has them: Nova writes into the one that images are in, too."""
    stores = [memory_store("fast"), memory_store("rbd")]
    return gateway(stores=stores, further={"locations": {"stores": ["rbd"]}})


@pytest.fixture
def nova(site):
    service = dataclasses.replace(PEOPLE["owner"], service_roles=frozenset({"service"}))
    return Person(site.app, service)


#: What Nova writes into the record of a snapshot, by ``_update_v2`` and
#: ``snapshot_metadata``.
SNAPSHOT = {
    "name": "snapshot",
    "visibility": "private",
    "image_type": "snapshot",
    "instance_uuid": "b5c5f3c1-5b43-4c25-9a1c-5d2f1f3a7b11",
    "user_id": "u",
    "owner_id": "p1",
    "owner_user_name": "alice",
    "owner_project_name": "demo",
    "boot_roles": "member,reader",
    "image_location": "snapshot",
    "image_state": "available",
    "base_image_ref": "",
    "min_disk": 1,
    "min_ram": 0,
}


def test_a_snapshot_that_nova_has_written_into_the_store(site, nova):
    """``_snapshot`` with ``direct_snapshot``: first the fields, then the location."""
    path = nova.create(**SNAPSHOT)
    fields = ({"op": "add", "path": f"/{n}", "value": v} for n, v in FORMATS.items())
    assert nova.patch(path, *fields).status_int == 200
    with site.stores.get("rbd").create("snap", None) as sink:
        sink.write(LUKS.replace(b"LUKS", b"DISK"))
        sink.commit()
    url = "memory://rbd/snap"
    assert nova.post(f"{path}/locations", {"url": url, "validation_data": {}}).status_int == 202
    assert site.engine.run_one()
    shown = nova.get(path).json
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(LUKS), "rbd")
    assert shown["image_type"] == "snapshot"
    assert site.stores.get("rbd").held() == ["snap"]  # the object itself, not a copy of it
    (location,) = nova.get(f"{path}/locations").json
    assert location["url"] == url
    assert nova.delete(path).status_int == 204
    assert site.stores.get("rbd").held() == []


FORMATS = {"disk_format": "raw", "container_format": "bare"}


def test_a_location_by_patch_is_refused_and_leaves_the_record(site, nova):
    """``_add_location`` of versions of Nova that do not know the call for it."""
    path = nova.create(**SNAPSHOT, **FORMATS)
    value = {"url": "memory://rbd/snap", "metadata": {}}
    answer = nova.patch(path, {"op": "add", "path": "/locations/-", "value": value})
    assert reason(answer) == (403, "locations_invisible")
    assert nova.put(f"{path}/file", b"data", Content_Type=OCTETS).status_int == 204
    assert nova.get(path).json["status"] == "active"


@pytest.mark.parametrize("disk_format", ["qcow2", "raw"])
def test_a_snapshot_of_a_server_that_boots_from_a_volume(nova, disk_format):
    """``snapshot_volume_backed``: the image has no data, and says where the volumes are. Nova
    takes the first of its formats that the schema lists, which is qcow2."""
    formats = nova.get("/v2/schemas/image").json["properties"]["disk_format"]["enum"]
    assert {"qcow2", "raw"} < set(formats)
    mapping = json.dumps([{"snapshot_id": str(uuid.uuid4()), "boot_index": 0}])
    more = {"bdm_v2": "True", "block_device_mapping": mapping, "root_device_name": "/dev/vda"}
    path = nova.create(**SNAPSHOT, **more, disk_format=disk_format, container_format="bare")
    assert nova.put(f"{path}/file", b"", Content_Type=OCTETS).status_int == 204
    shown = nova.get(path).json
    assert (shown["status"], shown["size"]) == ("active", 0)
    assert json.loads(shown["block_device_mapping"]) == json.loads(mapping)
    schema = nova.get("/v2/schemas/image").json["properties"]
    assert "block_device_mapping" not in schema  # so that Cinder and Nova find it in "properties"


# Cinder's image-volume cache


def test_cinders_cache_of_image_volumes(site, nova):
    """``ImageVolumeCache._should_update_entry``: a cached volume is used while the image has the
    ``updated_at`` with which it was made, and the volume must be of the image's owner."""
    path = nova.create(**FORMATS, cinder_img_volume_type="fast", min_disk=1)
    assert nova.put(f"{path}/file", b"data", Content_Type=OCTETS).status_int == 204

    def updated():
        text = nova.get(path).json["updated_at"]
        return datetime.datetime.fromisoformat(text)

    shown, first = nova.get(path).json, updated()
    assert first.tzinfo is not None
    assert (shown["owner"], shown["cinder_img_volume_type"]) == ("p1", "fast")
    nova.get(f"{path}/file")
    nova.get(f"{path}/locations")
    nova.get("/v2/images")
    assert updated() == first
    stored = site.registry.get(path.rpartition("/")[2])
    earlier = stored.updated_at - datetime.timedelta(hours=1)
    site.registry.change(stored.id, {}, updated_at=earlier)
    cached = updated()
    assert nova.patch(path, replace("cinder_img_volume_type", "slow")).status_int == 200
    assert updated() > cached
    assert site.registry.get(stored.id).status == Status.ACTIVE
