"""The filters in the pipeline of a real Glance under uWSGI, as doc/filters.md describes it."""

import contextlib
import fcntl
import gzip
import http.client
import itertools
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.commands import Commands, finished
from tests.functional.cutting import Cutter
from tests.functional.gateway import eventually, free_port

ROOT = pathlib.Path(__file__).parents[2]
#: Glance needs a newer Python than the tests, and other packages.
VENV = ROOT / ".venv-glance"
PATIENCE = 120
MIB = 1 << 20
PLAIN = "imsgate: the server takes this image in one request only\n"

CONF = """
[DEFAULT]
enabled_backends = fast:file
[database]
connection = sqlite:///{root}/glance.sqlite
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = {root}/images
[os_glance_staging_store]
filesystem_store_datadir = {root}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {root}/tasks
[oslo_concurrency]
lock_path = {root}
[oslo_policy]
policy_file = {root}/policy.yaml
[paste_deploy]
config_file = {root}/glance-api-paste.ini
"""

FILTERS = """
[filter:chunked]
use = egg:imsgate#chunked
[filter:encoding]
use = egg:imsgate#encoding
[filter:sizelimit]
use = egg:imsgate#sizelimit
image_size_cap = 4194304
[filter:sniff]
use = egg:imsgate#sniff
ask_record = true
"""

UWSGI = """
[uwsgi]
http-socket = 127.0.0.1:{port}
http-chunked-input = true
http-auto-chunked = true
http-raw-body = true
chunked-input-limit = 2097152
buffer-size = 65535
enable-threads = true
lazy-apps = true
master = true
die-on-term = true
need-app = true
processes = 1
threads = 2
module = glance.wsgi.api:application
"""


def python_for_glance() -> str | None:
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    installed = sorted(map(str, pyenv.glob("versions/3.12.*/bin/python3.12")))
    candidates = [shutil.which("python3.12"), *installed, shutil.which("python3.13")]
    for candidate in filter(None, candidates):
        if not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            return candidate
    return None


@pytest.fixture(scope="module")
def venv() -> pathlib.Path:
    """A venv with Glance, uWSGI and this source tree; made on CI, and once."""
    on_ci = os.environ.get("CI") == "true"
    if not on_ci and not VENV.exists():
        pytest.skip(f"Glance is not installed in {VENV.name}; CI=true installs it")
    with open(ROOT / ".venv-glance.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (VENV / "complete").exists():
            python = python_for_glance()
            assert python, "Glance needs Python 3.12 or later"
            subprocess.run([python, "-m", "venv", "--clear", str(VENV)], check=True)
            pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
            subprocess.run([*pip, "glance>=33", "pyuwsgi", "--editable", str(ROOT)], check=True)
            (VENV / "complete").touch()
    return VENV


class Glance:
    """A running Glance without authentication."""

    def __init__(self, root: pathlib.Path, port: int) -> None:
        self.images = root / "images"
        self.port = port

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """An iterable body is sent in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            # A refusal may come, and the connection end, while the body is being sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                names = {name.replace("_", "-"): value for name, value in headers.items()}
                connection.request(method, path, body, names)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")

    def create(self, disk_format: str) -> str:
        record = json.dumps({"disk_format": disk_format, "container_format": "bare"})
        status, answer = self.call("POST", "/v2/images", record, Content_Type="application/json")
        assert status == 201, answer
        image_id: str = json.loads(answer)["id"]
        return image_id

    def upload(self, image_id: str, data: bytes, chunk: int | None, **headers: str) -> int:
        body: Any = data
        if chunk:
            body = (data[start : start + chunk] for start in range(0, len(data), chunk))
        path, media_type = f"/v2/images/{image_id}/file", "application/octet-stream"
        return self.call("PUT", path, body, Content_Type=media_type, **headers)[0]

    def record(self, image_id: str) -> Any:
        return json.loads(self.call("GET", f"/v2/images/{image_id}")[1])

    def is_up(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.call("GET", "/v2/images")[0] == 200
        return False


@pytest.fixture(scope="module")
def glance(venv: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    root, port = tmp_path_factory.mktemp("glance"), free_port()
    (root / "images").mkdir()
    (root / "glance-api.conf").write_text(CONF.format(root=root))
    (root / "policy.yaml").write_text('"context_is_admin": "@"\n')
    paste = (venv / "etc" / "glance" / "glance-api-paste.ini").read_text()
    pipeline = "unauthenticated-context rootapp"
    assert pipeline in paste
    paste = paste.replace(
        pipeline, "unauthenticated-context chunked encoding sizelimit sniff rootapp"
    )
    (root / "glance-api-paste.ini").write_text(paste + FILTERS)
    (root / "uwsgi.ini").write_text(UWSGI.format(port=port))
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "OS_GLANCE_CONFIG_DIR": str(root),
        "XDG_STATE_HOME": str(root),
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
    }
    manage = [venv / "bin" / "glance-manage", "--config-file", root / "glance-api.conf", "db_sync"]
    subprocess.run(manage, env=env, check=True, capture_output=True)
    server = Glance(root, port)
    command = [venv / "bin" / "uwsgi", "--virtualenv", venv, "--ini", root / "uwsgi.ini"]
    with open(root / "log", "wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=root)
    try:
        eventually(lambda: server.is_up() or process.poll() is not None, "Glance is up", PATIENCE)
        assert process.poll() is None, (root / "log").read_text()[-3000:]
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE)


def qcow2(backing: int = 0) -> bytes:
    """An empty image of 10 MiB, in Glance's largest upload of this test."""
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + bytes(4)
    head += (16).to_bytes(4, "big") + (10 << 20).to_bytes(8, "big") + bytes(4)
    head += (1).to_bytes(4, "big") + (0x30000).to_bytes(8, "big")
    head += (0x10000).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(12)
    head += bytes(24) + (4).to_bytes(4, "big") + (104).to_bytes(4, "big")
    return head.ljust(3 * MIB, b"\0")


def test_uploads_through_the_filters(glance: Glance) -> None:
    """One test, because starting Glance takes longer than all of this."""
    good, hostile, large = qcow2(), qcow2(backing=0x200), qcow2().ljust(5 * MIB, b"\0")
    for chunk, coding in itertools.product((None, 65536, MIB), (None, "gzip")):
        for disk_format, data, status in (
            ("qcow2", good, 204),
            ("qcow2", hostile, 415),
            ("raw", good, 415),  # only the record says so
            ("qcow2", large, 413),
        ):
            image_id = glance.create(disk_format)
            case = f"{disk_format}, {len(data)} bytes in chunks of {chunk}, {coding}, {status}"
            sent, headers = data, {}
            if coding:
                sent, headers = gzip.compress(data), {"Content_Encoding": coding}
            assert glance.upload(image_id, sent, chunk, **headers) == status, case
            record = glance.record(image_id)
            stored = [path.stat().st_size for path in glance.images.iterdir()]
            if status == 204:
                assert (record["status"], record["size"], stored) == (
                    "active",
                    len(data),
                    [len(data)],
                )
                assert glance.call("GET", f"/v2/images/{image_id}/file")[0] == 200
            else:
                assert (record["status"], stored) == ("queued", []), case
            assert glance.call("DELETE", f"/v2/images/{image_id}")[0] == 204


def test_the_client_falls_back_to_one_request(glance: Glance, tmp_path: pathlib.Path) -> None:
    """Glance has no resumable uploads. A cut upload is sent again as a whole."""
    good, hostile, copy = (tmp_path / name for name in ("good", "hostile", "copy"))
    good.write_bytes(qcow2())
    hostile.write_bytes(qcow2(backing=0x200))
    with Cutter(glance.port, [2 * MIB]) as proxy:
        commands = Commands(tmp_path, proxy.url, "any")
        record = commands.json("upload", good)
        assert (record["status"], record["size"]) == ("active", 3 * MIB)
        assert commands.run("download", record["id"], copy).returncode == 0
        assert copy.read_bytes() == good.read_bytes()
        refused = commands.run("upload", hostile, "--no-inspection", "--disk-format", "qcow2")
        assert (refused.returncode, refused.stdout) == (3, ""), refused.stderr
        with open(good, "rb") as stream:
            words = ("upload", "-", "--name", "piped", "--disk-format", "qcow2")
            assert finished(commands.start(*words, stdin=stream)) == (0, PLAIN)
    assert proxy.made == 1
    shown = json.loads(glance.call("GET", "/v2/images")[1])["images"]
    assert sorted(image["name"] for image in shown) == ["good", "piped"]
    for image in shown:
        assert glance.call("DELETE", f"/v2/images/{image['id']}")[0] == 204
