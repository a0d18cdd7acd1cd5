"""What one run of a gateway logs: its start, who did what, refusals, jobs, outages, its stop."""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional import images
from tests.functional.gateway import Gateway, eventually

CONFIG = """
[DEFAULT]
use_json = true
enabled_backends = fast:file, tape:s3
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {state}/fast
[tape]
optional = true
s3_store_host = http://127.0.0.1:1
s3_store_access_key = key
s3_store_secret_key = hush
s3_store_bucket = images
"""


class Log:
    """The log of a gateway, in oslo.log's JSON."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def lines(self) -> list[dict[str, Any]]:
        texts = (text for text in self._gateway.log_text().splitlines() if text.startswith("{"))
        return [json.loads(text) for text in texts]

    def line(self, pattern: str) -> dict[str, Any]:
        """The newest line whose message contains the pattern."""

        def found() -> dict[str, Any] | None:
            matching = [line for line in self.lines() if re.search(pattern, line["message"])]
            return matching[-1] if matching else None

        return eventually(found, f"a line with {pattern}") or {}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("logs"), config=CONFIG, workers=1).start()
    try:
        yield made
    finally:
        if made.running:
            made.stop()


@pytest.fixture(scope="module")
def log(gateway: Gateway) -> Log:
    return Log(gateway)


def fields(line: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(line["extra"][name] for name in names)


def test_the_start(gateway: Gateway, log: Log) -> None:
    line = log.line("^imsgate .* serves ")
    assert fields(line, "stores", "database", "jobs") == (
        "fast (file, default) tape (s3)",
        f"sqlite:///{gateway.state}/imsgate.sqlite",
        "local",
    )


def test_a_store_that_is_away_at_the_start(gateway: Gateway, log: Log) -> None:
    line = log.line("^Store tape fails: ")
    assert line["levelname"] == "ERROR"
    assert "it cannot be reached" in line["extra"]["problem"]
    assert len([each for each in log.lines() if each["levelname"] == "ERROR"]) == 1


def test_an_upload(gateway: Gateway, log: Log) -> None:
    image_id = gateway.create()
    answer = gateway.upload(image_id, b"data of an image")
    assert answer.status == 204
    line = log.line(f'"PUT /v2/images/{image_id}/file" status: 204 ')
    assert fields(line, "user", "project", "image", "in", "out") == (
        *("user-of-demo", "demo", image_id),
        *(16, 0),
    )
    assert line["context"]["request_id"] == answer.headers["X-Openstack-Request-Id"]
    assert (line["context"]["user"], line["context"]["project"]) == ("user-of-demo", "demo")
    created = log.line('"POST /v2/images" status: 201 ')
    assert fields(created, "image", "user") == (image_id, "user-of-demo")


def test_a_refused_image(gateway: Gateway, log: Log) -> None:
    image_id = gateway.create(disk_format="qcow2")
    answer = gateway.upload(image_id, images.BACKING_FILE)
    assert answer.status == 415
    refused, access = log.line(f"Image {image_id} was refused: "), log.line(f"{image_id}/file")
    assert refused["levelname"] == "WARNING"
    for line in (refused, access):
        assert fields(line, "user", "image", "reason", "check", "offset") == (
            *("user-of-demo", image_id, "image_refused"),
            *("backing_file", 8),
        )


def test_a_request_without_a_token(gateway: Gateway, log: Log) -> None:
    assert gateway.call("GET", "/v2/images?limit=7", token=None).status == 401
    line = log.line("limit=7")
    assert fields(line, "user", "project", "image", "reason") == (
        *("-", "-", "-"),
        "unauthenticated",
    )


def test_a_job(gateway: Gateway, log: Log) -> None:
    image_id = gateway.create()
    path = f"/v2/images/{image_id}"
    octets = {"Content-Type": "application/octet-stream"}
    assert gateway.call("PUT", f"{path}/stage", b"staged data", headers=octets).status == 204
    asked = gateway.call("POST", f"{path}/import", {"method": {"name": "glance-direct"}})
    assert asked.status == 202
    line = log.line("^Job .* succeeded: ")
    assert fields(line, "image", "project", "request", "bytes") == (
        *(image_id, "demo"),
        asked.headers["X-Openstack-Request-Id"],
        0,  # the staged data is the image's from here on: nothing is copied
    )
    assert line["levelname"] == "INFO"
    assert line["context"]["request_id"] == asked.headers["X-Openstack-Request-Id"]


def test_a_volume_that_is_away_and_back(gateway: Gateway, log: Log) -> None:
    image_id = gateway.stored(b"data of an image")
    place = pathlib.Path(gateway.state, "fast")
    place.rename(f"{place}-away")
    for _ in range(3):
        assert gateway.download(image_id).reason == "store_unavailable"
    pathlib.Path(f"{place}-away").rename(place)
    assert gateway.download(image_id).status == 200
    line = log.line("^Store fast works again after ")
    assert line["levelname"] == "INFO"
    failures = [each for each in log.lines() if each["message"].startswith("Store fast fails: ")]
    assert [each["levelname"] for each in failures] == ["ERROR"]
    assert log.line(f"{image_id}/file.* status: 503")["extra"]["reason"] == "store_unavailable"


def test_nothing_secret_is_logged_and_the_stop_is(gateway: Gateway, log: Log) -> None:
    token = gateway.token()
    assert gateway.call("GET", f"/v2/images?X-Auth-Token={token}").status in (200, 400)
    log.line(r"X-Auth-Token=\*\*\*")
    secrets = [*gateway._tokens.values(), "hush"]
    gateway.stop()
    assert log.line(r"^imsgate \S+ has stopped$")["levelname"] == "INFO"
    assert not [secret for secret in secrets if secret in gateway.log_text()]
