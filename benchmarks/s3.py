"""The S3 driver, and a whole gateway, beside boto3's own transfer into the same real server.

    python benchmarks/s3.py [--mib 1024 8192] [--slow 20]

Starts SeaweedFS on scratch space (as large as the largest image) and sends and
fetches an image of each size with each, in a process of its own: seconds, CPU
seconds per GiB and peak resident memory of that process. The gateway's is its one
worker, which makes two digests besides; its client runs beside it. Then once more
into a server that takes --slow MiB/s, for which memory must stay as it was.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import memory
from boto3.s3.transfer import TransferConfig

from imsgate.config import Section
from imsgate.stores.s3.store import S3Store
from tests.stores.s3 import servers

MIB = 1 << 20
BLOCK = os.urandom(MIB)
KEY = "12345678-1234-1234-1234-123456789012.0"
PART, THREADS = 10, 4


class Source:
    """A file of so many MiB, as boto3 wants one."""

    def __init__(self, mib: int) -> None:
        self._left = mib * MIB

    def read(self, size: int = -1) -> bytes:
        """Whole blocks joined: what a reader of a socket would be given."""
        wanted = self._left if size < 0 else min(size, self._left)
        self._left -= wanted
        return BLOCK * (wanted // MIB) + BLOCK[: wanted % MIB]


class Sink:
    def write(self, chunk: bytes) -> int:
        return len(chunk)


def boto3_up(bucket: servers.Bucket, mib: int) -> None:
    config = TransferConfig(multipart_chunksize=PART * MIB, max_concurrency=THREADS)
    bucket.client.upload_fileobj(Source(mib), bucket.name, KEY, Config=config)


def boto3_down(bucket: servers.Bucket, mib: int) -> None:
    stream = bucket.client.get_object(Bucket=bucket.name, Key=KEY)["Body"]
    while stream.read(MIB):
        pass


def driver_up(bucket: servers.Bucket, mib: int) -> None:
    with store(bucket).create(KEY, mib * MIB) as sink:
        for _ in range(mib):
            sink.write(BLOCK)
        sink.commit()


def driver_down(bucket: servers.Bucket, mib: int) -> None:
    assert sum(map(len, store(bucket).read(KEY, 0, mib * MIB))) == mib * MIB


def store(bucket: servers.Bucket) -> S3Store:
    changed = {"s3_store_large_object_chunk_size": PART, "s3_store_thread_pools": THREADS}
    return S3Store("bench", Section(**vars(bucket.settings()) | changed))


WAYS: dict[str, Callable[[servers.Bucket, int], None]] = {
    "boto3 up": boto3_up,
    "boto3 down": boto3_down,
    "driver up": driver_up,
    "driver down": driver_down,
}


def child(told: dict[str, Any]) -> None:
    """One transfer; its cost as JSON."""
    home = pathlib.Path(tempfile.gettempdir())
    server = servers.Server("seaweed", home, told["port"], [])
    bucket = servers.Bucket(server, told["bucket"], server.client())
    for mib in (1, told["mib"]):  # the first so that no import is counted
        if told["way"].endswith("up"):
            bucket.client.delete_object(Bucket=bucket.name, Key=KEY)
        start, cpu = time.monotonic(), time.process_time()
        WAYS[told["way"]](bucket, mib)
    cost = {"seconds": time.monotonic() - start, "cpu": time.process_time() - cpu}
    cost["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(cost))


def measure(way: str, mib: int, bucket: servers.Bucket, port: int) -> float:
    told = {"way": way, "mib": mib, "bucket": bucket.name, "port": port}
    command = [sys.executable, __file__, "--child", json.dumps(told)]
    cost = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return tell(way, mib, cost)


def tell(way: str, mib: int, cost: dict[str, float]) -> float:
    """Print what a transfer cost; its seconds."""
    gib = mib / 1024
    print(
        f"{way:12} {mib:6} MiB {cost['seconds']:8.1f} s {mib / cost['seconds']:7.0f} MiB/s"
        f" {cost['cpu'] / gib:6.2f} CPU s/GiB {cost['peak']:6.0f} MiB peak",
        flush=True,
    )
    return float(cost["seconds"])


CONF = """
[DEFAULT]
enabled_backends = cloud:s3
[glance_store]
default_backend = cloud
[cloud]
s3_store_host = http://{host}:{port}
s3_store_access_key = {access}
s3_store_secret_key = {secret}
s3_store_bucket = {bucket}
s3_store_bucket_url_format = path
s3_store_large_object_chunk_size = {part}
s3_store_thread_pools = {threads}
"""


def through_gateway(mib: int, bucket: servers.Bucket, port: int) -> dict[str, float]:
    """Upload and download an image through a gateway; the seconds of each."""
    with tempfile.TemporaryDirectory() as state:
        path = pathlib.Path(state, "imsgate.conf")
        told = {"host": servers.HOST, "port": port, "bucket": bucket.name}
        told |= {"access": servers.ACCESS, "secret": servers.SECRET}
        path.write_text(CONF.format(**told, part=PART, threads=THREADS))
        with memory.gateway(state, "--config-file", str(path)) as (at, worker):
            token = pathlib.Path(state, "admin-token").read_text().strip()
            image(at, worker, token, 1)  # so that no import is counted
            costs = image(at, worker, token, mib)
    return {way: tell(f"gateway {way}", mib, cost) for way, cost in costs.items()}


def image(port: int, worker: int, token: str, mib: int) -> dict[str, dict[str, float]]:
    """Upload, download and delete one image; the cost of the first two to the worker."""
    record = json.dumps({"disk_format": "raw", "container_format": "bare"})
    made = json.loads(memory.call(port, "POST", "/v2/images", token, body=record))
    path, costs = f"/v2/images/{made['id']}", {}
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(mib * MIB)}
    sent = {"body": (BLOCK for _ in range(mib)), "headers": headers}
    for way, method, more in (("up", "PUT", sent), ("down", "GET", {})):
        pathlib.Path(f"/proc/{worker}/clear_refs").write_text("5")
        start, cpu = time.monotonic(), memory.cpu(worker)
        memory.call(port, method, f"{path}/file", token, **more)
        costs[way] = {"seconds": time.monotonic() - start, "cpu": memory.cpu(worker) - cpu}
        costs[way]["peak"] = memory.peak(worker)
    memory.call(port, "DELETE", path, token)
    return costs


@contextlib.contextmanager
def slow(port: int, rate: float) -> Iterator[int]:
    """A port that leads to the server, through which ``rate`` bytes pass a second in all."""
    lock, free = threading.Lock(), [time.monotonic()]

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with lock:
                    free[0] = max(free[0], time.monotonic()) + len(data) / rate
                    wait = free[0] - time.monotonic()
                time.sleep(max(0.0, wait))
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection((servers.HOST, port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    listener = socket.create_server((servers.HOST, 0))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, nargs="+", default=[1024, 8192])
    parser.add_argument("--slow", type=float, default=20.0)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        servers.running(servers.seaweed(pathlib.Path(home))) as server,
        servers.bucket(server) as bucket,
    ):
        for mib in args.mib:
            taken = {way: measure(way, mib, bucket, server.port) for way in WAYS}
            for way, seconds in through_gateway(mib, bucket, server.port).items():
                taken[f"gateway {way}"] = seconds
            for what in ("driver up", "driver down", "gateway up", "gateway down"):
                ratio = taken[what] / taken[f"boto3 {what.split()[1]}"]
                print(f"{what}: {ratio:.2f} of the time boto3 takes")
            bucket.client.delete_object(Bucket=bucket.name, Key=KEY)
        with slow(server.port, args.slow * MIB) as port:
            print(f"through {args.slow:.0f} MiB/s:")
            measure("driver up", args.mib[0], bucket, port)
            through_gateway(args.mib[0], bucket, port)


if __name__ == "__main__":
    main()
