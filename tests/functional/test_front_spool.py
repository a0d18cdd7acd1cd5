"""Resumable uploads through a gateway in front of another one, with clients as they are."""

import hashlib
import http.client
import pathlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.functional import resuming
from tests.functional.conftest import needs, needs_program
from tests.functional.cutting import Cutter
from tests.functional.gateway import PATIENCE, Gateway, eventually, serving
from tests.functional.importing import Worker
from tests.functional.partial import append, ask, begin, is_complete
from tests.functional.test_front import Front
from tests.functional.wire import MIB

SPOOLING = """
[paste_deploy]
flavor = front

[forward]
upstream = {upstream}
spool_store = file

[jobs]
poll = 0.2
"""
DATA = random.Random(5).randbytes(16 * MIB + 3)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("upstream"), workers=1)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, upstream: Gateway) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("spooling")
    with serving(Front(directory, upstream, SPOOLING)) as gateway:
        yield gateway


def assert_forwarded(front: Front, upstream: Gateway, image_id: str) -> None:
    eventually(lambda: upstream.status(image_id) == "active", "upstream has it")
    assert upstream.show(image_id)["checksum"] == hashlib.md5(DATA).hexdigest()
    eventually(lambda: not front.residue(image_id), "nothing is left in the spool")


@pytest.mark.parametrize("name", ["curl", "tuspy"])
def test_clients_go_on_after_cuts(
    name: str, front: Front, upstream: Gateway, tmp_path: pathlib.Path
) -> None:
    if name == "curl":
        needs_program("curl")
    else:
        needs(resuming.HAS_TUSPY, "the Python package tuspy")
    client = resuming.CURL if name == "curl" else resuming.TUSPY
    disk = tmp_path / "disk"
    disk.write_bytes(DATA)
    image_id = front.create()
    cuts = sorted(random.Random(name).sample(range(8192, len(DATA)), 4))
    with Cutter(front.port, cuts) as cutter:
        client.upload(cutter.url, image_id, disk, front.token(), 12)
    assert_forwarded(front, upstream, image_id)
    assert front.call("GET", f"/v2/images/{image_id}/upload").json["state"] == "complete"


def test_a_process_that_is_killed_while_it_forwards(
    tmp_path: pathlib.Path, upstream: Gateway
) -> None:
    half = len(DATA) // 2
    with Cutter(upstream.port, hold=half) as cutter, ThreadPoolExecutor(1) as pool:
        front = Front(tmp_path, upstream, SPOOLING.replace("{upstream}", cutter.url))
        with serving(front):
            image_id = front.create()
            assert begin(front, image_id, DATA[:half]).status == 201
            last = pool.submit(append, front, image_id, half, DATA[half:], complete=True)
            assert cutter.held.wait(PATIENCE)
            front.kill()
            with pytest.raises((OSError, http.client.HTTPException)):
                last.result()
            cutter.release()
            front.start()
            front.expire_leases()
            assert_forwarded(front, upstream, image_id)
            assert is_complete(ask(front, image_id))


def test_a_worker_forwards(tmp_path: pathlib.Path, upstream: Gateway) -> None:
    """The serving processes run no jobs."""
    half = len(DATA) // 2
    config = SPOOLING.replace("[jobs]\n", "[jobs]\nthreads = 0\n")
    with serving(Front(tmp_path, upstream, config)) as front:
        worker = Worker(front, str(front.paste))
        try:
            image_id = front.create()
            assert begin(front, image_id, DATA[:half]).status == 201
            assert append(front, image_id, half, DATA[half:], complete=True).status in (202, 204)
            assert_forwarded(front, upstream, image_id)
        finally:
            assert worker.end() == 0, worker.log.read_text()
