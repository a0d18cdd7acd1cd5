"""Uploads whose client or server dies, or that somebody else gets in the way of.

Never ``active`` with less than everything, and nothing left behind.
"""

import os
import pathlib
import random
import signal
import subprocess
import threading
from collections.abc import Callable

import pytest

from tests.functional.conftest import SERVERS, framing, needs_program
from tests.functional.gateway import Gateway, clean_env, eventually
from tests.functional.wire import CHUNKED, MIB, Wire, length

DATA = random.Random(20).randbytes(3 * MIB + 5)
LARGE = 64 * MIB


def begin(gateway: Gateway, wire: Wire, image_id: str, *, chunked: bool, sent: int = MIB) -> None:
    """An upload of LARGE bytes, of which some are on their way."""
    wire.put(image_id, CHUNKED if chunked else length(LARGE))
    if sent:  # an empty chunk would be the last one
        (wire.chunk if chunked else wire.send)(DATA[:sent])
    wire.saving(image_id)


def assert_takes_an_upload(gateway: Gateway, image_id: str) -> None:
    assert gateway.upload(image_id, DATA).status == 204
    assert gateway.status(image_id) == "active"
    assert gateway.download(image_id).body == DATA
    assert len(gateway.residue(image_id)) == 1


# The client dies


@framing
@pytest.mark.parametrize("sent", [0, 1, MIB], ids=["nothing", "a byte", "a part"])
def test_client_hangs_up(any_server: Gateway, chunked: bool, sent: int) -> None:
    image_id = any_server.create()
    with Wire(any_server) as wire:
        begin(any_server, wire, image_id, chunked=chunked, sent=sent)
    any_server.assert_untouched(image_id)
    assert_takes_an_upload(any_server, image_id)


@framing
def test_connection_is_reset(any_server: Gateway, chunked: bool) -> None:
    image_id = any_server.create()
    with Wire(any_server) as wire:
        begin(any_server, wire, image_id, chunked=chunked)
        wire.reset()
    any_server.assert_untouched(image_id)
    assert_takes_an_upload(any_server, image_id)


def test_client_leaves_inside_a_chunk(any_server: Gateway) -> None:
    image_id = any_server.create()
    with Wire(any_server) as wire:
        wire.put(image_id, CHUNKED).chunk(DATA[:MIB]).saving(image_id)
        wire.send(b"100000\r\n" + DATA[:1000])
    any_server.assert_untouched(image_id)


def test_client_leaves_before_the_last_chunk(any_server: Gateway) -> None:
    """Everything has arrived but the word that it was everything."""
    image_id = any_server.create()
    with Wire(any_server) as wire:
        wire.put(image_id, CHUNKED).chunk(DATA).saving(image_id)
    any_server.assert_untouched(image_id)


def test_client_leaves_one_byte_early(any_server: Gateway) -> None:
    image_id = any_server.create()
    with Wire(any_server) as wire:
        wire.put(image_id, length(len(DATA))).send(DATA[:-1]).saving(image_id)
    any_server.assert_untouched(image_id)


@framing
def test_curl_is_killed(any_server: Gateway, tmp_path: pathlib.Path, chunked: bool) -> None:
    needs_program("curl")
    image_id = any_server.create()
    disk = tmp_path / "disk.raw"
    with open(disk, "wb") as file:
        file.truncate(LARGE)
    fields = {"X-Auth-Token": any_server.token(), "Content-Type": "application/octet-stream"}
    if chunked:
        fields["Transfer-Encoding"] = "chunked"
    headers = [word for name in fields for word in ("-H", f"{name}: {fields[name]}")]
    url = f"{any_server.url}/v2/images/{image_id}/file"
    curl = subprocess.Popen(
        ["curl", "-s", "--limit-rate", "1M", "-T", str(disk), *headers, url],
        env=clean_env(tmp_path),
    )
    try:
        eventually(lambda: any_server.status(image_id) == "saving", "the upload has begun")
        eventually(lambda: any_server.residue(image_id), "the store has begun")
    finally:
        curl.kill()
        curl.wait()
    any_server.assert_untouched(image_id)


# Others get in the way


def test_two_writers(strict: Gateway) -> None:
    """A hundred races: one wins, the other is told, and no byte is the loser's."""
    bodies = [bytes([number]) * (100_000 + number) for number in (1, 2)]
    for _ in range(100):
        image_id = strict.create()
        gate = threading.Barrier(2)
        outcomes: dict[int, tuple[int, str | None]] = {}
        threads = [
            threading.Thread(target=_race, args=(strict, image_id, body, gate, outcomes, number))
            for number, body in enumerate(bodies)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won, lost = sorted(outcomes.values(), key=str)
        # The loser comes while the winner is sending, or after that.
        assert won == (204, None)
        assert lost in {(409, "wrong_status"), (409, "data_differs")}
        (winner,) = [number for number, (status, _) in outcomes.items() if status == 204]
        assert strict.status(image_id) == "active"
        (path,) = strict.residue(image_id)
        assert pathlib.Path(path).read_bytes() == bodies[winner]
        assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204


def _race(
    gateway: Gateway,
    image_id: str,
    body: bytes,
    gate: threading.Barrier,
    outcomes: dict[int, tuple[int, str | None]],
    number: int,
) -> None:
    with Wire(gateway) as wire:
        gate.wait()
        wire.put(image_id, length(len(body))).send(body)
        outcomes[number] = wire.answer().outcome


def test_uploads_and_deletion_race(strict: Gateway) -> None:
    """Whenever the deletion comes, nothing of the image is left."""
    for _ in range(30):
        image_id = strict.create()
        gate = threading.Barrier(2)
        outcomes: dict[int, tuple[int, str | None]] = {}
        thread = threading.Thread(
            target=_race, args=(strict, image_id, DATA[:300_000], gate, outcomes, 0)
        )
        thread.start()
        gate.wait()
        deleted = strict.call("DELETE", f"/v2/images/{image_id}")
        thread.join()
        assert deleted.status == 204
        assert outcomes[0] in {(204, None), (404, "not_found"), (410, "image_gone")}
        eventually(lambda image_id=image_id: not strict.residue(image_id), "nothing is left")
        assert strict.call("GET", f"/v2/images/{image_id}").status == 404


def test_many_uploads_at_once(strict: Gateway) -> None:
    images = [strict.create() for _ in range(24)]
    gate = threading.Barrier(len(images))
    outcomes: dict[int, tuple[int, str | None]] = {}
    bodies = [bytes([number]) * (MIB + number) for number in range(len(images))]
    threads = [
        threading.Thread(
            target=_race, args=(strict, images[number], bodies[number], gate, outcomes, number)
        )
        for number in range(len(images))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes.values()) == {(204, None)}
    for image_id, body in zip(images, bodies, strict=True):
        assert strict.download(image_id).body == body


# The server dies


@framing
@pytest.mark.parametrize("server", SERVERS)
def test_server_is_killed(start: Callable[..., Gateway], server: str, chunked: bool) -> None:
    if server == "uwsgi":
        needs_program("uwsgi")
    gateway = start("[quota]\nimage_size_total = 64\n", server=server)
    image_id = gateway.create()
    with Wire(gateway) as wire:
        begin(gateway, wire, image_id, chunked=chunked)
        eventually(lambda: gateway.residue(image_id), "the store has begun")
        eventually(lambda: _reserved(gateway), "the quota has its bytes")
        gateway.kill()
    assert gateway.residue(image_id)
    gateway.expire_leases()
    gateway.start()
    gateway.assert_untouched(image_id)
    assert _reserved(gateway) == 0
    assert_takes_an_upload(gateway, image_id)


def _reserved(gateway: Gateway) -> int:
    """MiB of the project's quota, all of its images being without data."""
    told = gateway.call("GET", "/v2/info/usage").json["usage"]
    return int(told["image_size_total"]["usage"])


def test_one_worker_is_killed(start: Callable[..., Gateway]) -> None:
    """The others clear up and go on, and the server replaces it."""
    gateway = start(workers=2)
    image_id = gateway.create()
    with Wire(gateway) as wire:
        begin(gateway, wire, image_id, chunked=False)
        (path,) = eventually(lambda: gateway.residue(image_id), "the store has begun")
        (worker,) = [pid for pid in gateway.pids() if _has_open(pid, path)]
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: worker not in gateway.pids(), "it has ended")
    gateway.expire_leases()
    gateway.assert_untouched(image_id)
    assert_takes_an_upload(gateway, image_id)
    eventually(lambda: len(gateway.pids()) == 3, "the worker has been replaced")


def _has_open(pid: int, path: str) -> bool:
    links = pathlib.Path(f"/proc/{pid}/fd").iterdir()
    return any(os.path.exists(link) and os.readlink(link) == path for link in links)


@framing
def test_terminated_server_finishes_uploads(start: Callable[..., Gateway], chunked: bool) -> None:
    gateway = start(grace=60)
    image_id = gateway.create()
    with Wire(gateway) as wire:
        body = DATA[:-MIB] if chunked else DATA[:MIB]
        wire.put(image_id, CHUNKED if chunked else length(len(DATA)))
        (wire.chunk if chunked else wire.send)(body)
        wire.saving(image_id)
        gateway.terminate()
        eventually(lambda: len(gateway.pids()) == 2, "the idle worker has ended")
        rest = DATA[len(body) :]
        if chunked:
            wire.chunk(rest).last_chunk()
        else:
            wire.send(rest)
        assert wire.answer().status == 204
    assert gateway.wait() == 0
    gateway.start()
    assert gateway.status(image_id) == "active"
    assert gateway.download(image_id).body == DATA


def test_terminated_server_accepts_no_more(start: Callable[..., Gateway]) -> None:
    """A new client is refused at once instead of waiting for the uploads that still run."""
    gateway = start(workers=1, grace=60)
    image_id = gateway.create()
    with Wire(gateway) as wire:
        wire.put(image_id, length(len(DATA))).send(DATA[:MIB]).saving(image_id)
        gateway.terminate()
        eventually(lambda: not _connects(gateway), "connections are refused", seconds=20)
        assert gateway.running
        assert wire.send(DATA[MIB:]).answer().status == 204
    assert gateway.wait() == 0


def _connects(gateway: Gateway) -> bool:
    try:
        gateway.connect().close()
    except ConnectionError:
        return False
    return True


def test_grace_has_an_end(start: Callable[..., Gateway]) -> None:
    gateway = start(grace=1)
    image_id = gateway.create()
    with Wire(gateway) as wire:
        begin(gateway, wire, image_id, chunked=False)
        gateway.terminate()
        gateway.wait()
    gateway.expire_leases()
    gateway.start()
    gateway.assert_untouched(image_id)


def test_second_start_reuses_everything(start: Callable[..., Gateway]) -> None:
    gateway = start()
    admin = (gateway.state / "admin-token").read_text()
    image_id = gateway.stored(DATA)
    gateway.terminate()
    assert gateway.wait() == 0
    gateway.start()
    assert (gateway.state / "admin-token").read_text() == admin
    answer = gateway.call("GET", f"/v2/images/{image_id}/file", token=admin.strip())
    assert answer.body == DATA
