"""What normal clients notice of idle connections and slow uploads, and what those cost in memory.

    python benchmarks/connections.py [--idle 1000] [--slow 200] [--rate 8192] [--rounds 3]

Starts `imsgate serve` with a thread for each slow upload. In each round, the same calls are made
first beside nothing, then beside --idle connections that send nothing and --slow uploads that send
--rate bytes per second each, which is more than `[pace] minimum_rate`. A process of its own holds
those. Prints medians and their ratios, the server's memory before and during, and the CPU time that
the waiting connections take.
"""

import argparse
import contextlib
import functools
import multiprocessing
import os
import pathlib
import resource
import selectors
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import compare
import report
import targets
from targets import Target

KIB, MIB = 1 << 10, 1 << 20
#: Small enough that a store has room for all of them.
SLOW_BYTES = 4 << 20
#: A slow upload sends one piece in this time.
PIECE_SECONDS = 1.0
#: Seconds until all connections are there.
PATIENCE_SECONDS = 120
#: Seconds during which the CPU time of the waiting connections is measured.
CPU_SECONDS = 5.0

WORKERS, SPARE_THREADS = 2, 32
CONF = "[pace]\nuploads_at_once = {uploads}\n"


class Load:
    """Connections that wait, in one process without threads."""

    def __init__(self, target: Target, paths: Sequence[str], idle: int, piece: bytes) -> None:
        self._target = target
        self._piece = piece
        self._selector = selectors.DefaultSelector()
        self._uploads = {self._connect(self._head(path)): path for path in paths}
        for _ in range(idle):
            self._connect(b"")
        #: Uploads that the server refused or gave up.
        self.lost = 0

    def run(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            end = time.monotonic() + PIECE_SECONDS
            for connection in list(self._uploads):
                with contextlib.suppress(OSError):
                    connection.send(self._piece)
            while (left := end - time.monotonic()) > 0:
                for key, _ in self._selector.select(left):
                    self._end(key.fileobj)

    def _end(self, connection: Any) -> None:
        """The server has closed a connection: idle ones after half a minute."""
        self._selector.unregister(connection)
        connection.close()
        if connection in self._uploads:
            del self._uploads[connection]
            self.lost += 1
        else:
            self._connect(b"")

    def _connect(self, head: bytes) -> socket.socket:
        connection = socket.create_connection((self._target.host, self._target.port))
        connection.sendall(head)
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)
        return connection

    def _head(self, path: str) -> bytes:
        lines = [f"PUT {path}/file HTTP/1.1", f"Host: {self._target.host}"]
        lines += [f"Content-Length: {SLOW_BYTES}", "Content-Type: application/octet-stream"]
        lines += [f"{name}: {text}" for name, text in self._target.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def hold(target: Target, paths: Sequence[str], args: argparse.Namespace, events: Any) -> None:
    """The process of the load. Exits with the number of lost uploads."""
    ready, over = events
    load = Load(target, paths, args.idle, os.urandom(int(args.rate * PIECE_SECONDS)))
    ready.set()
    load.run(over.is_set)
    raise SystemExit(min(load.lost, 255))


@contextlib.contextmanager
def beside(target: Target, paths: Sequence[str], args: argparse.Namespace) -> Iterator[None]:
    """The load, while the block runs."""
    events = (multiprocessing.Event(), multiprocessing.Event())
    process = multiprocessing.Process(target=hold, args=(target, paths, args, events))
    process.start()
    try:
        if not events[0].wait(PATIENCE_SECONDS):
            raise SystemExit("The connections could not be opened")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (begun := transfers(target)) < args.slow:
            if time.monotonic() > deadline:
                raise SystemExit(f"Only {begun} slow uploads have begun")
            time.sleep(0.2)
        yield
    finally:
        events[1].set()
        process.join()
    if process.exitcode:
        raise SystemExit(f"{process.exitcode} slow uploads were refused or ended")


def transfers(target: Target) -> int:
    """The images whose uploads are being received."""
    with contextlib.closing(target.connect()) as connection:
        return target.call(connection, "GET", "/v2/images?limit=1000&status=saving").count(
            b'"saving"'
        )


def calls(target: Target, paths: Sequence[str], data: pathlib.Path) -> dict[str, Callable[[], Any]]:
    """The calls of normal clients, each on a new connection."""

    def call(method: str, path: str) -> None:
        with contextlib.closing(target.connect()) as connection:
            target.call(connection, method, path)

    def upload() -> None:
        with compare.images(target, 1) as (path,):
            compare.put(target, path, data, chunked=False)

    return {
        "show": functools.partial(call, "GET", paths[0]),
        "page of 25": functools.partial(call, "GET", "/v2/images?limit=25"),
        "create, upload 1 MiB, delete": upload,
    }


def measure(works: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Medians in ms."""
    medians = {}
    for name, work in works.items():
        taken = []
        for _ in range(count):
            start = time.monotonic()
            work()
            taken.append(time.monotonic() - start)
        medians[name] = statistics.median(taken) * 1e3
    return medians


def run(target: Target, data: pathlib.Path, args: argparse.Namespace) -> None:
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    memory: list[tuple[float, float]] = []
    shares: list[float] = []
    with compare.images(target, args.slow + 1) as paths:
        works = calls(target, paths, data)
        measure(works, 10)
        for _ in range(args.rounds):
            quiet, before = measure(works, args.calls), target.anonymous_mib()
            with beside(target, paths[1:], args):
                rounds.append((quiet, measure(works, args.calls)))
                memory.append((before, target.anonymous_mib()))
                start = target.cpu_seconds()
                time.sleep(CPU_SECONDS)
                shares.append((target.cpu_seconds() - start) / CPU_SECONDS)
            while transfers(target):  # until the images can be uploaded to again
                time.sleep(0.2)
    print(f"{'ms, medians':32}{'alone':>8}{'beside':>8}{'ratio':>8}")
    ratios = {}
    for name in works:
        pairs = [(quiet[name], busy[name]) for quiet, busy in rounds]
        alone, busy = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios[name] = busy / alone
        print(f"{name:32}{alone:8.2f}{busy:8.2f}{ratios[name]:8.2f}")
    before, during = memory[0]
    each = (during - before) * KIB / (args.slow + args.idle)
    print(f"memory: {before:.1f} MiB, beside them {during:.1f} MiB: {each:.0f} KiB for each")
    report.save("connections", {**ratios, "KiB each": each})
    print(f"CPU without other calls: {statistics.median(shares):.1%} of one processor")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--idle", type=int, default=1000, help="connections (default: %(default)s)")
    parser.add_argument("--slow", type=int, default=200, help="uploads (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=8192, help="bytes per second of each")
    parser.add_argument("--calls", type=int, default=100, help="of each kind and round")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    conf = CONF.format(uploads=args.slow)
    options = ["--threads", str(args.slow + SPARE_THREADS)]
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as place:
        data = pathlib.Path(place, "data")
        data.write_bytes(os.urandom(MIB))
        with targets.imsgate(pathlib.Path(place), WORKERS, "sha512", conf, options) as target:
            run(target, data, args)


if __name__ == "__main__":
    main()
