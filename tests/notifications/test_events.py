"""The events of requests, and the members of their payloads, compared with Glance's."""

import json

import pytest

from imsgate.notifications.events import Events
from imsgate.testing.gateways import gateway, memory_store
from imsgate.testing.records import image
from tests.api.people import PEOPLE, Person, add, replace
from tests.notifications.receiver import SECRET

FORMATS = {"disk_format": "raw", "container_format": "bare"}
DATA = b"data of an image" * 64

#: The members of Glance's payloads, as its master has them in July 2026 (c76abb08):
#: glance/notifier.py, format_*_notification, _format_image_send and _format_import_properties.
_IMAGE = set(
    "id name status created_at updated_at min_disk min_ram protected checksum owner disk_format "
    "container_format size virtual_size is_public visibility properties tags deleted "
    "deleted_at".split()
)
_IMPORT = {"os_glance_importing_to_stores", "os_glance_failed_import"}
_MEMBER = set("image_id member_id status created_at updated_at deleted deleted_at".split())
_TASK = set(
    "id type status result owner message expires_at created_at updated_at deleted "
    "deleted_at".split()
)
MEMBERS = {
    **{f"image.{name}": _IMAGE for name in ("create", "update", "delete", "activate")},
    # With several stores, Glance adds "backend" where one was chosen.
    "image.prepare": _IMAGE | _IMPORT | {"backend"},
    "image.upload": _IMAGE | _IMPORT,
    "image.send": set("bytes_sent image_id owner_id receiver_tenant_id receiver_user_id".split()),
    **{f"image.member.{name}": _MEMBER for name in ("create", "update", "delete")},
    **{f"task.{name}": _TASK for name in ("create", "processing", "run", "success", "failure")},
}


class Site:
    """A gateway in memory whose outbox nobody empties."""

    def __init__(self, **options):
        hooks = {"urls": ["http://127.0.0.1:9/"], "secret": [SECRET]}
        further = {"webhooks": hooks, "DEFAULT": options}
        stores = [memory_store("fast"), memory_store("archive"), memory_store("tiny", 10)]
        self.gate = gateway(stores=stores, further=further)
        self.owner = Person(self.gate.app, PEOPLE["owner"])
        self.admin = Person(self.gate.app, PEOPLE["admin"])
        self.sharer = Person(self.gate.app, PEOPLE["sharer"])

    def bodies(self):
        """What has been recorded since the last call."""
        found = [each.message.event.body for each in self.gate.registry._waiting.values()]
        self.gate.registry._waiting.clear()
        return found

    def events(self):
        return [body["event_type"] for body in self.bodies()]

    def work(self):
        while self.gate.engine.run_one():
            pass


@pytest.fixture
def site():
    return Site()


def _create(site):
    return site.owner.create(**FORMATS)


def _active(site):
    path = _create(site)
    site.owner.upload(path, DATA)
    site.bodies()
    return path


def _upload(site):
    path = _create(site)
    site.owner.upload(path, DATA)


def _failed_upload(site):
    path = _create(site)
    site.bodies()
    store = {"Content_Type": "application/octet-stream", "x_image_meta_store": "tiny"}
    assert site.owner.put(f"{path}/file", DATA, **store).status_int == 413
    assert site.owner.get(path).json["status"] == "queued"


def _import(site):
    path = _create(site)
    site.bodies()
    site.owner.put(f"{path}/stage", DATA)
    body = {"method": {"name": "glance-direct"}}
    assert site.owner.post(f"{path}/import", body).status_int == 202
    site.work()


def _failed_import(site):
    path = _create(site)
    site.owner.put(f"{path}/stage", DATA)
    site.bodies()
    (staged,) = site.gate.registry.get(path.rpartition("/")[2]).locations
    site.gate.stores.get(staged.store).delete(staged.url)
    body = {"method": {"name": "glance-direct"}}
    assert site.owner.post(f"{path}/import", body).status_int == 202
    site.work()


def _copy(site):
    path = _active(site)
    body = {"method": {"name": "copy-image"}, "stores": ["archive"]}
    assert site.admin.post(f"{path}/import", body).status_int == 202
    site.work()


def _edit(site):
    path = _active(site)
    site.owner.patch(path, replace("name", "new"), add("color", "red"))
    site.owner.put(f"{path}/tags/t")
    site.admin.post(f"{path}/actions/deactivate")
    site.admin.post(f"{path}/actions/reactivate")


def _share(site):
    path = site.owner.create(**FORMATS)
    site.bodies()
    site.owner.post(f"{path}/members", {"member": "p3"})
    site.sharer.put(f"{path}/members/p3", {"status": "accepted"})
    site.owner.delete(f"{path}/members/p3")


def _delete(site):
    site.owner.delete(_active(site))


def _download(site):
    path = _active(site)
    site.owner.get(f"{path}/file")
    site.owner.ask("HEAD", f"{path}/file")
    site.owner.get(f"{path}/file", Range="bytes=1-2")


def _nothing(site):
    path = _active(site)
    site.owner.get(path)
    site.owner.get("/v2/images")
    site.owner.patch(path, replace("status", "queued"))
    site.owner.post("/v2/images", {"min_disk": -1})
    site.owner.put(f"{path}/file", DATA, Content_Type="application/octet-stream")


UPLOADED = ["image.upload", "image.activate", "image.update"]
STARTED = ["image.update", "image.prepare", "task.create", "task.processing", "task.run"]

#: What a user does, and the events of it in the order of Glance.
EVENTS = [
    (_create, ["image.create"]),
    (_upload, ["image.create", "image.update", "image.prepare", *UPLOADED]),
    (_failed_upload, ["image.update", "image.prepare", "image.upload", "image.update"]),
    (
        _import,
        ["image.update", "image.update", *STARTED, *UPLOADED, "task.success"],
    ),
    (_failed_import, [*STARTED, "image.upload", "image.update", "task.failure"]),
    (_copy, [*STARTED, "image.upload", "image.update", "task.success"]),
    (_edit, ["image.update"] * 4),
    (_share, ["image.member.create", "image.member.update", "image.member.delete"]),
    (_delete, ["image.delete"]),
    (_download, ["image.send", "image.send"]),
    (_nothing, []),
]


@pytest.mark.parametrize(("request_", "expected"), EVENTS)
def test_what_a_request_sends(site, request_, expected):
    request_(site)
    bodies = site.bodies()
    assert [body["event_type"] for body in bodies] == expected
    for body in bodies:
        json.dumps(body)
        name, payload = body["event_type"], body["payload"]
        if body["priority"] == "ERROR":
            assert isinstance(payload, str)
        else:
            assert set(payload) | {"backend"} == MEMBERS[name] | {"backend"}
        assert set(body) - {"trace"} == {
            *("event_type", "payload", "priority", "publisher_id", "timestamp")
        }


def test_every_event_of_the_table_was_seen(site):
    seen = set()
    for request_, _ in EVENTS:
        request_(site)
        seen.update(site.events())
    assert seen == set(MEMBERS)


def test_the_values_of_an_image(site):
    path = site.owner.create(
        **FORMATS,
        id="ABCDEF01-0000-4000-8000-00000000000F",
        tags=["b", "a"],
        visibility="private",
        color="red",
        min_disk=1,
    )
    site.owner.upload(path, DATA)
    bodies = {body["event_type"]: body for body in site.bodies()}
    created, prepared = bodies["image.create"]["payload"], bodies["image.prepare"]["payload"]
    shown = site.owner.get(path).json
    assert created == {
        **{name: shown[name] for name in _IMAGE & shown.keys()},
        "status": "queued",
        "updated_at": created["created_at"],
        "size": None,
        "checksum": None,
        "is_public": False,
        "properties": {"color": "red"},
        "deleted": False,
        "deleted_at": None,
    }
    assert created["id"] == "ABCDEF01-0000-4000-8000-00000000000F"
    assert created["tags"] == ["a", "b"]
    assert prepared["status"] == "saving"
    assert prepared["backend"] == "fast"
    assert prepared["os_glance_importing_to_stores"] == []
    for name in ("image.upload", "image.activate", "image.update"):
        payload = bodies[name]["payload"]
        assert (payload["status"], payload["size"]) == ("active", len(DATA))
        assert payload["checksum"] == shown["checksum"]
    assert bodies["image.create"]["publisher_id"] == "image.localhost"
    assert {body["priority"] for body in bodies.values()} == {"INFO"}


def test_the_values_of_a_deleted_image(site):
    _delete(site)
    (body,) = site.bodies()
    payload = body["payload"]
    assert (payload["status"], payload["deleted"]) == ("deleted", True)
    assert payload["deleted_at"] >= payload["updated_at"]


def test_the_values_of_a_member(site):
    _share(site)
    created, accepted, deleted = (body["payload"] for body in site.bodies())
    assert (created["member_id"], created["status"]) == ("p3", "pending")
    assert (accepted["status"], accepted["deleted"]) == ("accepted", False)
    assert deleted["deleted"] is True


def test_the_values_of_a_download(site):
    path = _active(site)
    site.sharer.get(f"{path}/file")  # it sees no such image
    site.admin.get(f"{path}/file", Range="bytes=0-9")
    (body,) = site.bodies()
    assert body["priority"] == "INFO"
    assert body["payload"] == {
        "bytes_sent": 10,
        "image_id": path.rpartition("/")[2],
        "owner_id": "p1",
        "receiver_tenant_id": "p0",
        "receiver_user_id": "user of p0",
    }


def test_the_values_of_a_failure(site):
    path = _create(site)
    site.bodies()
    store = {"Content_Type": "application/octet-stream", "x_image_meta_store": "tiny"}
    site.owner.put(f"{path}/file", DATA, **store)
    _, _, failed, queued = site.bodies()
    image_id = path.rpartition("/")[2]
    assert failed["priority"] == "ERROR"
    assert failed["payload"] == f"Failed to upload image data for image {image_id}"
    assert queued["payload"]["status"] == "queued"


def test_the_values_of_a_task(site):
    _failed_import(site)
    found = [body["payload"] for body in site.bodies() if body["event_type"].startswith("task.")]
    assert [task["status"] for task in found] == ["pending", "processing", "processing", "failure"]
    assert {task["type"] for task in found} == {"api_image_import"}
    assert {task["owner"] for task in found} == {"p1"}


@pytest.mark.parametrize(
    ("disabled", "left"),
    [
        (["image"], {"task"}),
        (["task"], {"image", "image.member"}),
        (["image.member", "task.run"], {"image", "task"}),
        (["image.send", "image.create"], {"image", "image.member", "task"}),
        (["image.member.create"], {"image", "image.member", "task"}),
        (["ima", "image.membe"], {"image", "image.member", "task"}),
    ],
)
def test_disabled_events(disabled, left):
    site = Site(disabled_notifications=disabled, default_publisher_id="host-7")
    bodies = []
    for request_ in (_share, _import, _download):
        request_(site)
        bodies += site.bodies()
    assert {body["event_type"].rpartition(".")[0] for body in bodies} == left
    assert not {body["event_type"] for body in bodies} & set(disabled)
    assert {body["publisher_id"] for body in bodies} == {"host-7"}


def test_a_download_that_was_cut():
    events = Events(targets=("a",), publisher_id="host")
    (event,) = events.sent(PEOPLE["owner"], image(), 5, 10)
    assert event.body["priority"] == "ERROR"
    assert event.body["payload"]["bytes_sent"] == 5
