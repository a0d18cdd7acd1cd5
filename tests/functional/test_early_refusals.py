"""Refusals reach clients that look for a response only when they cannot send any more.

So write Go's, Node's and Java's HTTP clients, python-requests, and proxies on behalf of all others.
Go's and Node's clients themselves are programs in ``clients``; the others' way is ``upload``.
The proxies run with the configuration of doc/operators.md.
"""

import collections
import contextlib
import pathlib
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.functional import proxies
from tests.functional.conftest import needs_program
from tests.functional.gateway import (
    HOST,
    PATIENCE,
    Answer,
    Gateway,
    clean_env,
    read_answer,
    serving,
)
from tests.functional.proxies import HAPROXY, NGINX

MIB = 1 << 20
LENGTH = 32 * MIB
ROUNDS = 10
#: Each has three uploads.
CLIENT_ROUNDS = 20
CLIENTS = pathlib.Path(__file__).parent / "clients"
CAP = "[sizelimit]\nupload_size_cap = 16777216\n"
QCOW2 = b"QFI\xfb" + bytes(4092)


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("capped"), config=CAP, workers=1)) as gateway:
        yield gateway


@pytest.fixture(scope="module", params=["direct", "nginx", "haproxy"])
def way(request: pytest.FixtureRequest, capped: Gateway) -> Iterator[tuple[Gateway, int]]:
    """A gateway, and the port by which clients reach it."""
    if request.param == "direct":
        yield capped, capped.port
        return
    proxy = {"nginx": NGINX, "haproxy": HAPROXY}[request.param]
    with proxies.running(proxy, proxies.plain(proxy, proxy.text()), capped.port) as port:
        yield capped, port


def upload(port: int, image_id: str, token: str, first: bytes, length: int = LENGTH) -> Answer:
    """Send all of a body before looking, or as much of it as can be sent."""
    head = (
        f"PUT /v2/images/{image_id}/file HTTP/1.1\r\nHost: {HOST}\r\nX-Auth-Token: {token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
    block = bytes(MIB)
    with socket.create_connection((HOST, port), timeout=PATIENCE) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head.encode() + first)
            for _ in range((length - len(first)) // MIB):
                connection.sendall(block)
        return read_answer(connection)


def test_no_refusal_is_lost(way: tuple[Gateway, int]) -> None:
    gateway, port = way
    image_id = gateway.create()
    member = gateway.token()
    for _ in range(ROUNDS):
        outcomes = {
            "token": upload(port, image_id, "forged", b"").outcome,
            "size": upload(port, image_id, member, b"").outcome,
            "image": upload(port, image_id, member, QCOW2, length=12 * MIB).outcome,
            "route": upload(port, f"{image_id}/nowhere", member, b"", length=4096).outcome,
        }
        assert outcomes == {
            "token": (401, "unauthenticated"),
            "size": (413, "too_large"),
            "image": (415, "image_refused"),
            "route": (404, "not_found"),
        }


@pytest.fixture(scope="module")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the client in Go, compiled once."""
    directory = tmp_path_factory.mktemp("go")
    program = directory / "uploads"
    # With CGO_ENABLED=0, it would compile most of its standard library again.
    env = clean_env(directory, GOCACHE=str(directory / "cache"), GO111MODULE="off")
    command = [needs_program("go"), "build", "-o", str(program), str(CLIENTS / "uploads.go")]
    subprocess.run(command, env=env, check=True)
    return [str(program)]


@pytest.fixture
def node_client() -> list[str]:
    """The command of the client in JavaScript."""
    return [needs_program("node"), str(CLIENTS / "uploads.mjs")]


@pytest.mark.parametrize("language", ["go", "node"])
def test_a_real_client_loses_no_refusal(
    language: str, way: tuple[Gateway, int], request: pytest.FixtureRequest
) -> None:
    """It sends with a length and chunked, in turn, and keeps the connection if it may."""
    command = request.getfixturevalue(f"{language}_client")
    gateway, port = way
    url = f"http://{HOST}:{port}/v2/images/{gateway.create()}/file"
    words = [*command, url, gateway.token(), str(CLIENT_ROUNDS)]
    env = clean_env(gateway.directory)
    client = subprocess.run(words, capture_output=True, text=True, env=env, check=True, timeout=300)
    assert collections.Counter(client.stdout.splitlines()) == {
        "token 401 unauthenticated": CLIENT_ROUNDS,
        "size 413 too_large": CLIENT_ROUNDS,
        "format 415 image_refused": CLIENT_ROUNDS,
    }


@pytest.mark.parametrize("length", [20, 200_000])
def test_a_kept_connection_serves_the_next_request(way: tuple[Gateway, int], length: int) -> None:
    """Go's and Node's clients use a connection again unless the response says that it ends."""
    _, port = way
    head = f"POST /v2/images HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection((HOST, port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        refusal = read_answer(connection)
        assert refusal.outcome == (401, "unauthenticated")
        if refusal.headers["Connection"] == "close":
            return
        connection.sendall(bytes(length))
        connection.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_answer(connection).status == 200


def test_clients_without_a_request_hold_no_thread(start: Callable[..., Gateway]) -> None:
    """More of them than the server has threads: nothing, half a line, a head without end."""
    gateway = start(workers=1, threads=4)
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"GE", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ") * 20:
            stack.enter_context(gateway.connect()).sendall(sent)
        assert gateway.call("GET", "/healthcheck", token=None).status == 200
        assert gateway.upload(gateway.create(), b"data").status == 204
