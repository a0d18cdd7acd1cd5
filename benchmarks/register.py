"""Registering an image from a bucket: what it takes of memory and time for a small and a large.

    python benchmarks/register.py [--small MIB] [--large MIB]

Starts SeaweedFS and a gateway of one worker on scratch space, puts a sparse object of each
size there and registers it. Prints the worker's peak resident memory (VmHWM, reset in
between), the seconds, and its CPU seconds per GiB.
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


class Sparse:
    """A file of so many MiB of zeros, as boto3 wants one."""

    def __init__(self, mib: int) -> None:
        self._left = mib * MIB

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        self._left -= wanted
        return bytes(wanted)


def measure(port: int, pid: int, token: str, bucket: servers.Bucket, mib: int) -> float:
    """Register ``mib`` MiB; print what it cost and return the peak."""
    key = f"{mib}.raw"
    bucket.client.upload_fileobj(Sparse(mib), bucket.name, key)
    record = json.dumps({"disk_format": "raw", "container_format": "bare"})
    made = json.loads(memory.call(port, "POST", "/v2/images", token, body=record))
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    before, began = memory.cpu(pid), time.monotonic()
    asked = json.dumps({"image_url": f"{bucket.name}:{key}"})
    path = f"/v1/cloudimages/{made['id']}/upload"
    job_id = json.loads(memory.call(port, "PUT", path, token, body=asked))["job_id"]
    path = f"/v1/cloudimages/job/{job_id}"
    while not (job := json.loads(memory.call(port, "GET", path, token)))["end_time"]:
        time.sleep(0.1)
    if job["status"] != "SUCCESS":
        raise SystemExit(job)
    seconds, used = time.monotonic() - began, memory.cpu(pid) - before
    found = memory.peak(pid)
    memory.call(port, "DELETE", f"/v2/images/{made['id']}", token)
    print(
        f"{mib:6} MiB: peak {found:6.1f} MiB, {mib / seconds:5.0f} MiB/s, "
        f"{used / mib * 1024:5.2f} CPU s/GiB",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", type=int, default=64)
    parser.add_argument("--large", type=int, default=2048)
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
