"""Quotas of real gateways: at the edge, after a crash, and as Keystone says."""

import pathlib
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.functional import keystone as ks
from tests.functional.conftest import needs_program
from tests.functional.gateway import Answer, Gateway, clean_env, eventually, serving
from tests.functional.wire import Wire

MIB = 1 << 20
UPLOADS = 64
#: Neither it nor twice it divides the limit.
SIZE = 70_001
LIMIT = 2 * MIB

QUOTA = """
[quota]
image_size_total = 2
image_count_total = 70
image_count_uploading = 64
"""

SHORT = """
[upload]
lease = 1
"""

REFUSED = (413, "limit_exceeded")


@pytest.fixture(scope="module", params=["sqlite"])
def _limited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("limited"), config=QUOTA)) as gateway:
        yield gateway


@pytest.fixture
def limited(_limited: Gateway) -> Iterator[Gateway]:
    """A gateway whose projects may have 2 MiB."""
    yield _limited
    _limited.check_log()


def usage(gateway: Gateway, token: str = "") -> dict[str, int]:
    answer = gateway.call("GET", "/v2/info/usage", token=token)
    assert answer.status == 200, answer.body
    return {name: one["usage"] for name, one in answer.json["usage"].items()}


class Watch:
    """The most bytes that were ever in the stores, and the last."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.most = 0
        self._directory = directory
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def now(self) -> int:
        total = 0
        for path in self._directory.iterdir():
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue  # it was published or removed meanwhile
        return total

    def _look(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, self.now())

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@pytest.mark.parametrize("known", [True, False], ids=["announced", "chunked"])
def test_many_uploads_at_the_edge(limited: Gateway, known: bool) -> None:
    token, body = limited.token(f"edge {known}"), bytes(SIZE)

    def upload(image_id: str) -> Answer:
        data = body if known else iter([body[:40_000], body[40_000:]])
        return limited.upload(image_id, data, token=token)

    with ThreadPoolExecutor(UPLOADS) as pool, Watch(limited.state / "images") as watch:
        before = watch.now()
        images = list(pool.map(lambda _: limited.create(token=token), range(UPLOADS)))
        done = dict(zip(images, pool.map(upload, images), strict=True))
    assert {answer.outcome for answer in done.values()} <= {(204, None), REFUSED}
    kept = {image_id for image_id, answer in done.items() if answer.status == 204}
    # What chunked uploads reserve ahead may keep others out, but never lets one in.
    assert len(kept) == LIMIT // SIZE if known else 0 < len(kept) <= LIMIT // SIZE
    assert watch.most - before <= LIMIT
    assert watch.now() - before == len(kept) * SIZE
    assert usage(limited, token) == {
        "image_size_total": len(kept) * SIZE // MIB,
        "image_stage_total": 0,
        "image_count_total": UPLOADS,
        "image_count_uploading": 0,
    }
    listed = limited.call("GET", "/v2/images?limit=100", token=token).json["images"]
    assert {one["id"]: one["status"] for one in listed} == {
        image_id: "active" if image_id in kept else "queued" for image_id in images
    }


def test_images_created_at_once(limited: Gateway) -> None:
    token = limited.token("many")
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda _: limited.call("POST", "/v2/images", {}, token=token), range(80))
        outcomes = [answer.outcome for answer in answers]
    assert sorted(set(outcomes), key=str) == [(201, None), REFUSED]
    assert outcomes.count((201, None)) == usage(limited, token)["image_count_total"] == 70


def test_a_killed_server_keeps_nothing_reserved(tmp_path: pathlib.Path) -> None:
    with serving(Gateway(tmp_path, config=QUOTA + SHORT, workers=1)) as gateway:
        image_id, other = gateway.create(), gateway.create()
        with Wire(gateway) as wire:
            wire.put(image_id, [("Content-Length", str(LIMIT))]).send(bytes(1000))
            eventually(lambda: usage(gateway)["image_size_total"] == 2, "it is reserved")
            assert gateway.upload(other, b"x").outcome == REFUSED
            gateway.kill()
        gateway.start()
        gateway.assert_untouched(image_id)
        assert usage(gateway)["image_count_uploading"] == 0
        assert gateway.upload(other, bytes(LIMIT)).status == 204


# Keystone

UNIFIED = """
[DEFAULT]
use_keystone_limits = true
[oslo_limit]
auth_url = {url}
auth_type = password
username = svc
password = svc
user_domain_name = Default
system_scope = all
endpoint_service_type = image
endpoint_region_name = RegionOne
"""


def limit(keystone: ks.Keystone, resource: str, amount: int, project: str = "") -> None:
    """Register a limit for every project, or set that of one."""
    kind, amount_of = ("limits", "resource_limit") if project else (
        "registered_limits", "default_limit"
    )  # fmt: skip
    body: dict[str, Any] = {
        "service_id": keystone.id("service", "imsgate"),
        "region_id": ks.REGION,
        "resource_name": resource,
        amount_of: amount,
    }
    if project:
        body["project_id"] = keystone.id("project", project)
    keystone.call("POST", f"/{kind}", {kind: [body]})


@pytest.fixture(scope="module")
def unified(
    keystone: ks.Keystone, _stack: ks.StackGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ks.StackGateway]:
    """A second gateway of the stack, with Keystone's limits."""
    user, role = keystone.id("user", "svc"), keystone.id("role", "reader")
    keystone.call("PUT", f"/system/users/{user}/roles/{role}")
    limit(keystone, "image_size_total", 1)
    limit(keystone, "image_stage_total", 0)
    limit(keystone, "image_count_total", 5)
    limit(keystone, "image_count_uploading", -1)
    limit(keystone, "image_size_total", 3, "demo")
    conf = ks.config(keystone) + UNIFIED.format(url=keystone.url)
    directory = tmp_path_factory.mktemp("unified")
    with serving(ks.StackGateway(directory, keystone, config=conf, workers=1)) as gateway:
        yield gateway


def test_limits_of_keystone(
    unified: ks.StackGateway, keystone: ks.Keystone, tmp_path: pathlib.Path
) -> None:
    alt = unified.token("alt")
    sizes = [(3, ""), (1, alt)]
    for mib, token in sizes:
        first, second = (unified.create(token=token) for _ in range(2))
        assert unified.upload(first, bytes(mib * MIB), token=token).status == 204
        assert unified.upload(second, b"x", token=token).outcome == REFUSED
        stage = f"/v2/images/{second}/stage"
        kind = {"Content-Type": "application/octet-stream"}
        assert unified.call("PUT", stage, b"x", token=token, headers=kind).outcome == REFUSED

    told = subprocess.run(
        [
            *(needs_program("glance"), "--os-image-url", unified.url),
            *("--os-auth-token", alt, "--os-auth-url", keystone.url, "usage"),
        ],
        env=clean_env(tmp_path, PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.replace("|", " ").split() for line in told.stdout.splitlines()]
    assert ["image_size_total", "1", "1"] in rows, told
    assert ["image_count_total", "5", "2"] in rows, told
    assert ["image_count_uploading", "-1", "0"] in rows, told


def test_without_keystone_nothing_is_let_in(
    unified: ks.StackGateway, keystone: ks.Keystone
) -> None:
    token = unified.token("admin")
    with keystone.away():
        assert unified.call("GET", "/v2/info/usage", token=token).status == 503
    assert eventually(
        lambda: unified.call("GET", "/v2/info/usage", token=token).status == 200, "it is back"
    )
