"""The same request with the same Idempotency-Key, sent to several processes at once."""

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.functional.gateway import Answer, Gateway, eventually


def all_at_once(
    gateways: Sequence[Gateway], method: str, path: str, body: dict[str, Any], requests: int = 8
) -> list[Answer]:
    """The answers to requests with one key, begun together and repeated while it is in use."""
    gate = threading.Barrier(requests)
    headers = {"Idempotency-Key": f'"{uuid.uuid4()}"'}

    def repeat(gateway: Gateway) -> Answer | None:
        answer = gateway.call(method, path, body, headers=headers)
        if answer.outcome == (409, "idempotency_key_in_use"):
            assert answer.headers["Retry-After"] == "1"
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            return None
        return answer

    def ask(number: int) -> Answer:
        gateway = gateways[number % len(gateways)]
        gate.wait()
        answer: Answer = eventually(lambda: repeat(gateway), "the first request is answered")
        return answer

    with ThreadPoolExecutor(requests) as pool:
        return list(pool.map(ask, range(requests)))


def check_one_image(gateways: Sequence[Gateway]) -> None:
    """Of requests to create an image that are sent to these gateways at once, one does it."""
    record = {"name": f"only-{uuid.uuid4()}"}
    answers = all_at_once(gateways, "POST", "/v2/images", record)
    assert {answer.status for answer in answers} == {201}, answers
    assert len({answer.body for answer in answers}) == 1
    for gateway in gateways:
        listed = gateway.call("GET", f"/v2/images?name={record['name']}").json
        assert listed["images"] == [answers[0].json]


def check_one_import(gateways: Sequence[Gateway]) -> None:
    """Of requests to import an image that are sent to these gateways at once, one does it."""
    path = f"/v2/images/{gateways[0].create()}"
    staged = {"Content-Type": "application/octet-stream"}
    assert gateways[0].call("PUT", f"{path}/stage", b"data", headers=staged).status == 204
    body = {"method": {"name": "glance-direct"}}
    answers = all_at_once(gateways, "POST", f"{path}/import", body)
    assert {answer.status for answer in answers} == {202}, answers
    for gateway in gateways:
        assert len(gateway.call("GET", f"{path}/tasks").json["tasks"]) == 1
