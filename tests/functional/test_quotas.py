"""Quotas of real gateways: at the edge, after a crash, and as Keystone says."""

import pathlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from imsgate.registry.sql import schema
from tests import databases
from tests.functional.gateway import Answer, Gateway, serving

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

REFUSED = (413, "limit_exceeded")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def _limited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory, config = tmp_path_factory.mktemp(request.param), QUOTA
    if request.param != "sqlite":
        server: databases.Server = request.getfixturevalue(f"{request.param}_server")
        url = server.create()
        schema.upgrade(databases.settings(url, directory))
        config += f"[database]\nconnection = {url}\n"
    with serving(Gateway(directory, config=config)) as gateway:
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
