"""Compares a web-download with curl: the same server, the same file system, in turn.

    python benchmarks/web_download.py [--runs 5] [--mib 512] [--store DIR] [--algorithm sha256]
                                      [--checksum none]

imsgate's part is what the job does: connection, inspection, digests, file store with fsync. curl
writes a file, and then it is synced. Prints medians, and the ratios within each round.
"""

import argparse
import contextlib
import functools
import http.server
import multiprocessing
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from imsgate import hashing
from imsgate.config import Config
from imsgate.http.body import Limit, Tapped
from imsgate.inspection import InspectionSettings, shared
from imsgate.sources import uris, web
from imsgate.stores.filesystem import FilesystemStore
from imsgate.transfer.copy import write

MIB = 1 << 20


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files with sendfile, so that the server is not what is measured."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        self.connection.sendfile(source)

    def log_message(self, *_: Any) -> None:
        pass


def serve(directory: pathlib.Path, ports: Any) -> None:
    handler = functools.partial(Handler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    ports.send(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def serving(directory: pathlib.Path) -> Iterator[int]:
    """A server in a process of its own; yields its port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(directory, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def measured(work: Callable[[], object], who: int) -> tuple[float, float]:
    """The seconds and the CPU seconds that ``work`` takes."""

    def cpu() -> float:
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime

    began, used = time.monotonic(), cpu()
    work()
    return time.monotonic() - began, cpu() - used


def curl(url: str, path: pathlib.Path) -> None:
    subprocess.run(["curl", "-fsS", "-o", path, url], check=True)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    path.unlink()


class Importer:
    """What a job does for a web-download."""

    def __init__(self, place: pathlib.Path, algorithms: hashing.RecordAlgorithms) -> None:
        conf = place / "conf"
        conf.write_text(
            "[import_filtering_opts]\nallowed_ports = []\n"
            "[web_download]\nallowed_networks = 127.0.0.1/32\n"
        )
        config = Config([str(conf)], state_path=str(place))
        self._web = web.Web(config.read(uris.UriSettings), config.read(web.WebSettings))
        self._inspector = shared(config.read(InspectionSettings))
        self._algorithms = algorithms
        section = {str(opt.dest): opt.default for opt in FilesystemStore.OPTS}
        section["filesystem_store_datadir"] = str(place / "images")
        self._store = FilesystemStore("files", _section(section))
        self._store.mark()

    def download(self, url: str) -> None:
        with self._web.download(url, None, time.sleep, lambda: None) as download:
            body = Tapped(download, download.size)
            body.join(Limit(1 << 40))
            body.join(self._inspector.begin(None))
            key = "00000000-0000-4000-8000-000000000000.1"
            fields = write(
                self._store,
                self._store.create(key, download.size),
                body,
                size=download.size,
                algorithms=self._algorithms,
                check=lambda: None,
                complete=lambda _: {},
            )
        self._store.delete(fields["locations"][0].url)


def _section(values: dict[str, Any]) -> Any:
    return argparse.Namespace(**values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--store", type=pathlib.Path, default="/dev/shm")
    parser.add_argument("--algorithm", default="sha256")
    parser.add_argument("--checksum", choices=("md5", "none"), default="none")
    args = parser.parse_args()
    checksum = None if args.checksum == "none" else args.checksum
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as inputs,
        tempfile.TemporaryDirectory(dir=args.store, prefix="bench-") as outputs,
        serving(pathlib.Path(inputs)) as port,
    ):
        pathlib.Path(inputs, "image").write_bytes(os.urandom(args.mib * MIB))
        url, place = f"http://127.0.0.1:{port}/image", pathlib.Path(outputs)
        importer = Importer(place, hashing.RecordAlgorithms(args.algorithm, checksum))
        rounds = []
        for _ in range(args.runs):
            by_curl = measured(lambda: curl(url, place / "copy"), resource.RUSAGE_CHILDREN)
            ours = measured(lambda: importer.download(url), resource.RUSAGE_SELF)
            rounds.append((by_curl, ours))
    gib = args.mib / 1024
    for name, index in (("curl", 0), ("imsgate", 1)):
        seconds = statistics.median(each[index][0] for each in rounds)
        cpu = statistics.median(each[index][1] for each in rounds)
        print(f"{name:8} {args.mib * 1.048576 / seconds:7.0f} MB/s {cpu / gib:6.2f} CPU s/GiB")
    speed = statistics.median(by_curl[0] / ours[0] for by_curl, ours in rounds)
    print(f"imsgate / curl: {speed:.2f} of the speed")


if __name__ == "__main__":
    main()
