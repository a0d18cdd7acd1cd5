"""The files of the corpus, created once per session, and a server to upload them to."""

import contextlib
import functools
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.formats.corpus import Entry
from tests.functional.gateway import eventually


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Entry], Path]:
    """A function that creates the file of an entry."""
    directory = tmp_path_factory.mktemp("corpus")

    @functools.cache
    def make(entry: Entry) -> Path:
        path = directory / entry.name
        entry.make(path)
        return path

    return make


class Client:
    """A client of a running imsgate with the administrator's token."""

    def __init__(self, port: int, token: str) -> None:
        self._address = ("127.0.0.1", port)
        self._headers = {"X-Auth-Token": token, "Accept": "application/json"}

    def _call(self, method: str, path: str, kind: str = "", body: object = None):
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            headers = {**self._headers, **({"Content-Type": kind} if kind else {})}
            # If the server refuses the request early, it has sent the response already.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def upload(self, path: Path, disk_format: str, **more: str) -> tuple[int, dict, dict]:
        """Upload a file as a new image; return the status, the body and the resulting image."""
        fields = {"name": path.name, "disk_format": disk_format, "container_format": "bare", **more}
        status, image = self._call("POST", "/v2/images", "application/json", json.dumps(fields))
        assert status == 201, image
        url = f"/v2/images/{image['id']}"
        with path.open("rb") as file:
            status, body = self._call("PUT", f"{url}/file", "application/octet-stream", file)
        _, image = self._call("GET", url)
        self._call("DELETE", url)
        return status, body or {}, image


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of ``imsgate serve`` with its defaults."""
    state = tmp_path_factory.mktemp("state")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "imsgate.cmd.main", "serve", "--bind", f"127.0.0.1:{port}"]
    command += ["--state", str(state / "state"), "--workers", "1"]
    with (state / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: _accepts_connections(port, server), f"imsgate serves: see {state}/log")
        token = (state / "state" / "admin-token").read_text().strip()
        yield Client(port, token)
    finally:
        server.terminate()
        server.wait(30)


def _accepts_connections(port: int, server: subprocess.Popen) -> bool:
    assert server.poll() is None, "the server has exited"
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))
