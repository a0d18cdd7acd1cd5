"""Notifications of a served gateway: none is lost or invented when its processes die."""

import collections
import concurrent.futures
import contextlib
import os
import signal
import sqlite3

import pytest

from tests.functional.gateway import PATIENCE, Gateway, eventually, free_port, serving
from tests.functional.importing import Worker
from tests.notifications.receiver import SECRET, receiving

SIZE = 1 << 24
UPLOADED = ["image.update", "image.prepare", "image.upload", "image.activate", "image.update"]


def _gateway(directory, port, workers):
    url = f"http://127.0.0.1:{port}/hook"
    hooks = f"[webhooks]\nurls = {url}\nsecret = {SECRET}\n"
    return Gateway(directory, config=f"{hooks}[outbox]\npoll = 0.05\n", workers=workers)


def _database(gateway):
    return contextlib.closing(sqlite3.connect(gateway.state / "imsgate.sqlite", timeout=PATIENCE))


def _end_turns(gateway):
    """Of processes that were killed."""
    with _database(gateway) as db, db:
        db.execute("UPDATE outbox_turns SET until = 0")


def _is_all_sent(gateway):
    with _database(gateway) as db:
        return db.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


def _by_image(receiver):
    """The events of each image in their order, each id once."""
    found = collections.defaultdict(list)
    messages = {message["message_id"]: message for message in receiver.verified()}
    for message in messages.values():
        payload = message["payload"]
        if message["event_type"] != "image.send":
            found[payload["id"]].append(message["event_type"])
    return found


def _uploaded(gateway):
    """An image, unless the worker was killed meanwhile."""
    with contextlib.suppress(OSError, AssertionError):
        return gateway.stored(os.urandom(1 << 16))
    return None


def test_a_worker_sends_what_a_killed_gateway_left(tmp_path):
    """The receiver was away until then."""
    gateway = _gateway(tmp_path, free_port(), 1)
    with contextlib.ExitStack() as stack:
        stack.callback(gateway.kill)
        gateway.start()
        image_id = gateway.stored(b"data")
        gateway.kill()
        port = int(gateway.config.read_text().partition("127.0.0.1:")[2].partition("/")[0])
        receiver = stack.enter_context(receiving(port))
        _end_turns(gateway)
        worker = Worker(gateway, "--threads", "1")
        stack.callback(worker.end, signal.SIGKILL)
        eventually(lambda: _is_all_sent(gateway), "all is sent")
        assert _by_image(receiver) == {image_id: ["image.create", *UPLOADED]}
        assert len(set(receiver.ids)) == len(receiver.ids)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with receiving() as receiver:
        made = _gateway(tmp_path_factory.mktemp("site"), receiver.server_port, 4)
        with serving(made) as gateway:
            yield gateway, receiver, gateway.stored(os.urandom(SIZE))


def _downloads(receiver):
    return [message for message in receiver.verified() if message["event_type"] == "image.send"]


def _next_download(receiver, before):
    """The priority and the bytes of the first image.send after those ``before``."""
    later = eventually(lambda: _downloads(receiver)[len(before) :], "the download is notified")
    return later[0]["priority"], later[0]["payload"]["bytes_sent"]


@pytest.mark.parametrize(
    ("headers", "size"), [({}, SIZE), ({"Range": "bytes=5-1004"}, 1000)], ids=["whole", "range"]
)
def test_a_download_by_sendfile(site, headers, size):
    gateway, receiver, image_id = site
    before = _downloads(receiver)
    assert len(gateway.download(image_id, **headers).body) == size
    assert _next_download(receiver, before) == ("INFO", size)


def test_a_download_that_its_client_ends(site):
    gateway, receiver, image_id = site
    before = _downloads(receiver)
    with gateway.connect() as client:
        head = f"GET /v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\n"
        client.sendall(f"{head}X-Auth-Token: {gateway.token()}\r\n\r\n".encode())
        assert len(client.recv(1000)) > 0
    priority, size = _next_download(receiver, before)
    assert priority == "ERROR"
    assert 0 <= size < SIZE


def test_two_of_four_workers_are_killed(site):
    gateway, receiver, _ = site
    receiver.received.clear()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        uploads = [pool.submit(_uploaded, gateway) for _ in range(12)]
        assert receiver.received.wait(PATIENCE)
        workers = [pid for pid in gateway.pids() if pid != gateway.process.pid]
        for pid in workers[:2]:
            os.kill(pid, signal.SIGKILL)
        stored = [upload.result() for upload in uploads if upload.result()]
    _end_turns(gateway)
    eventually(lambda: _is_all_sent(gateway), "all is sent")
    found = _by_image(receiver)
    assert len(stored) >= 4
    for image_id in stored:
        assert found[image_id] == ["image.create", *UPLOADED]
    recorded = gateway.call("GET", "/v2/images?limit=100", token=gateway.admin).json["images"]
    assert {image["id"] for image in recorded} == found.keys()
    for image in recorded:
        expected = ["image.create", *UPLOADED]
        if image["status"] != "active":
            expected = expected[: {"queued": 1, "saving": 3}[image["status"]]]
        assert found[image["id"]] == expected
