"""Memory and time of registering an image from a bucket, for a small and for a large object.

    python benchmarks/register.py [--small MIB] [--large MIB]

Starts SeaweedFS and `imsgate serve` with one worker on temporary directories, uploads an object of
zeros of each size to the bucket and registers it as an image. Prints the worker's peak resident
memory (VmHWM, reset before each image), the speed, and the worker's CPU seconds per GiB.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import memory

from tests.stores.s3 import servers

MIB = 1 << 20

CONF = """
[ims_buckets]
driver = s3
s3_store_host = {url}
s3_store_access_key = {access}
s3_store_secret_key = {secret}
s3_store_bucket_url_format = path
allowed = *:{bucket}
"""


class Zeros:
    """A file-like object of ``mib`` MiB of zeros, for boto3."""

    def __init__(self, mib: int) -> None:
        self._remaining = mib * MIB

    def read(self, size: int = -1) -> bytes:
        length = self._remaining if size < 0 else min(size, self._remaining)
        self._remaining -= length
        return bytes(length)


def measure(port: int, pid: int, token: str, bucket: servers.Bucket, mib: int) -> float:
    """Register an object of ``mib`` MiB; print the costs, return the peak in MiB."""
    key = f"{mib}.raw"
    bucket.client.upload_fileobj(Zeros(mib), bucket.name, key)
    record = json.dumps({"disk_format": "raw", "container_format": "bare"})
    image = json.loads(memory.call(port, "POST", "/v2/images", token, body=record))
    memory.reset_peak(pid)
    start_cpu, start = memory.cpu_seconds(pid), time.monotonic()
    body = json.dumps({"image_url": f"{bucket.name}:{key}"})
    path = f"/v1/cloudimages/{image['id']}/upload"
    job_id = json.loads(memory.call(port, "PUT", path, token, body=body))["job_id"]
    path = f"/v1/cloudimages/job/{job_id}"
    while not (job := json.loads(memory.call(port, "GET", path, token)))["end_time"]:
        time.sleep(0.1)
    if job["status"] != "SUCCESS":
        raise SystemExit(job)
    seconds, cpu_seconds = time.monotonic() - start, memory.cpu_seconds(pid) - start_cpu
    peak = memory.peak_mib(pid)
    memory.call(port, "DELETE", f"/v2/images/{image['id']}", token)
    print(
        f"{mib:6} MiB: peak {peak:6.1f} MiB, {mib / seconds:5.0f} MiB/s, "
        f"{cpu_seconds / mib * 1024:5.2f} CPU s/GiB",
        flush=True,
    )
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=64, help="MiB (default: %(default)s)")
    parser.add_argument("--large", type=int, default=2048, help="MiB (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as state:
        server = servers.seaweed(pathlib.Path(home))
        with servers.running(server), servers.bucket(server) as bucket:
            keys = {"access": server.access, "secret": servers.SECRET}
            conf = pathlib.Path(state, "imsgate.conf")
            conf.write_text(CONF.format(url=server.url, bucket=bucket.name, **keys))
            with memory.gateway(state, "--config-file", str(conf)) as (port, pid):
                token = pathlib.Path(state, "admin-token").read_text().strip()
                small = measure(port, pid, token, bucket, args.small)
                large = measure(port, pid, token, bucket, args.large)
    print(f"difference: {large - small:.1f} MiB")


if __name__ == "__main__":
    main()
