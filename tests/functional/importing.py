"""Shared by tests of imports: raw calls, slow sources, and workers."""

import hashlib
import os
import secrets
import signal

from tests.functional import programs
from tests.functional.gateway import IMSGATE, PATIENCE, clean_env, eventually

BODY = os.urandom(3 << 20)

WEB = """
[import_filtering_opts]
allowed_ports = []
[web_download]
allowed_networks = 127.0.0.1/32
[import_unpack]
formats = gzip, xz
[sniff]
accept_gzip = true
"""
FAST = "[jobs]\npoll = 0.2\n"
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


def stage(gateway, image_id, body=BODY):
    headers = {"Content-Type": "application/octet-stream"}
    return gateway.call("PUT", f"/v2/images/{image_id}/stage", body, headers=headers)


def begin(gateway, image_id, name, token="", headers=None, **more):
    method = {"name": name, **{key: more.pop(key) for key in ("uri", "digest") if key in more}}
    return gateway.call(
        "POST",
        f"/v2/images/{image_id}/import",
        {"method": method, **more},
        token=token,
        headers=headers,
    )


def task(gateway, image_id):
    answer = gateway.call("GET", f"/v2/images/{image_id}/tasks", token=gateway.admin)
    assert answer.status == 200, answer.body
    return answer.json["tasks"][-1]


def ended(gateway, image_id):
    """Wait until the last task of an image has ended, and return it."""
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


def slow(body, ready, go_on):
    """A route that sends half of the body, and the rest once ``go_on`` is set."""

    def route(handler):
        handler.answer(200, {"Content-Length": str(len(body))}, body[: len(body) // 2])
        ready.set()
        go_on.wait(PATIENCE)
        handler.wfile.write(body[len(body) // 2 :])

    return route


class Worker:
    """An ``imsgate worker`` beside a gateway."""

    def __init__(self, gateway, *more):
        place = ["--state", str(gateway.state), "--config-file", str(gateway.config)]
        self.log = gateway.directory / f"worker-log-{secrets.token_hex(4)}"
        self.log.touch()  # its process begins later, and others read it
        command = [IMSGATE, "worker", *place, *more]
        self.process = programs.spawn(command, self.log, clean_env(gateway.directory))

    @property
    def running(self):
        return self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        self.send(signal.SIGCONT)
        self.send(number)
        return self.process.wait(PATIENCE)
