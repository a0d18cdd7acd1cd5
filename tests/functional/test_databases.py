"""Two hosts, one database and one store: PostgreSQL and MariaDB, at work and restarted."""

import contextlib
import dataclasses
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from imsgate.registry.sql import schema
from tests.databases import Server, settings
from tests.functional import idempotency
from tests.functional.gateway import Gateway, eventually, serving
from tests.functional.wire import CHUNKED, MIB, Wire, length

DATA = random.Random(5).randbytes(2 * MIB + 3)

CONFIG = """
[DEFAULT]
enabled_backends = shared:file

[glance_store]
default_backend = shared

[shared]
filesystem_store_datadir = {shared}

[database]
connection = {url}

[jobs]
poll = 0.2
"""


@dataclasses.dataclass(frozen=True)
class Site:
    """Two gateways that share nothing but the database and a directory of images."""

    server: Server
    a: Gateway
    b: Gateway


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def _site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    server: Server = request.getfixturevalue(f"{request.param}_server")
    directory = tmp_path_factory.mktemp("hosts")
    url = server.create()
    config = CONFIG.format(url=url, shared=directory / "shared")
    (directory / "shared").mkdir()
    schema.upgrade(settings(url, directory))
    gateways = []
    for name in "ab":
        (directory / name).mkdir()
        gateways.append(Gateway(directory / name, config=config, workers=1))
    with contextlib.ExitStack() as started, ThreadPoolExecutor() as both:
        a, b = both.map(lambda one: started.enter_context(serving(one)), gateways)
        yield Site(server, a, b)


@pytest.fixture
def site(_site: Site) -> Iterator[Site]:
    yield _site
    for gateway in (_site.a, _site.b):
        gateway.check_log()


def test_any_request_may_go_to_either_host(site: Site) -> None:
    a, b = site.a, site.b
    image_id = a.create(name="one", tags=["x"], colour="red")
    assert b.upload(image_id, DATA).status == 204
    assert a.show(image_id) == b.show(image_id)
    assert a.download(image_id, Range=f"bytes={MIB}-").body == DATA[MIB:]
    assert b.call("GET", "/v2/images?tag=x&colour=red").json["images"] == [a.show(image_id)]
    assert b.call("DELETE", f"/v2/images/{image_id}").status == 204
    assert a.call("GET", f"/v2/images/{image_id}").status == 404
    assert a.upload(image_id, DATA).status == 404


def test_staged_on_one_host_and_imported_by_the_other(site: Site) -> None:
    a, b = site.a, site.b
    image_id = a.create()
    headers = {"Content-Type": "application/octet-stream"}
    assert a.call("PUT", f"/v2/images/{image_id}/stage", DATA, headers=headers).status == 204
    body = {"method": {"name": "glance-direct"}}
    assert b.call("POST", f"/v2/images/{image_id}/import", body).status == 202
    eventually(lambda: a.status(image_id) == "active", "the import is through")
    assert a.download(image_id).body == b.download(image_id).body == DATA


@pytest.mark.parametrize("check", [idempotency.check_one_image, idempotency.check_one_import])
def test_a_request_that_both_hosts_get_is_done_once(
    site: Site, check: Callable[[list[Gateway]], None]
) -> None:
    for _ in range(5):
        check([site.a, site.b])


def test_one_of_two_uploads_wins(site: Site) -> None:
    bodies = {site.a: b"a" * 100_000, site.b: b"b" * 100_001}
    for _ in range(10):
        image_id = site.a.create()
        gate = threading.Barrier(2)
        outcomes: dict[Gateway, tuple[int, str | None]] = {}

        def upload(
            gateway: Gateway,
            image_id: str = image_id,
            gate: threading.Barrier = gate,
            outcomes: dict[Gateway, tuple[int, str | None]] = outcomes,
        ) -> None:
            with Wire(gateway) as wire:
                gate.wait()
                body = bodies[gateway]
                outcomes[gateway] = (
                    wire.put(image_id, length(len(body))).send(body).answer().outcome
                )

        threads = [threading.Thread(target=upload, args=(gateway,)) for gateway in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won, lost = sorted(outcomes.values(), key=str)
        # The loser comes while the winner is sending, or after that.
        assert won == (204, None)
        assert lost in {(409, "wrong_status"), (409, "data_differs")}
        (winner,) = [gateway for gateway, (status, _) in outcomes.items() if status == 204]
        assert site.b.download(image_id).body == bodies[winner]


@contextlib.contextmanager
def _away(site: Site, said: str) -> Iterator[None]:
    """The database is stopped meanwhile, and until host A has said so."""
    seen = len(site.a.log_text())
    site.server.stop()
    try:
        yield
        eventually(lambda: said in site.a.log_text()[seen:], f"the gateway says: {said}")
    finally:
        site.server.start()


def test_an_upload_survives_restarts_of_the_database(site: Site) -> None:
    """Amid the bytes, where a renewal of the lease fails, and again at the commit."""
    image_id = site.a.create()
    half = len(DATA) // 2
    with Wire(site.a) as wire:
        wire.put(image_id, CHUNKED).saving(image_id).chunk(DATA[:half])
        with _away(site, f"The lease of image {image_id} could not be renewed"):
            assert site.b.call("GET", f"/v2/images/{image_id}").outcome == (503, "unavailable")
        assert site.b.status(image_id) == "saving"
        with _away(site, f"The upload of image {image_id} waits"):
            wire.chunk(DATA[half:]).last_chunk()
        assert wire.answer().status == 204
    assert site.b.status(image_id) == "active"
    assert site.b.download(image_id).body == DATA
