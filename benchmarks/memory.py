"""Peak memory of a worker for a small and for a large image.

    python benchmarks/memory.py [--small MIB] [--large MIB]

Starts `imsgate serve` with one worker on a free port and a temporary state directory, uploads and
downloads an image of each size, and prints the worker's peak resident memory (VmHWM, reset before
each image) and its CPU seconds per GiB.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

MIB = 1 << 20
START_TIMEOUT_SECONDS = 30
BLOCK = os.urandom(MIB)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def gateway(state: str, *options: str) -> Iterator[tuple[int, int]]:
    """Run a server until the block ends; yields its port and the PID of its worker."""
    port = free_port()
    command = [sys.executable, "-m", "imsgate.cmd.main", "serve", "--state", state, *options]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "1"]
    with open(os.path.join(state, "log"), "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            with contextlib.suppress(OSError):
                call(port, "GET", "/healthcheck")
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(pathlib.Path(state, "log").read_text())
            time.sleep(0.05)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        yield port, int(children.read_text().split()[0])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def call(port: int, method: str, path: str, token: str = "", **options: object) -> bytes:
    """Send a request and return the response body; image data is read and dropped.

    ``options`` are those of ``HTTPConnection.request``. Exits if the status is 400 or above.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    headers = {"X-Auth-Token": token, **options.pop("headers", {})}  # type: ignore[dict-item]
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers, **options)  # type: ignore[arg-type]
        response = connection.getresponse()
        if response.status >= 400:
            raise SystemExit(f"{method} {path}: {response.status} {response.read()!r}")
        if not path.endswith("/file"):
            return response.read()
        while response.read(MIB):
            pass
        return b""


def reset_peak(pid: int) -> None:
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """The peak resident memory of a process in MiB since :func:`reset_peak`."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def cpu_seconds(pid: int) -> float:
    """The CPU seconds that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port: int, pid: int, token: str, mib: int) -> float:
    """Upload and download an image of ``mib`` MiB; print the costs, return the peak in MiB."""
    record = {"disk_format": "raw", "container_format": "bare"}
    image = json.loads(call(port, "POST", "/v2/images", token, body=json.dumps(record)))
    path = f"/v2/images/{image['id']}"
    reset_peak(pid)
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(mib * MIB)}
    start = cpu_seconds(pid)
    body = (BLOCK for _ in range(mib))
    call(port, "PUT", f"{path}/file", token, body=body, headers=headers)
    uploaded = cpu_seconds(pid)
    call(port, "GET", f"{path}/file", token)
    downloaded, peak = cpu_seconds(pid), peak_mib(pid)
    call(port, "DELETE", path, token)
    gib = mib / 1024
    print(
        f"{mib:6} MiB: peak {peak:6.1f} MiB, upload {(uploaded - start) / gib:5.2f} and "
        f"download {(downloaded - uploaded) / gib:5.2f} CPU s/GiB"
    )
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=64, help="MiB (default: %(default)s)")
    parser.add_argument("--large", type=int, default=4096, help="MiB (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as state, gateway(state) as (port, pid):
        token = pathlib.Path(state, "admin-token").read_text().strip()
        small = measure(port, pid, token, args.small)
        large = measure(port, pid, token, args.large)
    print(f"difference: {large - small:.1f} MiB")


if __name__ == "__main__":
    main()
