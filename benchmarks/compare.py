"""imsgate beside Glance and beside the floor, in turn, in one run.

    python benchmarks/compare.py [--runs 5] [--mib 256] [--images 1000] [--store DIR] [--only WORK]

Every round lets each server do the same work once, so that what else the machine does
falls on all; medians are over the rounds. Only ratios of one run mean anything. The stores
are in memory (/dev/shm) unless --store names a directory: for durable figures, one on a disk.
Glance takes part where GLANCE_VENV says where it is installed; see glance.py.
Prints a table and writes benchmarks/out/latest.json, with matplotlib also latest.png.
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
#: Bytes of a chunk of a chunked body; uWSGI takes no larger one unless told to.
CHUNK = 1 << 19

#: What a server without records can do, too.
OF_DATA = frozenset(
    {"upload", "upload, chunked", "8 uploads", "64 uploads", "download", "last 64 MiB"}
)

Figures = dict[str, float]
Work = Callable[[Target], Figures]


def put(target: Target, path: str, data: pathlib.Path, chunked: bool) -> tuple[float, float]:
    """Upload a file; the seconds that took, and those from its last byte to the answer."""
    size, began = data.stat().st_size, time.monotonic()
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    lines = [f"PUT {path}/file HTTP/1.1", f"Host: {target.host}", framing]
    lines += ["Content-Type: application/octet-stream", "Connection: close"]
    lines += [f"{name}: {text}" for name, text in target.headers.items()]
    with socket.create_connection((target.host, target.port)) as connection, open(data, "rb") as f:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        for offset in range(0, size if chunked else 0, CHUNK):
            count = min(CHUNK, size - offset)
            connection.sendall(b"%x\r\n" % count)
            connection.sendfile(f, offset, count)
            connection.sendall(b"\r\n")
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.sendfile(f)
        sent = time.monotonic()
        answer = connection.recv(1 << 16)
        if answer[9:10] != b"2":
            raise OSError(f"{target.name}: PUT {path}/file: {answer[:300]!r}")
        ended = time.monotonic()
        return ended - began, ended - sent


def tried(path: str, **how: Any) -> tuple[float, float] | None:
    """As :func:`put`; None for an upload that failed: not every server takes 64 at once."""
    try:
        return put(path=path, **how)
    except OSError:
        return None


@contextlib.contextmanager
def measured(target: Target, figures: Figures) -> Iterator[Callable[[int], None]]:
    """Rate and CPU of moving as many bytes as the block tells what it is given."""
    moved: list[int] = []
    cpu, began = target.cpu(), time.monotonic()
    yield moved.append
    seconds, used, size = time.monotonic() - began, target.cpu() - cpu, sum(moved)
    figures["MB/s"] = size / 1e6 / seconds
    figures["CPU s/GiB"] = used * GIB / max(size, 1)


@contextlib.contextmanager
def images(target: Target, count: int) -> Iterator[list[str]]:
    """The paths of new images, which are deleted in the end."""
    with contextlib.closing(target.connect()) as connection:
        paths = [target.create(connection) for _ in range(count)]
    yield paths
    with contextlib.closing(target.connect()) as connection:
        for path in paths:
            target.delete(connection, path)


def upload(data: pathlib.Path, count: int, chunked: bool, target: Target) -> Figures:
    """``count`` uploads at once."""
    figures: Figures = {}
    with images(target, count) as paths:
        with (
            concurrent.futures.ThreadPoolExecutor(count) as pool,
            targets.Peak(target) as peak,
            measured(target, figures) as moved,
        ):
            one = functools.partial(tried, target=target, data=data, chunked=chunked)
            ended = [times for times in pool.map(one, paths) if times is not None]
            moved(data.stat().st_size * len(ended))
        figures["answer s"] = max((answer for _, answer in ended), default=0.0)
        figures["peak MiB"] = peak.mib
        figures["failed"] = count - len(ended)
        if count > 1 and ended:
            took = [whole for whole, _ in ended]
            figures["slowest/median"] = max(took) / statistics.median(took)
    return figures


def download(data: pathlib.Path, tail: int | None, target: Target) -> Figures:
    """All of an image, or its last ``tail`` bytes."""
    figures: Figures = {}
    size = data.stat().st_size
    with images(target, 1) as (path,), contextlib.closing(target.connect()) as connection:
        put(target, path, data, chunked=False)
        headers = {**target.headers, **({"Range": f"bytes={size - tail}-"} if tail else {})}
        buffer, left = bytearray(MIB), tail or size
        with measured(target, figures) as moved:
            connection.request("GET", f"{path}/file", headers=headers)
            response = connection.getresponse()
            while count := response.readinto(buffer):
                left -= count
                moved(count)
        if left:
            raise SystemExit(f"{target.name}: {left} bytes of a download are missing")
    return figures


def beside_slow_clients(count: int, calls: int, target: Target) -> Figures:
    """Small calls while so many clients upload 50 bytes a second, ten seconds at most."""
    with images(target, count + 1) as (path, *slowly), slow.clients(target, slowly, seconds=10):
        # So that each has its thread or process by now; a call that asked would be what waits.
        time.sleep(1)
        seconds = []
        for _ in range(calls):
            began = time.monotonic()
            with contextlib.closing(target.connect()) as connection:
                target.call(connection, "GET", path)
            seconds.append(time.monotonic() - began)
    return {"longest ms": max(seconds) * 1e3, "p50 ms": statistics.median(seconds) * 1e3}


def small(
    kind: str, count: int, records: int, paths: dict[str, list[str]], target: Target
) -> Figures:
    """One kind of call, again and again on one connection, where there are so many records."""
    mine = paths.setdefault(target.name, [])
    seconds = []
    with contextlib.closing(target.connect()) as connection:
        while len(mine) < records:
            mine.append(target.create(connection))
        calls: dict[str, Callable[[], object]] = {
            "create": lambda: mine.append(target.create(connection)),
            "show": lambda: target.call(connection, "GET", random.choice(mine)),
            "page of 25": lambda: target.call(connection, "GET", "/v2/images?limit=25"),
            "list of 1000": lambda: target.call(connection, "GET", "/v2/images?limit=1000"),
        }
        cpu = target.cpu()
        for _ in range(count):
            began = time.monotonic()
            calls[kind]()
            seconds.append(time.monotonic() - began)
        used = target.cpu() - cpu
    return {"p50 ms": statistics.median(seconds) * 1e3, "CPU ms": used / count * 1e3}


def works(data: pathlib.Path, eighth: pathlib.Path, images: int, runs: int) -> dict[str, Work]:
    tail = min(64 * MIB, data.stat().st_size // 2)
    paths: dict[str, list[str]] = {}
    counts = {"show": 200, "page of 25": 100, "list of 1000": 5}
    return {
        "upload": functools.partial(upload, data, 1, False),
        "upload, chunked": functools.partial(upload, data, 1, True),
        # As many bytes in all.
        "8 uploads": functools.partial(upload, data, 8, False),
        "64 uploads": functools.partial(upload, eighth, 64, False),
        "download": functools.partial(download, data, None),
        "last 64 MiB": functools.partial(download, data, tail),
        "create": functools.partial(small, "create", -(-images // runs), 0, paths),
        **{kind: functools.partial(small, kind, n, images, paths) for kind, n in counts.items()},
        "show, 4 slow uploads": functools.partial(beside_slow_clients, 4, 20),
    }


def rounds(work: dict[str, Work], servers: list[Target], runs: int) -> report.Results:
    """Figures of every round, by work and server."""
    results: report.Results = {name: {} for name in work}
    for name, one in work.items():
        for number in range(runs):
            print(f"\r\033[K{name}, round {number + 1} of {runs}", end="", flush=True)
            for target in servers:
                if target.records or name in OF_DATA:
                    results[name].setdefault(target.name, []).append(one(target))
    print("\r\033[K", end="")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=256, help="of an image (default: %(default)s)")
    parser.add_argument("--images", type=int, default=1000, help="records (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", type=pathlib.Path, default="/dev/shm", help="where images go")
    parser.add_argument("--algorithm", default="sha512", help="imsgate's and the floor's")
    parser.add_argument("--only", nargs="+", metavar="WORK", help="such as upload or create")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=args.store, prefix="bench-"))
        )
        for name in ("imsgate", "floor", "glance"):
            (place / name).mkdir()
        found = [
            stack.enter_context(targets.imsgate(place / "imsgate", args.workers, args.algorithm)),
            stack.enter_context(targets.floor(place / "floor", args.workers, args.algorithm)),
            stack.enter_context(glance.running(place / "glance")),
        ]
        servers = [server for server in found if server is not None]
        # In memory, whatever the store: the clients are not what is measured.
        inputs = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-"))
        )
        data, eighth = inputs / "whole", inputs / "eighth"
        data.write_bytes(os.urandom(args.mib * MIB))
        eighth.write_bytes(os.urandom(args.mib * MIB // 8))
        work = works(data, eighth, args.images, args.runs)
        chosen = {name: one for name, one in work.items() if name in (args.only or work)}
        report.show(rounds(chosen, servers, args.runs), vars(args))


if __name__ == "__main__":
    main()
