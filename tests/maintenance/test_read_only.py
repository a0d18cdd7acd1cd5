"""Read-only mode: what is refused, what continues, and what is not begun."""

import dataclasses
import time

import pytest

from imsgate import app, model
from imsgate.jobs.work import Work
from imsgate.model import JobState, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.gateways import gateway
from imsgate.testing.records import image, job
from tests.api.people import PEOPLE, Person, reason

IMAGE = "/v2/images/00000000-0000-4000-8000-000000000001"
UPLOAD = "/v2/uploads/00000000-0000-4000-8000-000000000002"
REFUSED = (503, "service_read_only")

CHANGES = [
    ("POST", "/v2/images"),
    ("PATCH", IMAGE),
    ("DELETE", IMAGE),
    ("PUT", f"{IMAGE}/file"),
    ("PUT", f"{IMAGE}/stage"),
    ("POST", f"{IMAGE}/import"),
    ("PATCH", f"{IMAGE}/upload"),
    ("PUT", f"{IMAGE}/tags/a"),
    ("POST", f"{IMAGE}/members"),
    ("POST", f"{IMAGE}/actions/deactivate"),
    ("POST", f"{IMAGE}/locations"),
    ("POST", "/v2/uploads"),
    ("PATCH", UPLOAD),
    ("POST", UPLOAD),
    ("POST", "/v2/cloudimages/action"),
    ("PATCH", f"/v2/cloudimages/{IMAGE[-36:]}"),
    ("PUT", "/v1/cloudimages/tags"),
    ("POST", "/v1/cloudimages/members"),
    ("POST", f"/v2/p1/images/{IMAGE[-36:]}/tags/action"),
]

READS = [
    ("GET", "/versions", 200),
    ("GET", "/v2/images", 200),
    ("GET", f"{IMAGE}", 200),
    ("HEAD", f"{IMAGE}", 200),
    ("GET", f"{IMAGE}/file", 200),
    ("OPTIONS", f"{IMAGE}/file", 204),
    ("GET", "/v2/cloudimages", 200),
    ("POST", "/v2/p1/images/resource_instances/action", 200),
]


class CountingRegistry(MemoryRegistry):
    """Counts how often it is asked whether the service is read-only."""

    asked = 0

    def read_only_since(self):
        self.asked += 1
        return super().read_only_since()


@dataclasses.dataclass
class Site:
    """A gateway with an image, its owner, and the file that makes the host read-only."""

    gate: object
    owner: Person
    file: object

    def turn(self, how):
        if how == "file":
            self.file.touch()
        else:
            self.gate.registry.begin_read_only(model.now())

    def turn_back(self):
        self.file.unlink(missing_ok=True)
        self.gate.registry.end_read_only()


@pytest.fixture
def site(tmp_path):
    file = tmp_path / "read-only"
    gate = gateway(
        registry=CountingRegistry(), further={"maintenance": {"read_only_file": str(file)}}
    )
    owner = Person(gate.app, PEOPLE["owner"])
    body = {"id": IMAGE[-36:], "name": "x", "disk_format": "raw", "container_format": "bare"}
    assert owner.post("/v2/images", body).status_int == 201
    answer = owner.put(f"{IMAGE}/file", b"data", Content_Type="application/octet-stream")
    assert answer.status_int == 204
    return Site(gate, owner, file)


HOW = pytest.mark.parametrize("how", ["file", "database"])


@HOW
def test_changes_are_refused(site, how):
    site.turn(how)
    for method, path in CHANGES:
        answer = site.owner.ask(method, path)
        assert reason(answer) == REFUSED, (method, path)
        assert answer.headers["Retry-After"] == "30"
    site.turn_back()
    assert site.owner.put(f"{IMAGE}/tags/a").status_int == 204


@HOW
def test_reads_continue_and_ask_nothing(site, how):
    site.turn(how)
    before = site.gate.registry.asked
    for method, path, status in READS:
        body = {"action": "count"} if method == "POST" else b""
        assert site.owner.ask(method, path, body).status_int == status, (method, path)
    assert site.gate.registry.asked == before


def test_an_upload_that_is_running_finishes(site):
    image_id = site.owner.post(
        "/v2/images", {"disk_format": "raw", "container_format": "bare"}
    ).json["id"]

    class Body:
        """The service becomes read-only while this body is read."""

        def __init__(self):
            self.chunks = [b"da", b"ta"]

        def read(self, size=-1):
            site.turn("database")
            return self.chunks.pop(0) if self.chunks else b""

    answer = site.owner._app.put(
        f"/v2/images/{image_id}/file",
        headers={"Content-Type": "application/octet-stream"},
        extra_environ={"wsgi.input": Body(), "CONTENT_LENGTH": "4"},
    )
    assert answer.status_int == 204
    assert site.owner.get(f"/v2/images/{image_id}").json["status"] == "active"


class Done(Work):
    def run(self, job, context):
        pass


@HOW
def test_no_job_is_claimed(site, how):
    engine = site.gate.engine
    engine._kinds = {"test": Done()}
    waiting = job()
    site.gate.registry.add_job(waiting)
    site.turn(how)
    assert not engine.run_one()
    assert not engine.run_one(waiting.id)
    assert site.gate.registry.get_job(waiting.id).state is JobState.INIT
    site.turn_back()
    assert engine.run_one()
    assert site.gate.registry.get_job(waiting.id).state is JobState.SUCCESS


@HOW
def test_no_sweep(site, how):
    further = []
    sweep = app.make_sweep(site.gate, lambda: further.append(1))
    abandoned = image(
        status=Status.SAVING, upload_store="fast", upload_key="k", upload_expires=time.time() - 1
    )
    site.gate.registry.add(abandoned)
    site.turn(how)
    sweep()
    assert site.gate.registry.get(abandoned.id) == abandoned
    assert not further
    site.turn_back()
    sweep()
    assert site.gate.registry.get(abandoned.id).status is Status.QUEUED
    assert further
