"""Slow clients: the others do not notice them, and they are not waited for for ever."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.functional.gateway import Gateway, eventually
from tests.functional.wire import CHUNKED, MIB, Wire, length

SLOW = 4
CONFIG = f"[pace]\nidle_timeout = 2\nuploads_at_once = {SLOW + 1}\n"
TWO_STORES = """
[DEFAULT]
enabled_backends = fast:file, archive:memory
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {state}/fast
"""
DATA = b"data of another client"


@pytest.fixture
def gateway(start: Callable[..., Gateway]) -> Gateway:
    return start(CONFIG, workers=1)


@contextlib.contextmanager
def hanging(gateway: Gateway, count: int) -> Iterator[dict[str, Wire]]:
    """Uploads that have begun and go on byte by byte, by their images."""
    with contextlib.ExitStack() as stack:
        wires = {gateway.create(): stack.enter_context(Wire(gateway)) for _ in range(count)}
        for number, (image_id, wire) in enumerate(wires.items()):
            wire.put(image_id, CHUNKED if number % 2 else length(MIB))
            trickle(wire, number)
            wire.saving(image_id)
        yield wires


@pytest.mark.parametrize("store", ["fast", "archive"], ids=["sendfile", "streamed"])
def test_a_client_that_reads_no_response_is_disconnected(
    start: Callable[..., Gateway], store: str
) -> None:
    gateway = start(TWO_STORES + CONFIG, workers=1)
    data = bytes(64 * MIB)
    image_id = gateway.create()
    assert gateway.upload(image_id, data, headers={"X-Image-Meta-Store": store}).status == 204
    fields = [("X-Auth-Token", gateway.token())]
    with Wire(gateway) as wire:
        wire.head("GET", f"/v2/images/{image_id}/file", fields)
        assert wire.read(12) == b"HTTP/1.1 200"
        eventually(lambda: "does not read the response" in gateway.log_text(), "it is given up")
        count = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := wire.read(MIB):
                count += len(chunk)
        assert count < len(data)
    assert gateway.download(image_id).body == data


def trickle(wire: Wire, number: int) -> None:
    (wire.chunk if number % 2 else wire.send)(b"x")


def test_slow_clients_are_neither_noticed_nor_waited_for(gateway: Gateway) -> None:
    with hanging(gateway, SLOW) as slow:
        for _ in range(2):
            for number, wire in enumerate(slow.values()):
                trickle(wire, number)
            assert gateway.download(gateway.stored(DATA)).body == DATA
            assert {gateway.status(image_id) for image_id in slow} == {"saving"}
        for image_id, wire in slow.items():  # silent now
            answer = wire.answer()
            assert answer.outcome == (408, "too_slow")
            assert wire.read(1) == b""  # and the connection is closed
            gateway.assert_untouched(image_id)
    with hanging(gateway, SLOW + 1):
        refused = gateway.upload(image_id, DATA)
        assert refused.outcome == (503, "busy")
        assert refused.headers["Retry-After"]
        assert gateway.show(image_id)["status"] == "queued"


def test_small_bodies_that_do_not_come_hold_few_threads(start: Callable[..., Gateway]) -> None:
    """Many more clients than threads begin to create an image. One that sends all is served."""
    gateway = start("[pace]\nuploads_at_once = 1\n", workers=1, threads=8)
    fields = [("X-Auth-Token", gateway.token()), ("Content-Type", "application/json")]
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            wire = stack.enter_context(Wire(gateway))
            wire.head("POST", "/v2/images", [*fields, *length(400)], b"{")
        assert gateway.call("GET", "/v2/images").status == 200
        with Wire(gateway) as whole:
            whole.head("POST", "/v2/images", [*fields, *length(2)], b"{}")
            assert whole.answer("POST").status == 201
        assert wire.answer("POST").outcome == (503, "busy")


def test_lists_that_are_not_read_hold_few_threads(start: Callable[..., Gateway]) -> None:
    config = "[pace]\ndownloads_at_once = 1\nminimum_rate = 1024\nidle_timeout = 0\n"
    gateway = start(config, workers=1, threads=8)
    image_id = gateway.create()
    for _ in range(60):
        gateway.create(one="x" * 60_000, two="x" * 60_000)
    fields = [("X-Auth-Token", gateway.token())]
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            wire = stack.enter_context(Wire(gateway))
            wire.head("GET", "/v2/images?limit=60", fields)
        for _ in range(16):
            assert gateway.call("GET", f"/v2/images/{image_id}/members").status == 200
