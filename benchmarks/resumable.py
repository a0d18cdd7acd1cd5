"""What resumable uploads cost, compared with plain uploads to the same server.

    python benchmarks/resumable.py [--rounds 9] [--mib 512] [--part 64] [--store DIR] [--s3]
                                   [--suspended 10000]

Starts `imsgate serve` with one worker on a free port. In each round, it receives the same image
three times: by a plain PUT, as a resumable upload in one request, and as one in requests of --part
MiB. The order changes from round to round, so that other load of the machine affects all of them.
Prints the medians, and the medians and quartiles of the ratios within each round. 0 rounds omit
this part.

Then --suspended images are begun with 1 KiB each, and the server's memory is printed before and
after. 0 omits this part. Images are in memory (/dev/shm) by default; set --store to a directory on
a disk to include durable writes. --s3 keeps them in SeaweedFS, which runs on that directory.
"""

import argparse
import contextlib
import http.client
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import compare
import s3
import targets
from targets import Target

from tests.stores.s3 import servers

MIB = 1 << 20
KIB = 1 << 10
PLAIN, WHOLE, PARTS = "plain", "one request", "parts"
OCTETS, PARTIAL = "application/octet-stream", "application/partial-upload"
#: Uploads that are suspended before the memory is measured: more than those of which a process
#: keeps something in memory.
WARM_UP_UPLOADS = 200

Figures = dict[str, float]
"""Results by unit."""


class Client:
    """Uploads the file ``data`` over one connection to ``target``."""

    def __init__(self, target: Target, data: pathlib.Path, part_bytes: int) -> None:
        self._target = target
        self._size = data.stat().st_size
        self._part_bytes = part_bytes
        self._data = data

    def upload(self, kind: str, path: str) -> None:
        """Upload to the image ``path``. Exits if that fails."""
        with (
            contextlib.closing(self._target.connect()) as connection,
            open(self._data, "rb") as file,
        ):
            for method, url, start, end, headers in self._requests(kind, path):
                file.seek(start)
                self._send(connection, method, url, file, end - start, headers)

    def _requests(
        self, kind: str, path: str
    ) -> Iterator[tuple[str, str, int, int, dict[str, str]]]:
        """Method, URL, the range of the data and the headers of each request."""
        if kind != PARTS:
            headers = {"Upload-Complete": "?1"} if kind == WHOLE else {}
            yield "PUT", f"{path}/file", 0, self._size, {"Content-Type": OCTETS, **headers}
            return
        for start in range(0, self._size, self._part_bytes):
            end = min(start + self._part_bytes, self._size)
            headers = {"Upload-Complete": "?1" if end == self._size else "?0"}
            if start == 0:
                headers |= {"Upload-Length": str(self._size), "Content-Type": OCTETS}
                yield "PUT", f"{path}/file", start, end, headers
            else:
                headers |= {"Upload-Offset": str(start), "Content-Type": PARTIAL}
                yield "PATCH", f"{path}/upload", start, end, headers

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        file: BinaryIO,
        count: int,
        headers: dict[str, str],
    ) -> None:
        connection.putrequest(method, url)
        headers = {**self._target.headers, **headers, "Content-Length": str(count)}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.sock.sendfile(file, file.tell(), count)
        response = connection.getresponse()
        content = response.read()
        if response.status not in (201, 204):
            raise SystemExit(f"{method} {url}: {response.status} {content[:300]!r}")


def measure(target: Target, client: Client, kind: str) -> Figures:
    """The seconds and the server's CPU seconds of one upload."""
    with compare.images(target, 1) as (path,):
        start_cpu, start = target.cpu_seconds(), time.monotonic()
        client.upload(kind, path)
        seconds, cpu_seconds = time.monotonic() - start, target.cpu_seconds() - start_cpu
    return {"s": seconds, "CPU s": cpu_seconds}


def run_rounds(target: Target, client: Client, rounds: int) -> None:
    """Upload in each way, several times; print medians and ratios."""
    kinds = [PLAIN, WHOLE, PARTS]
    for kind in kinds:
        measure(target, client, kind)  # loads code, and lets files and memory grow
    results: dict[str, list[Figures]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        print(f"\r\033[Kround {number + 1} of {rounds}", end="", flush=True)
        for kind in kinds[number % 3 :] + kinds[: number % 3]:
            results[kind].append(measure(target, client, kind))
    print("\r\033[K", end="")
    for kind, figures in results.items():
        cells = [_cell(figures, results[PLAIN], unit) for unit in ("s", "CPU s")]
        print(f"{kind:12} {'   '.join(cells)}", flush=True)


def _cell(figures: list[Figures], plain: list[Figures], unit: str) -> str:
    median = statistics.median(figure[unit] for figure in figures)
    ratios = [figure[unit] / base[unit] for figure, base in zip(figures, plain, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{median:7.3f} {unit:5} {middle:5.3f} of plain ({low:5.3f} to {high:5.3f})"


def suspend(target: Target, count: int) -> None:
    """Suspend ``count`` uploads; print the server's memory before and after."""
    content = os.urandom(KIB)
    headers = {**target.headers, "Upload-Complete": "?0", "Content-Type": OCTETS}
    with contextlib.closing(target.connect()) as connection:
        paths = [target.create(connection) for _ in range(WARM_UP_UPLOADS + count)]

        def begin(path: str) -> None:
            connection.request("PUT", f"{path}/file", content, headers)
            response = connection.getresponse()
            problem = response.read()
            if response.status != 201:
                raise SystemExit(f"PUT {path}/file: {response.status} {problem[:300]!r}")

        for path in paths[:WARM_UP_UPLOADS]:
            begin(path)
        before, start = target.resident_mib(), time.monotonic()
        for path in paths[WARM_UP_UPLOADS:]:
            begin(path)
        seconds, after = time.monotonic() - start, target.resident_mib()
    print(
        f"{count} suspended uploads: {before:.1f} MiB before, {after:.1f} MiB after, "
        f"{seconds / count * 1e3:.1f} ms each"
    )


@contextlib.contextmanager
def s3_conf(home: pathlib.Path) -> Iterator[str]:
    """The configuration for a bucket of a SeaweedFS that runs in the directory ``home``."""
    with servers.running(servers.seaweed(home)) as server, servers.bucket(server) as bucket:
        yield s3.conf(bucket, server.port)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add: Callable[..., object] = parser.add_argument
    add("--rounds", type=int, default=9, help="0 or at least 2 (default: %(default)s)")
    add("--mib", type=int, default=512, help="size of an image (default: %(default)s)")
    add("--part", type=int, default=64, help="MiB of a request (default: %(default)s)")
    add("--store", default="/dev/shm", metavar="DIR", help="of images (default: %(default)s)")
    add("--s3", action="store_true", help="keep images in SeaweedFS")
    add("--suspended", type=int, default=10000, help="uploads (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    with contextlib.ExitStack() as stack:
        # Inputs are in memory whatever the store: the client is not measured.
        directories = [
            pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=dir, prefix="bench-")))
            for dir in (args.store, args.store, "/dev/shm")
        ]
        place, home, inputs = directories
        (inputs / "data").write_bytes(os.urandom(args.mib * MIB))
        conf = stack.enter_context(s3_conf(home)) if args.s3 else ""
        target = stack.enter_context(targets.imsgate(place, 1, "sha512", conf))
        if args.rounds:
            run_rounds(target, Client(target, inputs / "data", args.part * MIB), args.rounds)
        if args.suspended:
            suspend(target, args.suspended)


if __name__ == "__main__":
    main()
