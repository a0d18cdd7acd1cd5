"""A real Glance under uWSGI, with and without filters in its pipeline."""

import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.gateway import HOST, eventually, free_port

ROOT = pathlib.Path(__file__).parents[2]
#: Glance needs a newer Python than the tests, and other packages.
VENV = ROOT / ".venv-glance"
PATIENCE = 300
#: The name of this host by which requests reach the filters.
FILTERED = "localhost"

CONF = """
[DEFAULT]
enabled_backends = fast:file
enabled_import_methods = [glance-direct]
worker_self_reference_url = {url}
[database]
connection = sqlite:///{root}/glance.sqlite?timeout=60
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
[paste_deploy]
config_file = {root}/glance-api-paste.ini
"""

#: Plays Keystone's filter, for callers who all are the same user.
IDENTITY = """
USER = {"HTTP_X_USER_ID": "demo", "HTTP_X_PROJECT_ID": "demo", "HTTP_X_ROLES": "admin,member"}

def filter_factory(global_conf):
    def filter(app):
        def identified(environ, start_response):
            return app({**environ, **USER, "HTTP_X_IDENTITY_STATUS": "Confirmed"}, start_response)
        return identified
    return filter
"""

#: Glance as it comes, and with every filter that doc/filters.md puts in front of it.
PIPELINES = """
[pipeline:plain]
pipeline = versionnegotiation identity context rootapp

[pipeline:filtered]
pipeline = versionnegotiation identity context chunked encoding sizelimit sniff rootapp

[filter:identity]
paste.filter_factory = identity:filter_factory
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

#: With one thread: SQLite refuses one of two requests that write at the same time, and Glance
#: then leaves the image as it is.
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
pythonpath = {root}
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


def environment() -> pathlib.Path:
    """A venv with Glance, uWSGI and this source tree; made on CI, and once."""
    on_ci = os.environ.get("CI") == "true"
    if not on_ci and not VENV.exists():
        pytest.skip(f"Glance is not installed in {VENV.name}; CI=true installs it")
    with open(ROOT / ".venv-glance.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (VENV / "complete").exists():
            python = python_for_glance()
            assert python, "Glance needs Python 3.12 or later"
            subprocess.run([python, "-m", "venv", "--clear", "--without-pip", VENV], check=True)
            # The pip that comes with that Python takes twice as long as this one.
            pip = [sys.executable, "-m", "pip", "--python", VENV / "bin" / "python"]
            install = [*pip, "install", "--quiet", "--no-compile", "glance>=33", "pyuwsgi"]
            subprocess.run([*install, "--editable", ROOT], check=True)
            (VENV / "complete").touch()
    return VENV


class Glance:
    """A running Glance. Everybody is an administrator of the project ``demo``."""

    def __init__(self, root: pathlib.Path, host: str, port: int) -> None:
        self.root = root
        self.host = host
        self.images = root / "images"
        self.port = port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def token(self, *_: object) -> str:
        return "any"

    def stored(self, image_id: str) -> list[pathlib.Path]:
        """The files of an image in its store and in its staging area."""
        places = (self.images, self.root / "staging")
        return [path for place in places for path in place.glob(f"*{image_id}*")]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """An iterable body is sent in chunks."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
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


def start(root: pathlib.Path) -> Iterator[tuple[Glance, Glance]]:
    """One process, which is Glance as it comes, and with the filters under another name."""
    venv = environment()
    plain = Glance(root, HOST, free_port())
    filtered = Glance(root, FILTERED, plain.port)
    (root / "images").mkdir()
    (root / "glance-api.conf").write_text(CONF.format(root=root, url=plain.url))
    (root / "identity.py").write_text(IDENTITY)
    paste = (venv / "etc" / "glance" / "glance-api-paste.ini").read_text()
    for old, new in (
        ("[composite:glance-api]\n", f"{PIPELINES}[composite:glance-api]\n"),
        ("\n/: api\n", f"\n/: plain\ndomain {FILTERED} / = filtered\n"),
    ):
        assert old in paste
        paste = paste.replace(old, new, 1)
    (root / "glance-api-paste.ini").write_text(paste)
    (root / "uwsgi.ini").write_text(UWSGI.format(port=plain.port, root=root))
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "OS_GLANCE_CONFIG_DIR": str(root),
        "XDG_STATE_HOME": str(root),
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
    }
    manage = [venv / "bin" / "glance-manage", "--config-file", root / "glance-api.conf", "db_sync"]
    subprocess.run(manage, env=env, check=True, capture_output=True)
    command = [venv / "bin" / "uwsgi", "--virtualenv", venv, "--ini", root / "uwsgi.ini"]
    with open(root / "log", "wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=root)
    try:
        eventually(lambda: plain.is_up() or process.poll() is not None, "Glance is up", PATIENCE)
        assert process.poll() is None, (root / "log").read_text()[-3000:]
        yield plain, filtered
    finally:
        process.terminate()
        process.wait(PATIENCE)
