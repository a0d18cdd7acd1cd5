"""The S3 driver and a whole gateway, compared with boto3's own transfer to the same server.

    python benchmarks/s3.py [--mib 1024 8192] [--slow 20] [--fast]

Starts SeaweedFS on a temporary directory, which needs as much space as the largest image. Uploads
and downloads an object of each size with boto3, with the driver and through a gateway, and prints
seconds, CPU seconds per GiB and peak resident memory. boto3 and the driver run in a process of
their own; "boto3 stream" is a download by one request, "boto3 down" its multi-threaded transfer.
For the gateway, CPU and memory are those of its one worker, which also computes the digests of the
image; "digests" is what md5 and sha512 alone take. With --fast, the gateway computes sha256 only,
and has parts verified by CRC32, as boto3 does.

Finally, the driver and the gateway use the server through a connection of --slow MiB/s, which must
not increase their memory. 0 omits this part.
"""

import argparse
import contextlib
import hashlib
import io
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
from imsgate.stores.s3.reader import BLOCK_BYTES
from imsgate.stores.s3.store import S3Store
from tests.stores.s3 import servers

MIB = 1 << 20
BLOCK = os.urandom(MIB)
KEY = "12345678-1234-1234-1234-123456789012.0"
PART_MIB, THREADS = 10, 4
WARM_UP_MIB = 1
"""Before each measurement, this much is transferred, so that imports are not measured."""

Cost = dict[str, float]
"""``seconds``, ``cpu`` (seconds) and ``peak`` (MiB) of a transfer."""


class Source:
    """A file-like object of ``mib`` MiB, for boto3."""

    def __init__(self, mib: int) -> None:
        self._remaining = mib * MIB

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes in a new object, as a read from a socket would return them."""
        length = self._remaining if size < 0 else min(size, self._remaining)
        self._remaining -= length
        return BLOCK * (length // MIB) + BLOCK[: length % MIB]


def digests(_: servers.Bucket, mib: int) -> None:
    for name in ("md5", "sha512"):
        digest = hashlib.new(name)
        for _ in range(mib):
            digest.update(BLOCK)


class Nowhere(io.RawIOBase):
    """A file for boto3 that drops what is written to it."""

    def write(self, data: Any) -> int:
        return len(data)


def boto3_parallel(bucket: servers.Bucket, mib: int) -> None:
    config = TransferConfig(multipart_chunksize=BLOCK_BYTES, max_concurrency=THREADS)
    bucket.client.download_fileobj(bucket.name, KEY, Nowhere(), Config=config)


def boto3_up(bucket: servers.Bucket, mib: int) -> None:
    config = TransferConfig(multipart_chunksize=PART_MIB * MIB, max_concurrency=THREADS)
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
    options = {"s3_store_large_object_chunk_size": PART_MIB, "s3_store_thread_pools": THREADS}
    return S3Store("bench", Section(**vars(bucket.settings()) | options))


TRANSFERS: dict[str, Callable[[servers.Bucket, int], None]] = {
    "boto3 up": boto3_up,
    "boto3 down": boto3_parallel,
    "boto3 stream": boto3_down,
    "digests": digests,
    "driver up": driver_up,
    "driver down": driver_down,
}


def run_child(arguments: dict[str, Any]) -> None:
    """Run one transfer in this process, and print its cost as JSON."""
    home = pathlib.Path(tempfile.gettempdir())
    server = servers.Server("seaweed", home, arguments["port"], [])
    bucket = servers.Bucket(server, arguments["bucket"], server.client())
    name = arguments["transfer"]
    for mib in (WARM_UP_MIB, arguments["mib"]):
        if name.endswith("up"):
            bucket.client.delete_object(Bucket=bucket.name, Key=KEY)
        start, start_cpu = time.monotonic(), time.process_time()
        TRANSFERS[name](bucket, mib)
    cost = {"seconds": time.monotonic() - start, "cpu": time.process_time() - start_cpu}
    cost["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(cost))


def measure(name: str, mib: int, bucket: servers.Bucket, port: int) -> float:
    """Run one transfer in a process of its own; return its seconds."""
    arguments = {"transfer": name, "mib": mib, "bucket": bucket.name, "port": port}
    command = [sys.executable, __file__, "--child", json.dumps(arguments)]
    cost = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return print_cost(name, mib, cost)


def print_cost(name: str, mib: int, cost: Cost) -> float:
    """Print the cost of a transfer; return its seconds."""
    gib = mib / 1024
    print(
        f"{name:12} {mib:6} MiB {cost['seconds']:8.1f} s {mib / cost['seconds']:7.0f} MiB/s"
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


#: Further configuration with --fast, beginning in the section of the store.
FAST = """
s3_store_request_checksum_calculation = when_supported
[upload]
hashing_algorithm = sha256
checksum = none
"""


def conf(bucket: servers.Bucket, port: int) -> str:
    """The configuration of a gateway that keeps images in ``bucket``, reached at ``port``."""
    values = {"host": servers.HOST, "port": port, "bucket": bucket.name}
    values |= {"access": servers.ACCESS, "secret": servers.SECRET}
    return CONF.format(**values, part=PART_MIB, threads=THREADS)


def measure_gateway(mib: int, bucket: servers.Bucket, port: int, further: str) -> dict[str, float]:
    """Upload and download an image through a gateway; return the seconds of each."""
    with tempfile.TemporaryDirectory() as state:
        file = pathlib.Path(state, "imsgate.conf")
        file.write_text(conf(bucket, port) + further)
        with memory.gateway(state, "--config-file", str(file)) as (gateway_port, worker):
            token = pathlib.Path(state, "admin-token").read_text().strip()
            transfer_image(gateway_port, worker, token, WARM_UP_MIB)
            costs = transfer_image(gateway_port, worker, token, mib)
    return {name: print_cost(name, mib, cost) for name, cost in costs.items()}


def transfer_image(port: int, worker: int, token: str, mib: int) -> dict[str, Cost]:
    """Upload, download and delete an image; return the worker's cost of the first two."""
    record = json.dumps({"disk_format": "raw", "container_format": "bare"})
    image = json.loads(memory.call(port, "POST", "/v2/images", token, body=record))
    path, costs = f"/v2/images/{image['id']}", {}
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(mib * MIB)}
    upload = {"body": (BLOCK for _ in range(mib)), "headers": headers}
    for name, method, options in (("gateway up", "PUT", upload), ("gateway down", "GET", {})):
        memory.reset_peak(worker)
        start, start_cpu = time.monotonic(), memory.cpu_seconds(worker)
        memory.call(port, method, f"{path}/file", token, **options)
        seconds, cpu = time.monotonic() - start, memory.cpu_seconds(worker) - start_cpu
        costs[name] = {"seconds": seconds, "cpu": cpu, "peak": memory.peak_mib(worker)}
    memory.call(port, "DELETE", path, token)
    return costs


@contextlib.contextmanager
def slow_connection(port: int, rate: float) -> Iterator[int]:
    """A port that forwards to ``port``, with ``rate`` bytes per second for all connections."""
    lock, idle_at = threading.Lock(), [time.monotonic()]

    def forward(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with lock:
                    idle_at[0] = max(idle_at[0], time.monotonic()) + len(data) / rate
                    delay = idle_at[0] - time.monotonic()
                time.sleep(max(0.0, delay))
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
                    threading.Thread(target=forward, args=pair, daemon=True).start()

    listener = socket.create_server((servers.HOST, 0))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def compare(mib: int, bucket: servers.Bucket, port: int, further: str) -> None:
    """Measure all transfers of one size, and print the times relative to boto3's."""
    seconds = {name: measure(name, mib, bucket, port) for name in TRANSFERS}
    seconds |= measure_gateway(mib, bucket, port, further)
    for name in ("driver up", "driver down", "gateway up", "gateway down"):
        ratio = seconds[name] / seconds[f"boto3 {name.split()[1]}"]
        print(f"{name}: {ratio:.2f} of the time of boto3")
    bucket.client.delete_object(Bucket=bucket.name, Key=KEY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--mib", type=int, nargs="+", default=[1024, 8192], help="sizes (default: %(default)s)"
    )
    parser.add_argument(
        "--slow",
        type=float,
        default=20.0,
        metavar="MIB/S",
        help="speed of the slow connection, 0 for none (default: %(default)s)",
    )
    parser.add_argument("--fast", action="store_true", help="sha256 and CRC32 only")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_child(args.child)
        return
    further = FAST if args.fast else ""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        servers.running(servers.seaweed(pathlib.Path(home))) as server,
        servers.bucket(server) as bucket,
    ):
        for mib in args.mib:
            compare(mib, bucket, server.port, further)
        if args.slow > 0:
            with slow_connection(server.port, args.slow * MIB) as port:
                print(f"through a connection of {args.slow:g} MiB/s:")
                measure("driver up", args.mib[0], bucket, port)
                measure_gateway(args.mib[0], bucket, port, further)


if __name__ == "__main__":
    main()
