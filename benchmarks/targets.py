"""The servers that are compared, and what they use while they work."""

import contextlib
import http.client
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import memory

HERE = pathlib.Path(__file__).parent
RECORD = {"name": "bench", "disk_format": "raw", "container_format": "bare"}


class Target:
    """A server that runs. Below ``root`` are all its processes."""

    def __init__(self, name: str, url: str, root: int, headers: Mapping[str, str]) -> None:
        self.name = name
        self.headers = dict(headers)
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._root = root

    #: Whether there are records, or only data.
    records = True

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=600)

    def call(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None
    ) -> bytes:
        headers = {**self.headers, "Content-Type": "application/json"} if body else self.headers
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        found = response.read()
        if response.status >= 400:
            raise SystemExit(f"{self.name}: {method} {path}: {response.status} {found[:300]!r}")
        return found

    def create(self, connection: http.client.HTTPConnection) -> str:
        """The path of a new image."""
        made = self.call(connection, "POST", "/v2/images", RECORD)
        return f"/v2/images/{json.loads(made)['id']}"

    def delete(self, connection: http.client.HTTPConnection, path: str) -> None:
        self.call(connection, "DELETE", path)

    def pids(self) -> list[int]:
        found, waiting = [], [self._root]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
        return found

    def cpu(self) -> float:
        """CPU seconds of all its processes so far, to the nanosecond."""
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)
        return total

    def anonymous(self) -> float:
        """Memory in MiB of all its processes; what they share is counted once, files never."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    total += int(line.split()[1]) if line.startswith("Pss_Anon") else 0
        return total / 1024


class Floor(Target):
    """Has data under any name."""

    records = False
    _count = 0

    def create(self, connection: http.client.HTTPConnection) -> str:
        Floor._count += 1
        return f"/{Floor._count}"

    def delete(self, connection: http.client.HTTPConnection, path: str) -> None:
        self.call(connection, "DELETE", f"{path}/file")


class Peak:
    """The most memory of a target while the block runs, in MiB."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.mib = 0.0

    def _look(self) -> None:
        while not self._done.wait(0.2):
            self.mib = max(self.mib, self._target.anonymous())

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@contextlib.contextmanager
def running(command: list[str], log: pathlib.Path, **env: str) -> Iterator[int]:
    """A server's first process, which ends with the block."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **env})
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def await_(target: Target, log: pathlib.Path) -> None:
    """Returns when it takes connections. Raises SystemExit with its log when it never does."""
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), contextlib.closing(target.connect()) as connection:
            connection.connect()
            return
        if time.monotonic() > deadline:
            raise SystemExit(log.read_text())
        time.sleep(0.05)


@contextlib.contextmanager
def imsgate(place: pathlib.Path, workers: int, algorithm: str) -> Iterator[Target]:
    """``imsgate serve``, its database and its images below ``place``."""
    port = memory.free_port()
    (place / "conf").write_text(f"[upload]\nhashing_algorithm = {algorithm}\n")
    run = [sys.executable, "-m", "imsgate.cmd.main"]
    state = ["--state", str(place), "--config-file", str(place / "conf")]
    # As Glance's has been: what making the tables takes is not measured.
    subprocess.run([*run, "db", "upgrade", *state], check=True, stdout=subprocess.DEVNULL)
    command = [*run, "serve", *state, "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    log = place / "log"
    with running(command, log) as pid:
        target = Target("imsgate", f"http://127.0.0.1:{port}", pid, {})
        await_(target, log)
        target.headers["X-Auth-Token"] = (place / "admin-token").read_text().strip()
        yield target


@contextlib.contextmanager
def floor(place: pathlib.Path, workers: int, algorithm: str) -> Iterator[Target]:
    """``floor.py`` on the same server, set up the same way."""
    port = memory.free_port()
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(HERE), "-k", "gthread"]
    command += ["--threads", "128", "-w", str(workers), "-b", f"127.0.0.1:{port}", "floor:app"]
    log = place / "log"
    with running(command, log, FLOOR=str(place), FLOOR_ALGORITHM=algorithm) as pid:
        target = Floor("floor", f"http://127.0.0.1:{port}", pid, {})
        await_(target, log)
        yield target
