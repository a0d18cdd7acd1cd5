"""Compares imsgate with Glance and with the floor (see floor.py).

    python benchmarks/compare.py [--runs 5] [--mib 256] [--images 1000] [--store DIR] [--only WORK]

In each round, each server does the same work once, so that other load of the machine affects all
of them. Medians are over the rounds. Only the ratios of one run are comparable. Images are in
memory (/dev/shm) by default; set --store to a directory on a disk to include durable writes.
Glance takes part if GLANCE_VENV says where it is installed; see glance.py.
Prints a table and writes benchmarks/out/latest.json, and with matplotlib also latest.png.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import os
import pathlib
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import glance
import report
import slow
import targets
from targets import Target

MIB, GIB = 1 << 20, 1 << 30
#: Size of a chunk of a chunked request body; uWSGI accepts no larger one by default.
CHUNK_BYTES = 1 << 19

#: Work that needs no image records.
DATA_WORK = frozenset(
    {"upload", "upload, chunked", "8 uploads", "64 uploads", "download", "last 64 MiB"}
)

Figures = dict[str, float]
"""Results by unit."""
Work = Callable[[Target], Figures]


def put(target: Target, path: str, data: pathlib.Path, chunked: bool) -> tuple[float, float]:
    """Upload the file ``data``.

    Returns the seconds of the whole request, and those from its last byte to the response. Raises
    OSError if the upload fails.
    """
    size, start = data.stat().st_size, time.monotonic()
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    lines = [f"PUT {path}/file HTTP/1.1", f"Host: {target.host}", framing]
    lines += ["Content-Type: application/octet-stream", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in target.headers.items()]
    with (
        socket.create_connection((target.host, target.port)) as connection,
        open(data, "rb") as file,
    ):
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        for offset in range(0, size if chunked else 0, CHUNK_BYTES):
            length = min(CHUNK_BYTES, size - offset)
            connection.sendall(b"%x\r\n" % length)
            connection.sendfile(file, offset, length)
            connection.sendall(b"\r\n")
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.sendfile(file)
        sent = time.monotonic()
        response = connection.recv(1 << 16)
        if response[9:10] != b"2":
            raise OSError(f"{target.name}: PUT {path}/file: {response[:300]!r}")
        end = time.monotonic()
        return end - start, end - sent


def try_put(path: str, **arguments: Any) -> tuple[float, float] | None:
    """Like :func:`put`, but None if it fails: not every server accepts 64 uploads at once."""
    try:
        return put(path=path, **arguments)
    except OSError:
        return None


@contextlib.contextmanager
def measured(target: Target, figures: Figures) -> Iterator[Callable[[int], None]]:
    """Add the speed and the CPU time of the block to ``figures``.

    Yields a function that the block calls with the numbers of bytes that it has transferred.
    """
    transferred: list[int] = []
    start_cpu, start = target.cpu_seconds(), time.monotonic()
    yield transferred.append
    seconds, size = time.monotonic() - start, sum(transferred)
    figures["MB/s"] = size / 1e6 / seconds
    figures["CPU s/GiB"] = (target.cpu_seconds() - start_cpu) * GIB / max(size, 1)


@contextlib.contextmanager
def images(target: Target, count: int) -> Iterator[list[str]]:
    """The paths of new images, which are deleted at the end."""
    with contextlib.closing(target.connect()) as connection:
        paths = [target.create(connection) for _ in range(count)]
    yield paths
    with contextlib.closing(target.connect()) as connection:
        for path in paths:
            target.delete(connection, path)


def upload(data: pathlib.Path, count: int, chunked: bool, target: Target) -> Figures:
    """Run ``count`` uploads at once."""
    figures: Figures = {}
    with images(target, count) as paths:
        with (
            concurrent.futures.ThreadPoolExecutor(count) as pool,
            targets.Peak(target) as peak,
            measured(target, figures) as add_bytes,
        ):
            put_data = functools.partial(try_put, target=target, data=data, chunked=chunked)
            succeeded = [times for times in pool.map(put_data, paths) if times is not None]
            add_bytes(data.stat().st_size * len(succeeded))
        figures["response s"] = max((response for _, response in succeeded), default=0.0)
        figures["peak MiB"] = peak.mib
        figures["failed"] = count - len(succeeded)
        if count > 1 and succeeded:
            seconds = [whole for whole, _ in succeeded]
            figures["slowest/median"] = max(seconds) / statistics.median(seconds)
    return figures


def download(data: pathlib.Path, tail_bytes: int | None, target: Target) -> Figures:
    """Download a whole image, or its last ``tail_bytes``."""
    figures: Figures = {}
    size = data.stat().st_size
    with images(target, 1) as (path,), contextlib.closing(target.connect()) as connection:
        put(target, path, data, chunked=False)
        headers = dict(target.headers)
        if tail_bytes:
            headers["Range"] = f"bytes={size - tail_bytes}-"
        buffer, remaining = bytearray(MIB), tail_bytes or size
        with measured(target, figures) as add_bytes:
            connection.request("GET", f"{path}/file", headers=headers)
            response = connection.getresponse()
            while length := response.readinto(buffer):
                remaining -= length
                add_bytes(length)
        if remaining:
            raise SystemExit(f"{target.name}: {remaining} bytes of a download are missing")
    return figures


def show_during_slow_uploads(uploads: int, calls: int, target: Target) -> Figures:
    """Show an image while clients upload 50 bytes per second, for 10 seconds at most."""
    with (
        images(target, uploads + 1) as (path, *slow_paths),
        slow.clients(target, slow_paths, seconds=10),
    ):
        # Until each upload has its thread or process; otherwise the call itself could get it.
        time.sleep(1)
        seconds = []
        for _ in range(calls):
            start = time.monotonic()
            with contextlib.closing(target.connect()) as connection:
                target.call(connection, "GET", path)
            seconds.append(time.monotonic() - start)
    return {"longest ms": max(seconds) * 1e3, "p50 ms": statistics.median(seconds) * 1e3}


def small_calls(
    kind: str, count: int, records: int, paths_by_server: dict[str, list[str]], target: Target
) -> Figures:
    """Repeat one kind of call on one connection, with at least ``records`` images."""
    paths = paths_by_server.setdefault(target.name, [])
    seconds = []
    with contextlib.closing(target.connect()) as connection:
        while len(paths) < records:
            paths.append(target.create(connection))
        calls: dict[str, Callable[[], object]] = {
            "create": lambda: paths.append(target.create(connection)),
            "show": lambda: target.call(connection, "GET", random.choice(paths)),
            "page of 25": lambda: target.call(connection, "GET", "/v2/images?limit=25"),
            "list of 1000": lambda: target.call(connection, "GET", "/v2/images?limit=1000"),
        }
        start_cpu = target.cpu_seconds()
        for _ in range(count):
            start = time.monotonic()
            calls[kind]()
            seconds.append(time.monotonic() - start)
        cpu_seconds = target.cpu_seconds() - start_cpu
    return {"p50 ms": statistics.median(seconds) * 1e3, "CPU ms": cpu_seconds / count * 1e3}


def all_work(data: pathlib.Path, eighth: pathlib.Path, images: int, runs: int) -> dict[str, Work]:
    """The work of one round, by name. ``eighth`` is a file of an eighth of the size of ``data``."""
    tail_bytes = min(64 * MIB, data.stat().st_size // 2)
    paths: dict[str, list[str]] = {}
    counts = {"show": 200, "page of 25": 100, "list of 1000": 5}
    return {
        "upload": functools.partial(upload, data, 1, False),
        "upload, chunked": functools.partial(upload, data, 1, True),
        # These two transfer the same number of bytes in total.
        "8 uploads": functools.partial(upload, data, 8, False),
        "64 uploads": functools.partial(upload, eighth, 64, False),
        "download": functools.partial(download, data, None),
        "last 64 MiB": functools.partial(download, data, tail_bytes),
        "create": functools.partial(small_calls, "create", -(-images // runs), 0, paths),
        **{
            kind: functools.partial(small_calls, kind, count, images, paths)
            for kind, count in counts.items()
        },
        "show, 4 slow uploads": functools.partial(show_during_slow_uploads, 4, 20),
    }


def run_rounds(work: dict[str, Work], servers: list[Target], runs: int) -> report.Results:
    """The figures of all rounds."""
    results: report.Results = {name: {} for name in work}
    for name, run in work.items():
        for number in range(runs):
            print(f"\r\033[K{name}, round {number + 1} of {runs}", end="", flush=True)
            for target in servers:
                if target.has_records or name in DATA_WORK:
                    results[name].setdefault(target.name, []).append(run(target))
    print("\r\033[K", end="")
    return results


@contextlib.contextmanager
def running_servers(
    store: pathlib.Path, workers: int, algorithm: str, checksum: str
) -> Iterator[list[Target]]:
    """imsgate, the floor and, if installed, Glance, with their files in the directory ``store``."""
    with contextlib.ExitStack() as stack:
        place = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=store, prefix="bench-"))
        )
        for name in ("imsgate", "floor", "glance"):
            (place / name).mkdir()
        conf = f"checksum = {checksum}\n"
        servers = [
            stack.enter_context(targets.imsgate(place / "imsgate", workers, algorithm, conf)),
            stack.enter_context(targets.floor(place / "floor", workers, algorithm, checksum)),
            stack.enter_context(glance.running(place / "glance", algorithm)),
        ]
        yield [server for server in servers if server is not None]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--mib", type=int, default=256, help="size of an image (default: %(default)s)"
    )
    parser.add_argument("--images", type=int, default=1000, help="records (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=2, help="of imsgate and the floor (default: %(default)s)"
    )
    parser.add_argument(
        "--store",
        type=pathlib.Path,
        default="/dev/shm",
        metavar="DIR",
        help="directory for images (default: %(default)s)",
    )
    parser.add_argument(
        "--algorithm",
        default="sha512",
        help="os_hash_algo of all, besides the checksum (default: %(default)s)",
    )
    parser.add_argument(
        "--checksum",
        choices=("md5", "none"),
        default="md5",
        help="checksum of imsgate and the floor; Glance always has md5 (default: %(default)s)",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="WORK", help="such as upload or create (default: all)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    with (
        running_servers(args.store, args.workers, args.algorithm, args.checksum) as servers,
        # In memory whatever the store: the clients are not measured.
        tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as inputs,
    ):
        data, eighth = pathlib.Path(inputs, "whole"), pathlib.Path(inputs, "eighth")
        data.write_bytes(os.urandom(args.mib * MIB))
        eighth.write_bytes(os.urandom(args.mib * MIB // 8))
        work = all_work(data, eighth, args.images, args.runs)
        chosen = {name: run for name, run in work.items() if name in (args.only or work)}
        report.show(run_rounds(chosen, servers, args.runs), vars(args))


if __name__ == "__main__":
    main()
