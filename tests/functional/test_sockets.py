"""Unix sockets: who may connect to a server."""

import contextlib
import http.client
import pathlib
import socket
import stat

import pytest

from tests.functional import programs
from tests.functional.gateway import IMSGATE, INI, PATIENCE, clean_env, eventually

pytestmark = pytest.mark.gateway


@pytest.mark.parametrize(
    ("command", "mode"),
    [(["serve", "--workers", "1"], 0o660), (["metrics", "--socket-mode", "600"], 0o600)],
    ids=["default", "chosen"],
)
def test_the_mode_of_a_socket(tmp_path: pathlib.Path, command: list[str], mode: int) -> None:
    path, log = tmp_path / "socket", tmp_path / "log"
    (tmp_path / "conf").write_text("[paste_deploy]\nflavor = front\n[forward]\nupstream = http://x")
    place = ["--config-file", str(tmp_path / "conf"), "--state", str(tmp_path / "state")]
    name, *more = command
    words = [IMSGATE, name, str(INI), "--bind", f"unix:{path}", *more, *place]
    process = programs.spawn(words, log, clean_env(tmp_path))
    try:
        eventually(lambda: _answers(path), f"it serves: {log.read_text() if log.exists() else ''}")
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == mode
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not path.exists()


def _answers(path: pathlib.Path) -> bool:
    """False while nobody listens there."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        connection.sendall(b"GET /healthcheck HTTP/1.0\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status in (200, 404)
