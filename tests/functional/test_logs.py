"""What one run of a gateway logs: its start, who did what, refusals, jobs, outages, its stop."""

import json
import logging
import os
import pathlib
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from imsgate import errors
from imsgate.config import Config
from imsgate.filters import authtoken, faults
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.jobs.celery import CeleryEngine
from imsgate.jobs.settings import JobSettings
from imsgate.model import Location, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.testing import apps, gateways, records, servers
from imsgate.verification.checking import Verifier
from tests.functional import images
from tests.functional.conftest import mounted
from tests.functional.gateway import ROOT, Gateway, eventually
from tests.functional.test_stores import read_only

CONFIG = """
[DEFAULT]
use_json = true
enabled_backends = fast:file, full:file, frozen:file, tape:s3
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {state}/fast
[full]
filesystem_store_datadir = {root}/full
[frozen]
filesystem_store_datadir = {root}/frozen
[tape]
optional = true
s3_store_host = http://127.0.0.1:1
s3_store_access_key = key
s3_store_secret_key = hush
s3_store_bucket = images
[oslo_policy]
policy_file = {root}/policy.yaml
[snif]
accept_luks = false
"""

#: The lines in the table of doc/operators.md.
TABLE = re.findall(
    r"^\| `([^`]+)` \| (?:INFO|WARN|ERR)", (ROOT / "doc/operators.md").read_text(), re.M
)


class Log:
    """The log of a gateway, in oslo.log's JSON."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def lines(self) -> list[dict[str, Any]]:
        # The last line may still be being written.
        complete, _, _ = self._gateway.log_text().rpartition("\n")
        return [json.loads(text) for text in complete.splitlines() if text.startswith("{")]

    def line(self, pattern: str) -> dict[str, Any]:
        """The newest line whose message contains the pattern."""

        def found() -> dict[str, Any] | None:
            matching = [line for line in self.lines() if re.search(pattern, line["message"])]
            return matching[-1] if matching else None

        return eventually(found, f"a line with {pattern}") or {}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("logs")
    (root / "policy.yaml").write_text("{}")
    with mounted(root / "full", "1m"), mounted(root / "frozen", "1m"):
        config = CONFIG.replace("{root}", str(root))
        made = Gateway(root, config=config, workers=1).start()
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
        "fast (file, default) full (file) frozen (file) tape (s3)",
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
    line = log.line(f"^Job .* succeeded: image: {image_id}")
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


def _store_is_full(gateway: Gateway, log: Log) -> None:
    headers = {"X-Image-Meta-Store": "full"}
    answer = gateway.upload(gateway.create(), bytes(2 << 20), headers=headers)
    assert answer.reason == "store_full"


def _store_is_read_only(gateway: Gateway, log: Log) -> None:
    headers = {"X-Image-Meta-Store": "frozen"}
    with read_only(gateway.directory / "frozen"):
        answer = gateway.upload(gateway.create(), b"data of an image", headers=headers)
    assert answer.reason == "store_denied"


def _data_is_lost(gateway: Gateway, log: Log) -> None:
    image_id = gateway.stored(b"data of an image")
    for path in gateway.residue(image_id):
        pathlib.Path(path).unlink()
    assert gateway.download(image_id).status == 404


def _job_fails(gateway: Gateway, log: Log) -> None:
    image_id = gateway.create()
    path, octets = f"/v2/images/{image_id}", {"Content-Type": "application/octet-stream"}
    assert gateway.call("PUT", f"{path}/stage", b"staged data", headers=octets).status == 204
    method = {"method": {"name": "glance-direct"}, "stores": ["tape"]}
    assert gateway.call("POST", f"{path}/import", method).status == 202
    log.line(f"^Job .* failed: .*{image_id}")


def _policy_is_invalid(gateway: Gateway, log: Log) -> None:
    policy = gateway.directory / "policy.yaml"
    policy.write_text("- a list")
    os.utime(policy, (2**31, 2**31))  # newer, however coarse the times of this file system are

    def noticed() -> bool:
        assert gateway.call("GET", "/v2/images?limit=1").status == 200
        return any("policy file is invalid" in line["message"] for line in log.lines())

    eventually(noticed, "the policy is read again")
    policy.write_text("{}")


def _token_files_are_invalid(gateway: Gateway, log: Log) -> None:
    tokens = gateway.state / "tokens"
    text = tokens.read_text()
    for content in (f"{text}no JSON\n", "no JSON\n"):
        tokens.write_text(content)
        gateway.call("GET", "/v2/images?limit=1")
    tokens.write_text(text)
    log.line("^No token is accepted")


def _configuration_is_changed(gateway: Gateway, log: Log) -> None:
    text = gateway.config.read_text()
    lines = {
        "[database]\nmax_pool_size = 7": "^Ignoring change to immutable option ",
        "[pace]\nidle_timeout = none": "^The configuration is invalid; ",
    }
    assert gateway.process
    for more, line in lines.items():
        gateway.config.write_text(f"{text}\n{more}\n")
        gateway.process.send_signal(signal.SIGHUP)
        log.line(line)
    gateway.config.write_text(text)


FAULTS = (
    test_a_refused_image,
    test_a_job,
    test_a_volume_that_is_away_and_back,
    _store_is_full,
    _store_is_read_only,
    _data_is_lost,
    _job_fails,
    _policy_is_invalid,
    _token_files_are_invalid,
    _configuration_is_changed,
)


class Collected(logging.Handler):
    """What this process logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()}{': …' if record.exc_info else ''}")


def _database(directory: pathlib.Path) -> None:
    conf = Config([], state_path=str(directory / "nowhere"))
    opened = Database(conf.read(DatabaseSettings))
    with pytest.raises(errors.Unavailable), opened.reading():
        pass
    opened.close()


def _keystone(directory: pathlib.Path) -> None:
    account = {"auth_type": "password", "auth_url": "http://127.0.0.1:1/v3", "username": "imsgate"}
    account |= {"password": "hush", "user_domain_id": "default"}
    conf = {"state_path": str(directory)}
    app = authtoken.filter_factory(conf, **account)(apps.App())
    assert servers.serve(app, servers.environ(HTTP_X_AUTH_TOKEN="token")).code == 503


def _broker(directory: pathlib.Path) -> None:
    settings = JobSettings(engine="celery", broker_url="redis://127.0.0.1:1/0")
    CeleryEngine(MemoryRegistry(), {}, settings).tell("job")


def _bug(directory: pathlib.Path) -> None:
    app = faults.filter_factory({"state_path": str(directory)})(apps.Fails(apps.Oops("bug")))
    assert servers.serve(app, servers.environ()).code == 500


def _image_service(directory: pathlib.Path) -> None:
    app = Forward(ForwardSettings(upstream="http://127.0.0.1:1"))
    assert servers.serve(app, servers.environ()).code == 502
    app.pool.close()


def _verification(directory: pathlib.Path) -> None:
    made = gateways.gateway()
    places = (Location("fast", "lost"), Location("disabled", "x"))
    record = records.image(status=Status.ACTIVE, locations=places)
    made.registry.add(record)
    found = Verifier(made.registry, made.stores).verify((record.id, place) for place in places)
    assert len(list(found)) == 2


@pytest.fixture(scope="module")
def logged(gateway: Gateway, log: Log, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All lines, after each fault."""
    for fault in FAULTS:
        fault(gateway, log)
    collected = Collected()
    root = logging.getLogger("imsgate")
    root.addHandler(collected)
    for here in (_database, _keystone, _broker, _image_service, _bug, _verification):
        here(tmp_path_factory.mktemp("here"))
    root.removeHandler(collected)
    return [*collected.lines, *(line["message"] for line in log.lines())]


@pytest.mark.parametrize("line", [line for line in TABLE if "has stopped" not in line])
def test_each_line_of_the_table_is_logged(logged: list[str], line: str) -> None:
    pattern = ".*".join(re.escape(part) for part in line.split("…"))
    assert [text for text in logged if re.match(pattern, text)]


def test_the_table_names_every_error(logged: list[str], log: Log) -> None:
    patterns = [".*".join(re.escape(part) for part in line.split("…")) for line in TABLE]
    found = [line["message"] for line in log.lines() if line["levelname"] in ("ERROR", "WARNING")]
    unknown = [text for text in found if not any(re.match(each, text) for each in patterns)]
    assert unknown == []


def test_nothing_secret_is_logged_and_the_stop_is(gateway: Gateway, log: Log) -> None:
    token = gateway.token()
    assert gateway.call("GET", f"/v2/images?X-Auth-Token={token}").status in (200, 400)
    log.line(r"X-Auth-Token=\*\*\*")
    secrets = [*gateway._tokens.values(), "hush"]
    gateway.stop()
    assert [line for line in TABLE if "has stopped" in line]
    assert log.line(r"^imsgate \S+ has stopped$")["levelname"] == "INFO"
    assert not [secret for secret in secrets if secret in gateway.log_text()]
