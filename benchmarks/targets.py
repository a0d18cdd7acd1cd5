"""The servers that are compared, and the resources that they use."""

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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import memory

BENCHMARKS = pathlib.Path(__file__).parent
START_TIMEOUT_SECONDS = 120
RECORD = {"name": "bench", "disk_format": "raw", "container_format": "bare"}


class Target:
    """A running server. ``root`` is the PID of its first process, the parent of all others."""

    #: Whether the server has image records. If not, it only stores data.
    has_records = True

    def __init__(self, name: str, url: str, root: int, headers: Mapping[str, str]) -> None:
        self.name = name
        self.headers = dict(headers)
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._root = root

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=600)

    def call(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None
    ) -> bytes:
        """Send a request and return the response body. Exits if the status is 400 or above."""
        headers = {**self.headers, "Content-Type": "application/json"} if body else self.headers
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise SystemExit(f"{self.name}: {method} {path}: {response.status} {content[:300]!r}")
        return content

    def create(self, connection: http.client.HTTPConnection) -> str:
        """Create an image and return its path."""
        image = json.loads(self.call(connection, "POST", "/v2/images", RECORD))
        return f"/v2/images/{image['id']}"

    def delete(self, connection: http.client.HTTPConnection, path: str) -> None:
        self.call(connection, "DELETE", path)

    def pids(self) -> list[int]:
        """All processes of the server."""
        pids, parents = [], [self._root]
        while parents:
            pid = parents.pop()
            pids.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    parents += map(int, (task / "children").read_text().split())
        return pids

    def cpu_seconds(self) -> float:
        """CPU seconds that all processes have used so far, with a resolution of nanoseconds."""
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)
        return total

    def anonymous_mib(self) -> float:
        """Anonymous memory of all processes in MiB. Shared pages are counted once, files never."""
        return self._memory_mib("Pss_Anon:")

    def resident_mib(self) -> float:
        """Resident memory (RSS) of all processes in MiB. Each counts the pages that it shares."""
        return self._memory_mib("Rss:")

    def _memory_mib(self, field: str) -> float:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    total += int(line.split()[1]) if line.startswith(field) else 0
        return total / 1024


class Floor(Target):
    """The floor (see floor.py), which stores data under any name."""

    has_records = False
    _count = 0

    def create(self, connection: http.client.HTTPConnection) -> str:
        Floor._count += 1
        return f"/{Floor._count}"

    def delete(self, connection: http.client.HTTPConnection, path: str) -> None:
        self.call(connection, "DELETE", f"{path}/file")


class Peak:
    """Measures the peak memory of a target, in MiB, while the block runs."""

    INTERVAL_SECONDS = 0.2

    def __init__(self, target: Target) -> None:
        self._target = target
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.mib = 0.0

    def _sample(self) -> None:
        while not self._done.wait(self.INTERVAL_SECONDS):
            self.mib = max(self.mib, self._target.anonymous_mib())

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@contextlib.contextmanager
def running(command: list[str], log: pathlib.Path, **env: str) -> Iterator[int]:
    """Run a server until the block ends; yields the PID of its first process."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **env})
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def wait_until_up(target: Target, log: pathlib.Path) -> None:
    """Wait until the server accepts connections. After two minutes, exit with its log."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        with contextlib.suppress(OSError), contextlib.closing(target.connect()) as connection:
            connection.connect()
            return
        if time.monotonic() > deadline:
            raise SystemExit(log.read_text())
        time.sleep(0.05)


@contextlib.contextmanager
def imsgate(
    place: pathlib.Path,
    workers: int,
    algorithm: str,
    conf: str = "",
    options: Sequence[str] = (),
) -> Iterator[Target]:
    """``imsgate serve`` with its database and images in the directory ``place``.

    ``conf`` is further configuration, which begins in ``[upload]``; ``options`` are further options
    of the command.
    """
    port = memory.free_port()
    (place / "conf").write_text(f"[upload]\nhashing_algorithm = {algorithm}\n{conf}")
    program = [sys.executable, "-m", "imsgate.cmd.main"]
    state = ["--state", str(place), "--config-file", str(place / "conf")]
    # The time to create the database is not measured, as for Glance.
    subprocess.run([*program, "db", "upgrade", *state], check=True, stdout=subprocess.DEVNULL)
    command = [*program, "serve", *state, "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    command += options
    log = place / "log"
    with running(command, log) as pid:
        target = Target("imsgate", f"http://127.0.0.1:{port}", pid, {})
        wait_until_up(target, log)
        target.headers["X-Auth-Token"] = (place / "admin-token").read_text().strip()
        yield target


@contextlib.contextmanager
def floor(place: pathlib.Path, workers: int, algorithm: str, checksum: str) -> Iterator[Target]:
    """``floor.py`` on gunicorn, set up like imsgate's."""
    port = memory.free_port()
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(BENCHMARKS), "-k", "gthread"]
    command += ["--threads", "128", "-w", str(workers), "-b", f"127.0.0.1:{port}", "floor:app"]
    log = place / "log"
    digests = " ".join(name for name in (checksum, algorithm) if name != "none")
    with running(command, log, FLOOR=str(place), FLOOR_DIGESTS=digests) as pid:
        target = Floor("floor", f"http://127.0.0.1:{port}", pid, {})
        wait_until_up(target, log)
        yield target
