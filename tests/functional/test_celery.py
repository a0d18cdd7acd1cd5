"""Jobs by Celery over real brokers: workers that are killed and paused, and what comes of it."""

import signal
import threading

import pytest

from tests import brokers
from tests.functional.gateway import PATIENCE, Gateway, eventually, serving, stopped
from tests.functional.importing import (
    BODY,
    STORES,
    WEB,
    Worker,
    assert_active,
    begin,
    ended,
    slow,
    task,
)
from tests.sources import web_server

CONFIG = STORES + WEB + "[jobs]\nengine = celery\nresend = 0.3\nbroker_url = "


@pytest.fixture(params=[brokers.RabbitMQ, brokers.Redis])
def broker(request):
    broker = request.param()
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


class Site:
    """A gateway and two workers; a source that waits until it is told to go on."""

    def __init__(self, gateway, source):
        self.gateway = gateway
        self.source = source
        self.workers = [Worker(gateway, "--threads", "1") for _ in range(2)]
        self.ready, self.go_on = threading.Event(), threading.Event()

    def begin(self):
        """A job, and the worker that is at it."""
        self.ready.clear()
        self.go_on.clear()
        self.source.seen.clear()
        self.source.routes["/image"] = slow(BODY, self.ready, self.go_on)
        image_id = self.gateway.create()
        uri = f"{self.source.url}/image"
        assert begin(self.gateway, image_id, "web-download", uri=uri).status == 202
        return image_id, self.worker_at(image_id, 1)

    def worker_at(self, image_id, attempt):
        """The one that has begun this attempt at the image's job and is in the middle of it."""
        assert self.ready.wait(PATIENCE)
        self.ready.clear()
        (job,) = self.gateway.call("GET", "/v2/tasks?limit=1", token=self.gateway.admin).json[
            "tasks"
        ]
        line = f"Job {job['id']} (import), attempt {attempt}"
        found = [worker for worker in self.workers if line in worker.log.read_text()]
        assert len(found) == 1, line
        assert self.gateway.status(image_id) == "importing"
        return found[0]

    def finish(self, image_id):
        """One end, and one copy."""
        self.go_on.set()
        assert ended(self.gateway, image_id)["status"] == "success"
        assert len(self.source.seen) == 2
        self.assert_whole(image_id)

    def assert_whole(self, image_id):
        eventually(lambda: len(self.gateway.residue(image_id)) == 1, "one copy is there")
        assert_active(self.gateway, image_id, BODY, ["fast"])

    def close(self):
        for worker in self.workers:
            if worker.running:
                worker.end(signal.SIGKILL)


def test_one_job_has_one_end(broker, tmp_path):
    gateway = Gateway(tmp_path, config=CONFIG + broker.url, workers=1)
    with serving(gateway), web_server.serving() as source:
        site = Site(gateway, source)
        try:
            broker.wait()
            _killed(site)
            _paused(site)
            for worker in site.workers:
                worker.send(signal.SIGTERM)
            assert [worker.process.wait(PATIENCE) for worker in site.workers] == [0, 0]
            for worker in site.workers:
                assert "Traceback" not in worker.log.read_text()
        finally:
            site.close()


def _killed(site):
    image_id, first = site.begin()
    first.end(signal.SIGKILL)
    site.gateway.expire_leases()
    site.workers.append(Worker(site.gateway, "--threads", "1"))
    assert site.worker_at(image_id, 2) is not first
    site.workers.remove(first)
    site.finish(image_id)


def _paused(site):
    image_id, first = site.begin()
    first.send(signal.SIGSTOP)
    try:
        eventually(lambda: stopped(first.process.pid), "it is paused")
        site.gateway.expire_leases()
        assert site.worker_at(image_id, 2) is not first
        site.finish(image_id)
    finally:
        first.send(signal.SIGCONT)
    gone_on = "continues in another worker"
    eventually(lambda: gone_on in first.log.read_text(), "the paused one finds itself fenced off")
    site.assert_whole(image_id)
    assert task(site.gateway, image_id)["status"] == "success"
