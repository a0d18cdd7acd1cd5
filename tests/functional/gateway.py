"""A gateway: the shipped pipeline with a server process and a state directory of its own."""

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
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from imsgate.auth import token_file
from imsgate.config import Config
from imsgate.services import load_services
from imsgate.stores.mark import MARK
from tests import markers
from tests.functional import programs

ROOT = pathlib.Path(__file__).parent.parent.parent
INI = ROOT / "etc" / "imsgate-paste.ini"
BIN = pathlib.Path(sys.executable).parent
IMSGATE = str(BIN / "imsgate")
HOST = "127.0.0.1"

#: Seconds after which a test gives up. Nothing is expected to take nearly as long.
PATIENCE = 300.0

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Call ``look`` until its value is true, and return it; fail with ``what`` after that time."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.02)
    return value


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
    """An environment without the user's configuration."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    kept["PATH"] = f"{BIN}:{kept.get('PATH', os.defpath)}"
    # stevedore keeps there what is installed, for each sys.path. Otherwise, and if the path began
    # with a directory of the test, every process would look anew, which takes a second.
    kept |= {"XDG_CACHE_HOME": str(BIN.parent / ".cache"), "PYTHONSAFEPATH": "1"}
    return {**kept, "HOME": str(home), "NO_PROXY": "*", **more}


def make_database(state: pathlib.Path, config: pathlib.Path) -> None:
    """Run ``imsgate db upgrade``."""
    command = [IMSGATE, "db", "upgrade", "--state", state, "--config-file", config]
    programs.run(command, clean_env(state.parent), state.parent).check_returncode()


@dataclasses.dataclass(frozen=True)
class Answer:
    """A response with its whole body."""

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
    """One server process. ``server`` says which server runs the shipped Paste file."""

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
        self.process: programs.Server | None = None
        self._tokens: dict[tuple[str, str], str] = {}
        self._checked = 0

    # The process

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> "Gateway":
        """Returns once it responds."""
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
            # With one process, a response shows that all have loaded the application.
            return [
                *(str(BIN / "uwsgi"), "--http-socket", f"{HOST}:{self.port}", "--master"),
                # Seconds after which a worker that does not stop is killed.
                *("--worker-reload-mercy", "5"),
                *("--processes", "1", "--threads", "8", "--lazy-apps", "--die-on-term"),
                *("--chunked-input-limit", "8388608", "--buffer-size", "32768"),
                *("--module", "imsgate.wsgi_app:application"),
            ]
        return [self.server, str(self.port)]

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
        """Prepare what ``imsgate serve`` prepares by itself."""
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
        """Send SIGTERM without waiting."""
        assert self.process is not None
        self.process.terminate()

    def wait(self) -> int:
        """Wait until all of its processes have ended, and return its exit status."""
        assert self.process is not None
        status = self.process.wait(PATIENCE)
        eventually(lambda: not self.pids(), "no process is left")
        return status

    def stop(self) -> None:
        """Terminate it, wait, and check its log."""
        if self.running:
            self.terminate()
            try:
                self.wait()
            finally:
                self.kill()
        self.check_log()

    def kill(self) -> None:
        """Kill all of its processes (SIGKILL)."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()

    def pids(self) -> list[int]:
        """The ids of its running processes."""
        assert self.process is not None
        pids = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # pid (name) state ppid pgrp …; the name may contain any character.
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    pids.append(int(stat.parent.name))
        return pids

    def open_files(self) -> list[str]:
        """The targets of all open file descriptors of its processes."""
        targets = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        targets.append(os.readlink(fd))
        return targets

    # Its log

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check_log(self, *, traceback: bool = False) -> None:
        """Fail if the log has a traceback (or has none) since the last check."""
        text = self.log_text()[self._checked :]
        self._checked += len(text)
        assert ("Traceback" in text) is traceback, text[-8000:]

    def access(self, answer: Answer) -> dict[str, int]:
        """``status``, ``in`` and ``out`` of the access log for a response."""
        request_id = re.escape(answer.headers["X-Openstack-Request-Id"])
        line = re.compile(rf"{request_id}.* status: (\d+) in: (\d+) out: (\d+) time: ")
        match = eventually(
            lambda: line.search(self.log_text()), "the access log contains the request"
        )
        return dict(zip(("status", "in", "out"), map(int, match.groups()), strict=True))

    # Its API

    def token(self, project: str = "demo", roles: Sequence[str] = ("member", "reader")) -> str:
        """A token of that project, created on first use. ``roles`` as for ``imsgate token add``."""
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
        """Create an image record, raw by default, and return its id."""
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
        """Create an active image with this data, and return its id."""
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
        """Every file of this image, or of all images, in the stores, including unfinished ones."""
        elsewhere = (self.state, self.state / "metrics")
        return [
            str(path)
            for path in self.state.rglob(f"*{image_id}*" if image_id else "*")
            if path.is_file() and path.parent not in elsewhere and path.name != MARK
        ]

    def assert_untouched(self, image_id: str) -> None:
        """Check what must hold after every refused or broken upload."""
        eventually(
            lambda: self.status(image_id) == "queued" and not self.residue(image_id),
            f"image {image_id} is queued again and nothing is left",
        )

    def expire_leases(self) -> None:
        """Let every lease run out now, those of living uploads and jobs too, and sweep.

        So no test needs a short lease, which would run out under living uploads on a busy
        machine.
        """
        file = self.state / "imsgate.sqlite"
        with contextlib.closing(sqlite3.connect(file, timeout=PATIENCE)) as db, db:
            db.execute("UPDATE images SET upload_expires = 1 WHERE upload_expires > 1")
            db.execute("UPDATE jobs SET lease = 1 WHERE lease > 1")
        services = load_services(Config([str(self.config)], state_path=str(self.state)))
        services.cleanup.sweep()
        services.registry.close()


def stopped(pid: int) -> bool:
    """Whether a process is paused by SIGSTOP."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@contextlib.contextmanager
def serving(gateway: Any) -> Iterator[Any]:
    """Start the gateway; at the end, stop it and check its log. After an error, kill it."""
    try:
        yield gateway.start()
    except BaseException:
        if gateway.running:
            gateway.kill()
        raise
    gateway.stop()
