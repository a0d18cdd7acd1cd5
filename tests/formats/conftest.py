"""The corpus, made once a session, and a real server to upload it to."""

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

from tests.formats import corpus
from tests.formats.corpus import Entry
from tests.functional.gateway import eventually


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Entry], Path]:
    """The file of an entry."""
    folder = tmp_path_factory.mktemp("corpus")

    @functools.cache
    def make(entry: Entry) -> Path:
        path = folder / entry.name
        entry.make(path)
        return path

    return make


class Client:
    """Speaks to a running imsgate as its administrator."""

    def __init__(self, port: int, token: str) -> None:
        self._address = ("127.0.0.1", port)
        self._headers = {"X-Auth-Token": token, "Accept": "application/json"}

    def _call(self, method: str, path: str, kind: str = "", body: object = None):
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            headers = {**self._headers, **({"Content-Type": kind} if kind else {})}
            # when it is refused before all is sent, the answer is there already
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def upload(self, path: Path, disk_format: str) -> tuple[int, dict, dict]:
        """Create an image, send its data: status and body of the upload, the image after it."""
        fields = {"name": path.name, "disk_format": disk_format, "container_format": "bare"}
        status, image = self._call("POST", "/v2/images", "application/json", json.dumps(fields))
        assert status == 201, image
        place = f"/v2/images/{image['id']}"
        with path.open("rb") as file:
            status, answer = self._call("PUT", f"{place}/file", "application/octet-stream", file)
        _, image = self._call("GET", place)
        self._call("DELETE", place)
        return status, answer or {}, image


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """``imsgate serve`` on a free port of the loopback interface."""
    state = tmp_path_factory.mktemp("state")
    names = sorted({entry.declared or entry.format for entry in corpus.entries()})
    config = state / "imsgate.conf"
    config.write_text(f"[image_format]\ndisk_formats = {','.join(names)}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "imsgate.cmd.main", "serve", "--bind", f"127.0.0.1:{port}"]
    command += ["--state", str(state / "kept"), "--config-file", str(config), "--workers", "1"]
    with (state / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(port, server), f"imsgate serves: see {state}/log")
        token = (state / "kept" / "admin-token").read_text().strip()
        yield Client(port, token)
    finally:
        server.terminate()
        server.wait(30)


def _answers(port: int, server: subprocess.Popen) -> bool:
    assert server.poll() is None, "the server ended"
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))
