"""A proxy loses the response to an upload; an unchanged client sends its request again."""

import contextlib
import os
import pathlib
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from tests.functional import images
from tests.functional.conftest import needs_program
from tests.functional.gateway import HOST, Gateway, clean_env
from tests.functional.wire import CHUNKED, MIB, Wire, length

ROUNDS = int(os.environ.get("IMSGATE_TEST_ROUNDS", "50"))
#: More than the first chunk that is compared, but little to send.
SIZE = 100_000
OCTETS = {"Content-Type": "application/octet-stream"}
RANDOM = random.Random(50)


class LosingProxy:
    """Passes one request on per connection; the response to the first PUT of each path is lost.

    The gateway has answered by then: its upload is complete.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listener = socket.create_server((HOST, 0))
        self._threads: list[threading.Thread] = []
        #: The status of each response that was lost, by the request line.
        self.lost: dict[bytes, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "LosingProxy":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                connection, _ = self._listener.accept()
                self._start(self._serve, connection)

    def _serve(self, client: socket.socket) -> None:
        with client, self._gateway.connect() as server, contextlib.suppress(ConnectionError):
            first = client.recv(1 << 16)
            line = first.partition(b"\r\n")[0]
            server.sendall(first)
            sending = self._start(_pass_on, client, server)
            for piece in iter(lambda: server.recv(1 << 16), b""):
                if not piece.startswith(b"HTTP/1.1 100") and self._loses(line, piece):
                    break
                client.sendall(piece)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            sending.join()

    def _loses(self, line: bytes, response: bytes) -> bool:
        if not line.startswith(b"PUT") or line in self.lost:
            return False
        self.lost[line] = response.split()[1]
        return True


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for piece in iter(lambda: client.recv(1 << 16), b""):
            server.sendall(piece)


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[LosingProxy]:
    with LosingProxy(gateway) as made:
        yield made


def a_client(gateway: Gateway, tries: int) -> requests.Session:
    """python-requests, as programs set it up to send a request again."""
    session = requests.Session()
    retries = urllib3.Retry(tries, allowed_methods=["PUT"], backoff_factor=0)
    session.mount("http://", HTTPAdapter(max_retries=retries))
    session.headers.update(OCTETS | {"X-Auth-Token": gateway.token(), "Connection": "close"})
    return session


def changed(data: bytes) -> bytes:
    position = RANDOM.randrange(len(data))
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_a_lost_response_makes_no_duplicate(start: Callable[..., Gateway]) -> None:
    gateway = start()
    data = RANDOM.randbytes(SIZE)
    ids = []
    with LosingProxy(gateway) as proxy, a_client(gateway, 1) as client:
        for _ in range(ROUNDS):
            ids.append(gateway.create())
            path = f"/v2/images/{ids[-1]}/file"
            assert client.put(proxy.url + path, data).status_code == 204
            other = client.put(gateway.url + path, changed(data))
            assert (other.status_code, other.headers["X-Imsgate-Reason"]) == (409, "data_differs")
    assert list(proxy.lost.values()) == [b"204"] * ROUNDS
    assert len(gateway.residue()) == ROUNDS
    listed = gateway.call("GET", "/v2/images?limit=1000").json["images"]
    assert sorted(image["id"] for image in listed) == sorted(ids)
    assert {image["status"] for image in listed} == {"active"}
    assert gateway.download(RANDOM.choice(ids)).body == data


@pytest.mark.parametrize("kind", ["file", "stage"])
@pytest.mark.parametrize("how", [[], ["-H", "Transfer-Encoding: chunked"]])
def test_curl_is_run_again(
    gateway: Gateway, proxy: LosingProxy, tmp_path: pathlib.Path, kind: str, how: list[str]
) -> None:
    needs_program("curl")
    image_id = gateway.create()
    path, data = tmp_path / "disk", RANDOM.randbytes(3 * MIB)  # curl waits for 100 Continue

    def curl(sent: bytes) -> tuple[int, str]:
        """Its exit status, and that of the response."""
        path.write_bytes(sent)
        command = ["curl", "-sS", "-o", "answer", "-w", "%{http_code}", *how]
        for header in (f"X-Auth-Token: {gateway.token()}", *map(": ".join, OCTETS.items())):
            command += ["-H", header]
        command += ["-T", str(path), f"{proxy.url}/v2/images/{image_id}/{kind}"]
        env = clean_env(tmp_path)
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
        return done.returncode, done.stdout.decode()

    nothing_received = 52
    assert curl(data)[0] == nothing_received
    was = gateway.show(image_id)
    assert curl(data) == (0, "204")
    assert curl(changed(data))[1] == "409"
    assert curl(data[:-1])[1] == "409"
    assert curl(data) == (0, "204")
    assert list(proxy.lost.values()) == [b"204"]
    assert gateway.show(image_id) == was
    assert len(gateway.residue(image_id)) == 1


def test_another_size_is_refused_without_100_continue(gateway: Gateway) -> None:
    image_id = gateway.stored(bytes(SIZE))
    with Wire(gateway) as wire:
        wire.put(image_id, [("Expect", "100-continue"), *length(SIZE + 1)])
        assert wire.read(1 << 16).startswith(b"HTTP/1.1 409 ")
    with Wire(gateway) as wire:
        wire.put(image_id, [("Expect", "100-continue"), *length(SIZE)])
        assert wire.read(1 << 16).startswith(b"HTTP/1.1 100 ")
        assert wire.send(bytes(SIZE)).answer().status == 204


@pytest.mark.parametrize("chunked", [False, True])
def test_data_that_differs_is_not_read_to_its_end(gateway: Gateway, chunked: bool) -> None:
    size = 64 * MIB
    image_id = gateway.stored(bytes(size))
    with Wire(gateway) as wire:
        wire.put(image_id, CHUNKED if chunked else length(size))
        wire.flood(MIB, chunked=chunked)
        (wire.chunk if chunked else wire.send)(b"x")
        answer = wire.flood(size - MIB - 1, chunked=chunked).answer()
    assert answer.outcome == (409, "data_differs")
    assert f"byte {MIB} differs" in answer.body.decode()
    assert answer.headers["Connection"] == "close"
    assert gateway.access(answer)["in"] <= 4 * MIB
    assert gateway.download(image_id, Range="bytes=0-9").body == bytes(10)


def test_repeating_an_upload_changes_no_record(gateway: Gateway) -> None:
    disk = images.qcow2()
    image_id = gateway.stored(disk, disk_format="qcow2")
    was = gateway.show(image_id)
    assert gateway.upload(image_id, disk).status == 204
    assert gateway.show(image_id) == was


def test_data_that_differs_is_not_judged_by_its_content(gateway: Gateway) -> None:
    """The first bytes of an image that would be refused: they differ, and no more is said."""
    image_id = gateway.stored(bytes(SIZE))
    answer = gateway.upload(image_id, b"QFI\xfb" + bytes(SIZE - 4))
    assert answer.outcome == (409, "data_differs")
