"""A real gateway: the shipped pipeline on a server and a state directory of its own."""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from imsgate.auth import token_file
from tests import markers
from tests.functional import programs

ROOT = pathlib.Path(__file__).parent.parent.parent
INI = ROOT / "etc" / "imsgate-paste.ini"
BIN = pathlib.Path(sys.executable).parent
IMSGATE = str(BIN / "imsgate")
HOST = "127.0.0.1"

#: Seconds after which a test gives up. Nothing is expected to take nearly as long.
PATIENCE = 60.0

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of ``look``; fails with ``what`` when there is none in time."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.02)
    return found


def free_port() -> int:
    """A port of the loopback interface that nobody listens on.

    It is below those that Linux gives to connections, one of which might take it before the
    server does.
    """
    while True:
        port = 10240 + secrets.randbelow(32768 - 10240)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def clean_env(home: pathlib.Path, **more: str) -> dict[str, str]:
    """An environment in which nothing of the user's configuration is found."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    kept["PATH"] = f"{BIN}:{kept.get('PATH', os.defpath)}"
    # stevedore keeps there what is installed; without it, every process looks anew.
    kept["XDG_CACHE_HOME"] = str(BIN.parent / ".cache")
    return {**kept, "HOME": str(home), "NO_PROXY": "*", **more}


def make_database(state: pathlib.Path, config: pathlib.Path) -> None:
    """``imsgate db upgrade``."""
    command = [IMSGATE, "db", "upgrade", "--state", state, "--config-file", config]
    programs.run(command, clean_env(state.parent), state.parent).check_returncode()


@dataclasses.dataclass(frozen=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str | None:
        return self.headers["X-Imsgate-Reason"]

    @property
    def outcome(self) -> tuple[int, str | None]:
        """Status and machine-readable reason."""
        return self.status, self.reason


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """The next response on a connection."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Answer(response.status, response.headers, response.read())
    finally:
        response.close()


class Gateway:
    """One server. ``commands`` says which; the shipped ini is what all of them run."""

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        config: str = "",
        server: str = "embedded",
        workers: int = 2,
        grace: int = 30,
        threads: int = 128,
    ) -> None:
        """``config`` is the text of imsgate.conf; ``{state}`` in it is the state directory."""
        self.directory = directory
        self.state = directory / "state"
        self.server = server
        self.workers = workers
        self.grace = grace
        self.threads = threads
        self.port = free_port()
        self.config = directory / "imsgate.conf"
        self.config.write_text(config.replace("{state}", str(self.state)))
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._tokens: dict[tuple[str, str], str] = {}
        self._checked = 0

    # The process

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> "Gateway":
        """Returns when it serves."""
        markers.require("gateway")
        if self.server != "embedded":
            self._prepare()
        self.process = programs.spawn(self._command(), self.log, self._env())
        try:
            eventually(self._serves, f"{self.server} serves: {self.log_text()}")
        except BaseException:
            self.kill()
            raise
        return self

    def _command(self) -> list[str]:
        state = ["--state", str(self.state), "--config-file", str(self.config)]
        if self.server == "embedded":
            serve = [IMSGATE, "serve", str(INI), "--bind", f"{HOST}:{self.port}", *state]
            serve += ["--workers", str(self.workers), "--threads", str(self.threads)]
            return [*serve, "--grace", str(self.grace)]
        if self.server == "uwsgi":
            # One process: that it answers shows that all have loaded, and none is stopped early.
            return [
                *(str(BIN / "uwsgi"), "--http-socket", f"{HOST}:{self.port}", "--master"),
                # A worker that does not end by itself is ended by force after so many seconds.
                *("--worker-reload-mercy", "5"),
                *("--processes", "1", "--threads", "8", "--lazy-apps", "--die-on-term"),
                *("--chunked-input-limit", "8388608", "--buffer-size", "32768"),
                *("--module", "imsgate.wsgi_app:application"),
            ]
        module = f"tests.functional.serve_{self.server}"
        return [sys.executable, "-m", module, str(self.port)]

    def _env(self) -> dict[str, str]:
        return clean_env(
            self.directory,
            IMSGATE_PASTE=str(INI),
            IMSGATE_CONFIG_FILE=str(self.config),
            IMSGATE_STATE=str(self.state),
            PYTHONPATH=str(ROOT),
            PYTHONWARNINGS="error::ResourceWarning",
        )

    def _prepare(self) -> None:
        """What ``imsgate serve`` does by itself."""
        self.state.mkdir(exist_ok=True)
        self.token()
        make_database(self.state, self.config)

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended: {self.log_text()}"
        try:
            return self.call("GET", "/healthcheck", token=None).status == 200
        except OSError:
            return False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        assert self.process is not None
        self.process.terminate()

    def wait(self) -> int:
        """Its exit status, once it has ended, and every process of it."""
        assert self.process is not None
        status = self.process.wait(PATIENCE)
        eventually(lambda: not self.pids(), "no process is left")
        return status

    def stop(self) -> None:
        """End it in peace, and check what it said."""
        if self.running:
            self.terminate()
            try:
                self.wait()
            finally:
                self.kill()
        self.check_log()

    def kill(self) -> None:
        """kill -9, all of its processes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()

    def pids(self) -> list[int]:
        """Every process of it that lives."""
        assert self.process is not None
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # pid (name) state ppid pgrp …; a name may hold anything.
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return found

    def open_files(self) -> list[str]:
        """What all of its descriptors point at."""
        found = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        found.append(os.readlink(fd))
        return found

    # What it says

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check_log(self, *, traceback: bool = False) -> None:
        """Fails on a traceback (or on the lack of one) since the last check."""
        text = self.log_text()[self._checked :]
        self._checked += len(text)
        assert ("Traceback" in text) is traceback, text[-8000:]

    def access(self, answer: Answer) -> dict[str, int]:
        """``status``, ``in`` and ``out`` of the access log for an answer."""
        request_id = re.escape(answer.headers["X-Openstack-Request-Id"])
        line = re.compile(rf"{request_id}.* status: (\d+) in: (\d+) out: (\d+) time: ")
        found = eventually(lambda: line.search(self.log_text()), "the access log has it")
        return dict(zip(("status", "in", "out"), map(int, found.groups()), strict=True))

    # What it serves

    def token(self, project: str = "demo", roles: Sequence[str] = ("member", "reader")) -> str:
        """A token of that project, made once. ``roles`` hold what ``imsgate token add`` takes."""
        key = (project, ",".join(roles))
        if key not in self._tokens:
            path = str(self.state / "tokens")
            user = f"user-of-{project}"
            self._tokens[key] = token_file.add(path, user=user, project=project, roles=roles)
        return self._tokens[key]

    @property
    def admin(self) -> str:
        return self.token("admin", ("admin", "member"))

    def connect(self, seconds: float = PATIENCE) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=seconds)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own.

        ``body`` is bytes, an iterable of bytes (chunked), or what becomes JSON;
        ``token`` is a member's of project ``demo`` unless given, None for none.
        """
        fields = dict(headers or {})
        if token is not None:
            fields.setdefault("X-Auth-Token", token or self.token())
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            fields.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            # A server may answer and close before it has read all: as clients do, look.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, fields)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def create(self, *, token: str = "", **fields: Any) -> str:
        """A new image record, raw unless said otherwise; its id."""
        record = {
            "name": secrets.token_hex(8),
            "disk_format": "raw",
            "container_format": "bare",
            **fields,
        }
        answer = self.call("POST", "/v2/images", record, token=token)
        assert answer.status == 201, answer.body
        return str(answer.json["id"])

    def upload(
        self, image_id: str, body: Any, *, token: str = "", headers: dict[str, str] | None = None
    ) -> Answer:
        fields = {"Content-Type": "application/octet-stream", **(headers or {})}
        path = f"/v2/images/{image_id}/file"
        return self.call("PUT", path, body, token=token, headers=fields)

    def stored(self, body: bytes, **fields: Any) -> str:
        """A new active image with this data; its id."""
        image_id = self.create(**fields)
        assert self.upload(image_id, body).status == 204
        return image_id

    def show(self, image_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/v2/images/{image_id}", token=self.admin)
        assert answer.status == 200, answer.body
        record: dict[str, Any] = answer.json
        return record

    def status(self, image_id: str) -> str:
        return str(self.show(image_id)["status"])

    def download(self, image_id: str, **headers: str) -> Answer:
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.call("GET", f"/v2/images/{image_id}/file", token=self.admin, headers=fields)

    def residue(self, image_id: str = "") -> list[str]:
        """Every file of an image, or of any, in the stores, unfinished ones included."""
        return [
            str(path)
            for path in self.state.rglob(f"*{image_id}*")
            if path.is_file() and path.parent != self.state
        ]

    def assert_untouched(self, image_id: str) -> None:
        """What must hold after every refused or broken upload."""
        eventually(
            lambda: self.status(image_id) == "queued" and not self.residue(image_id),
            f"image {image_id} is queued again and nothing is left",
        )


@contextlib.contextmanager
def serving(gateway: Any) -> Iterator[Any]:
    """The gateway, started; stopped at the end and its log checked, whatever came between."""
    try:
        yield gateway.start()
    except BaseException:
        if gateway.running:
            gateway.kill()
        raise
    gateway.stop()
