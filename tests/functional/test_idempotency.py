"""Idempotency-Key in two processes on SQLite; test_databases has two hosts."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from tests.functional import idempotency
from tests.functional.gateway import PATIENCE, Gateway, eventually, serving

KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Two server processes with one state directory."""
    directory = tmp_path_factory.mktemp("pair")
    first, second = (Gateway(directory, workers=1) for _ in "ab")
    second.log = directory / "log of the second"
    with serving(first), serving(second):
        yield [first, second]


@pytest.mark.parametrize("check", [idempotency.check_one_image, idempotency.check_one_import])
def test_a_request_that_both_processes_get_is_done_once(
    pair: list[Gateway], check: Callable[[list[Gateway]], None]
) -> None:
    for _ in range(5):
        check(pair)
    for gateway in pair:
        gateway.check_log()


def _keys(gateway: Gateway, statement: str = "SELECT expires FROM idempotency_keys") -> list[float]:
    file = gateway.state / "imsgate.sqlite"
    with contextlib.closing(sqlite3.connect(file, timeout=PATIENCE)) as db, db:
        return [row[0] for row in db.execute(statement)]


def test_the_answer_outlives_its_process(start: Callable[..., Gateway]) -> None:
    gateway = start()
    body = {"name": "n", "tags": ["ü"]}
    first = gateway.call("POST", "/v2/images", body, headers=KEY)
    gateway.kill()
    gateway.start()
    again = gateway.call("POST", "/v2/images", body, headers=KEY)
    assert (again.status, again.body) == (201, first.body)
    for name in ("Location", "Content-Type", "OpenStack-image-store-ids"):
        assert again.headers[name] == first.headers[name]
    requests = {answer.headers["X-Openstack-Request-Id"] for answer in (first, again)}
    assert len(requests) == 2
    other = gateway.call("POST", "/v2/images", {**body, "name": "m"}, headers=KEY)
    assert other.outcome == (422, "idempotency_key_reused")


def test_the_sweep_forgets_what_is_a_day_old(start: Callable[..., Gateway]) -> None:
    gateway = start("[upload]\nlease = 1\n")
    first = gateway.call("POST", "/v2/images", {}, headers=KEY)
    assert len(_keys(gateway)) == 1
    _keys(gateway, "UPDATE idempotency_keys SET expires = 1")
    eventually(lambda: not _keys(gateway), "the sweep has removed the key")
    again = gateway.call("POST", "/v2/images", {}, headers=KEY)
    assert again.json["id"] != first.json["id"]
