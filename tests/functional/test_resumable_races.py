"""Two clients on one resumable upload, and uploads that meet a limit while they wait."""

import base64
import os
import pathlib
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from imsgate.stores.mark import MARK
from tests.functional.conftest import mounted
from tests.functional.gateway import Answer, Gateway, eventually, serving
from tests.functional.partial import append, ask, begin, is_complete, offset_of
from tests.functional.wire import MIB

RACES = int(os.environ.get("IMSGATE_TEST_RACES", "6"))
DATA = random.Random(30).randbytes(3 * MIB + 7)
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
def _verifying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its two processes look for jobs all the time."""
    directory = tmp_path_factory.mktemp("verifying")
    with serving(Gateway(directory, config="[jobs]\npoll = 0.2\n")) as gateway:
        yield gateway


@pytest.fixture
def server(_verifying: Gateway) -> Iterator[Gateway]:
    yield _verifying
    _verifying.check_log()


def race(*works: Callable[[], None]) -> None:
    """Begin all of them at the same time."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        gate.wait()
        work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def assert_active(gateway: Gateway, image_id: str, data: bytes) -> None:
    eventually(lambda: gateway.status(image_id) == "active", "it is verified")
    eventually(lambda: len(gateway.residue(image_id)) == 1, "nothing is left of the other one")
    (path,) = gateway.residue(image_id)
    assert pathlib.Path(path).read_bytes() == data


# Two clients


def test_two_clients_continue_one_upload(server: Gateway) -> None:
    """Each takes it from the other, and goes on where it can; one of them completes it."""
    for _ in range(RACES):
        image_id = server.create()
        assert begin(server, image_id, DATA[:MIB]).status == 201
        completed: list[Answer] = []

        def go_on(image_id: str = image_id, completed: list[Answer] = completed) -> None:
            while not is_complete(told := ask(server, image_id)):
                if told.status in (409, 503):  # taken over while it was asked
                    continue
                offset = offset_of(told)
                answer = append(server, image_id, offset, DATA[offset:], complete=True)
                if answer.status in (202, 204):
                    completed.append(answer)
                else:
                    assert answer.status in (400, 409, 503), answer.body

        race(go_on, go_on)
        assert len(completed) == 1
        assert_active(server, image_id, DATA)


def test_two_appends_at_one_offset(server: Gateway) -> None:
    """At most one is accepted, and no byte of the other is in what follows it."""
    bodies = [bytes([number]) * MIB for number in (1, 2)]
    for _ in range(RACES):
        image_id = server.create()
        assert begin(server, image_id, DATA).status == 201
        answers: dict[bytes, Answer] = {}

        def send(
            body: bytes, image_id: str = image_id, answers: dict[bytes, Answer] = answers
        ) -> None:
            answers[body] = append(server, image_id, len(DATA), body)

        race(*[lambda body=body: send(body) for body in bodies])
        winners = [body for body, answer in answers.items() if answer.status == 204]
        losers = [answer for answer in answers.values() if answer.status != 204]
        assert {answer.status for answer in losers} <= {409, 503}
        assert len(winners) <= 1
        offset = offset_of(ask(server, image_id))
        assert offset == len(DATA) + MIB or not winners
        end = append(server, image_id, offset, b"", complete=True)
        assert end.status in (202, 204)
        eventually(lambda image_id=image_id: server.status(image_id) == "active", "verified")
        stored = server.download(image_id).body
        assert stored in [(DATA + body)[:offset] for body in winners or bodies]


def test_two_clients_begin_one_upload(server: Gateway) -> None:
    """The later one begins anew: one of them wins, and no byte is the other's."""
    bodies = [bytes([number]) * (MIB + number) for number in (1, 2)]
    for _ in range(RACES):
        image_id = server.create()
        answers: dict[bytes, Answer] = {}

        def send(
            body: bytes, image_id: str = image_id, answers: dict[bytes, Answer] = answers
        ) -> None:
            answers[body] = begin(server, image_id, body, complete=True)

        race(*[lambda body=body: send(body) for body in bodies])
        (winner,) = [body for body, answer in answers.items() if answer.status in (202, 204)]
        assert_active(server, image_id, winner)


# Limits


def test_an_upload_that_nobody_continues_expires(start: Callable[..., Gateway]) -> None:
    gateway = start()
    image_id, other = gateway.create(), gateway.create()
    assert begin(gateway, image_id, DATA[:MIB]).status == 201
    headers = {"Upload-Length": str(MIB), "Upload-Metadata": "image_id " + _base64(other)}
    made = gateway.call("POST", "/v2/uploads", b"", headers={**TUS, **headers})
    assert made.status == 201
    gateway.expire_leases()
    for each in (image_id, other):
        gateway.assert_untouched(each)
    assert ask(gateway, image_id).status == 410
    assert append(gateway, image_id, MIB, DATA[MIB:], complete=True).status == 410
    path = made.headers["Location"].removeprefix(gateway.url)
    assert gateway.call("HEAD", path, headers=TUS).status == 410
    assert begin(gateway, image_id, DATA, complete=True).status == 204
    assert_active(gateway, image_id, DATA)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_uploads_that_wait_count_in_the_quota(start: Callable[..., Gateway]) -> None:
    gateway = start("[quota]\nimage_size_total = 8\n")
    waiting = gateway.create()
    announced = str(6 * MIB)
    assert begin(gateway, waiting, DATA[:1], Upload_Length=announced).status == 201
    assert _usage(gateway) == 6
    image_id = gateway.create()
    answer = begin(gateway, image_id, b"", Upload_Length=str(2 * MIB + 1))
    assert answer.outcome == (413, "limit_exceeded")
    assert begin(gateway, image_id, b"", Upload_Length=str(2 * MIB)).status == 201
    assert append(gateway, image_id, 0, DATA[: 2 * MIB], complete=True).status in (202, 204)
    assert_active(gateway, image_id, DATA[: 2 * MIB])
    assert append(gateway, waiting, 1, DATA[1:]).status == 204
    assert gateway.call("DELETE", f"/v2/images/{waiting}/upload").status == 204
    assert _usage(gateway) == 2


def test_an_upload_continues_when_the_quota_has_room(start: Callable[..., Gateway]) -> None:
    """Its length is unknown, so it meets the limit amid its bytes; what is there stays."""
    gateway = start("[quota]\nimage_size_total = 4\n")
    waiting, image_id = gateway.create(), gateway.create()
    assert begin(gateway, waiting, b"", Upload_Length=str(2 * MIB)).status == 201
    assert begin(gateway, image_id, DATA[:MIB]).status == 201
    answer = append(gateway, image_id, MIB, DATA[MIB:], complete=True)
    assert answer.outcome == (413, "limit_exceeded")
    offset = offset_of(ask(gateway, image_id))
    assert MIB <= offset <= 2 * MIB
    assert gateway.call("DELETE", f"/v2/images/{waiting}/upload").status == 204
    answer = append(gateway, image_id, offset, DATA[offset:], complete=True)
    assert answer.status in (202, 204), answer.body
    assert_active(gateway, image_id, DATA)


def _usage(gateway: Gateway) -> int:
    """MiB of the project's quota."""
    told = gateway.call("GET", "/v2/info/usage").json["usage"]
    return int(told["image_size_total"]["usage"])


def test_an_upload_continues_when_the_disk_has_room(
    start: Callable[..., Gateway], tmp_path: pathlib.Path
) -> None:
    with mounted(tmp_path / "small", "8m") as small:
        gateway = start(f"[file]\nfilesystem_store_datadir = {small}\n")
        image_id = gateway.create()
        assert begin(gateway, image_id, DATA[:MIB]).status == 201
        (small / "ballast").write_bytes(bytes(6 * MIB))
        answer = append(gateway, image_id, MIB, DATA[MIB:])
        assert answer.outcome == (413, "store_full")
        offset = offset_of(ask(gateway, image_id))
        assert MIB <= offset < len(DATA)
        (small / "ballast").unlink()
        answer = append(gateway, image_id, offset, DATA[offset:], complete=True)
        assert answer.status in (202, 204), answer.body
        eventually(lambda: gateway.status(image_id) == "active", "it is verified")
        assert gateway.download(image_id).body == DATA
        assert gateway.call("DELETE", f"/v2/images/{image_id}").status == 204
        assert [path for path in small.iterdir() if path.name != MARK] == []
        gateway.stop()  # before its store is unmounted
