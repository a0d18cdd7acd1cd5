"""``flavor = bridge`` with unchanged clients, in front of an IMS with a bucket of a real S3 server.

That is another gateway under ``profile = huawei``, or the strict IMS of ``tests.bridge``.
"""

import base64
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.bridge import ims as strict
from tests.functional import huawei
from tests.functional.commands import Commands, finished
from tests.functional.conftest import needs
from tests.functional.gateway import PATIENCE, Answer, Gateway, eventually, serving
from tests.functional.partial import Part, append, ask, is_complete, offset_of
from tests.functional.test_clients import Client
from tests.functional.wire import MIB, Wire, length
from tests.stores.s3 import servers

#: More can be asked for: the moments are random.
KILLS = int(os.environ.get("IMSGATE_TEST_BRIDGE_KILLS", "3"))
#: The size of the sparse image.
SPARSE = int(float(os.environ.get("IMSGATE_TEST_BRIDGE_GIB", "0.02")) * 1024) * MIB
SEED = 22

BRIDGE = """
[paste_deploy]
flavor = bridge
[DEFAULT]
enabled_backends = obs:s3
[glance_store]
default_backend = obs
[obs]
s3_store_host = {host}
s3_store_access_key = {key}
s3_store_secret_key = {secret}
s3_store_bucket = {bucket}
s3_store_bucket_url_format = path
s3_store_large_object_size = 1
s3_store_large_object_chunk_size = 5
[forward]
upstream = {upstream}
access_key = {access_key}
secret_key = {secret_key}
[bridge]
project_id = {project}
poll_interval = 0.1
[jobs]
poll = 0.1
[sizelimit]
image_size_cap = 137438953472
"""

CLOUD = """
[paste_deploy]
flavor = aksk
[ims]
profile = huawei
[ims_buckets]
driver = s3
allowed = *:{bucket}
s3_store_host = {host}
s3_store_access_key = {key}
s3_store_secret_key = {secret}
s3_store_bucket_url_format = path
[jobs]
poll = 0.1
"""


def config(text: str, bucket: servers.Bucket, **more: str) -> str:
    keys = {"key": bucket.server.access, "secret": servers.SECRET}
    return text.format(host=bucket.server.url, bucket=bucket.name, **keys, **more)


def bridge_in(
    directory: pathlib.Path, bucket: servers.Bucket, upstream: str, access: str, secret: str
) -> Gateway:
    keys = {"access_key": access, "secret_key": secret, "project": strict.PROJECT}
    text = config(BRIDGE, bucket, upstream=upstream, **keys)
    gateway = Gateway(directory, config=text, workers=1, threads=32)
    gateway.key = huawei.add_key(gateway, "demo")  # type: ignore[attr-defined]
    return gateway


@pytest.fixture(scope="module")
def cloud(bucket: servers.Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Another gateway, as IMS."""
    gateway = Gateway(tmp_path_factory.mktemp("cloud"), config=config(CLOUD, bucket), workers=1)
    gateway.key = huawei.add_key(gateway, strict.PROJECT)  # type: ignore[attr-defined]
    with serving(gateway):
        yield gateway


@pytest.fixture(scope="module")
def _bridge(
    cloud: Any, bucket: servers.Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory, key = tmp_path_factory.mktemp("bridge"), cloud.key
    with serving(bridge_in(directory, bucket, cloud.url, key.access, key.secret)) as gateway:
        yield gateway


@pytest.fixture
def bridge(_bridge: Gateway) -> Iterator[Gateway]:
    yield _bridge
    _bridge.check_log()


@pytest.fixture
def assert_arrived(
    cloud: Gateway, bridge: Gateway, bucket: servers.Bucket
) -> Callable[[str, bytes], None]:
    def check(image_id: str, data: bytes) -> None:
        eventually(lambda: bridge.status(image_id) == "active", "IMS has the image")
        stored = [path for path in cloud.residue(image_id) if pathlib.Path(path).is_file()]
        assert [pathlib.Path(path).read_bytes() == data for path in stored] == [True]
        eventually(lambda: not bucket.leftovers(), "nothing is left in the bucket")

    return check


@pytest.fixture(scope="module")
def process(_bridge: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[huawei.Process]:
    needs(huawei.AVAILABLE, "huaweicloudsdkims")
    with huawei.Process(_bridge, tmp_path_factory.mktemp("sdk")) as process:
        yield process


@pytest.fixture(scope="module")
def sdk(_bridge: Any, process: huawei.Process) -> huawei.Huawei:
    return huawei.Huawei(process, _bridge.key, "demo")


def send(gateway: Gateway, method: str, path: str, body: Any = b"", **headers: str) -> Answer:
    return gateway.call(method, path, body, token=None, headers=headers)


OCTETS = {"Content-Type": "application/octet-stream"}


def test_the_vendors_sdk(bridge, sdk, assert_arrived):
    """Its own methods, and an upload that its signer signs, of any size without its hash."""
    data = random.Random(SEED).randbytes(13 * MIB)
    record = {"name": "sdk", "disk_format": "raw", "container_format": "bare"}
    image_id = sdk.call("glance_create_image_metadata", record)["id"]
    path = f"/v2/images/{image_id}/file"
    signed = sdk.sign("PUT", path, b"data", **OCTETS)
    assert signed["X-Sdk-Content-Sha256"] == "UNSIGNED-PAYLOAD"
    answer = send(bridge, "PUT", path, data, **signed)
    assert answer.status == 204, answer.body
    job_id = answer.headers["X-Imsgate-Job"]
    job = eventually(
        lambda: (found := sdk.call("show_job", job_id=job_id))["end_time"] and found, "it ends"
    )
    assert (job["status"], job["entities"]["image_id"]) == ("SUCCESS", image_id)
    assert_arrived(image_id, data)
    assert sdk.call("glance_show_image", image_id=image_id)["status"] == "active"
    listed = sdk.call("list_images", name="sdk", status="active")["images"]
    assert [(each["id"], each["__image_size"]) for each in listed] == [(image_id, str(13 * MIB))]
    change = [{"op": "replace", "path": "/name", "value": "renamed"}]
    assert sdk.call("glance_update_image", change, image_id=image_id)["name"] == "renamed"
    sdk.call("glance_delete_image", image_id=image_id)
    with pytest.raises(huawei.Refused) as caught:
        sdk.call("glance_show_image", image_id=image_id)
    assert caught.value.status == 404


def test_signed_body_of_more_than_12_mb(bridge, sdk, assert_arrived):
    """It is refused. A small signed request opens an upload instead, and the data follows."""
    data = random.Random(SEED + 1).randbytes(12 * MIB + 1)
    image_id = sdk.call("glance_create_image_metadata", {"name": "n", "disk_format": "raw"})["id"]
    path, digest = f"/v2/images/{image_id}/file", hashlib.sha256(data).hexdigest()
    signed = sdk.sign("PUT", path, b"data", X_Sdk_Content_Sha256=digest)
    refused = send(bridge, "PUT", path, data, **signed)
    assert (refused.status, refused.json["error_code"]) == (401, "APIGW.0301")
    assert refused.json["error_msg"].endswith("calc aksk signature fail:body too large")

    named = base64.b64encode(image_id.encode()).decode()
    tus = {"Tus-Resumable": "1.0.0"}
    begin = {**tus, "Upload-Length": str(len(data)), "Upload-Metadata": f"image_id {named}"}
    assert send(bridge, "POST", "/v2/uploads", **begin).status == 401
    opened = send(bridge, "POST", "/v2/uploads", **sdk.sign("POST", "/v2/uploads", **begin))
    assert opened.status == 201, opened.body
    path = opened.headers["Location"].removeprefix(bridge.url)
    kind = {**tus, "Content-Type": "application/offset+octet-stream"}
    # One part with its hash, and the rest without.
    first = hashlib.sha256(data[: 5 * MIB]).hexdigest()
    for start, end, more in ((0, 5 * MIB, first), (5 * MIB, len(data), "UNSIGNED-PAYLOAD")):
        part = {**kind, "Upload-Offset": str(start), "X-Sdk-Content-Sha256": more}
        signed = sdk.sign("PATCH", path, b"data", **part)
        if more == first:
            # The signer sets UNSIGNED-PAYLOAD for this type, so that the type follows unsigned.
            del part["Content-Type"]
            signed = {**sdk.sign("PATCH", path, b"data", **part), **kind}
        answer = send(bridge, "PATCH", path, data[start:end], **signed)
        assert answer.status == 204, answer.body
    assert_arrived(image_id, data)


def test_openstackclient(bridge, assert_arrived, tmp_path):
    data = random.Random(SEED + 2).randbytes(6 * MIB)
    (tmp_path / "disk").write_bytes(data)
    client = Client(bridge, tmp_path, bridge.token())
    words = ("--disk-format", "raw", "--container-format", "bare", "--file", tmp_path / "disk")
    image = client.openstack("image", "create", *words, "first")
    assert_arrived(image["id"], data)
    assert bridge.call("DELETE", f"/v2/images/{image['id']}").status == 204
    assert bridge.call("GET", f"/v2/images/{image['id']}").status == 404


# The strict IMS


@pytest.fixture(scope="module")
def ims(bucket: servers.Bucket) -> Iterator[strict.Ims]:
    client = bucket.client
    with strict.serving(
        lambda name, key: strict.chunks(client, name, key), in_background=True
    ) as service:
        yield service


@pytest.fixture(scope="module")
def guarded(
    ims: strict.Ims, bucket: servers.Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("strict")
    with serving(bridge_in(directory, bucket, ims.url, strict.ACCESS, strict.SECRET)) as gateway:
        yield gateway


def test_sparse_image(guarded, ims, bucket, tmp_path):
    file = tmp_path / "sparse.raw"
    with open(file, "wb") as disk:
        disk.truncate(SPARSE)
        disk.seek(SPARSE // 2)
        disk.write(random.Random(SEED).randbytes(MIB))
    image_id = ims.queued()
    commands = Commands.of(tmp_path, guarded)
    # Not a command that is given up after some minutes: the image may be large.
    upload = commands.start("upload", file, "--image", image_id)
    status, said = finished(upload, 86400)
    assert status == 0, said
    assert guarded.status(image_id) == "active"
    with open(file, "rb") as disk:
        digest = hashlib.file_digest(disk, "sha256").hexdigest()
    assert ims.data[image_id] == (SPARSE, digest)
    eventually(lambda: not bucket.leftovers(), "nothing is left in the bucket")
    guarded.check_log()


DATA = random.Random(SEED).randbytes(8 * MIB + 5)


@dataclasses.dataclass
class Killed:
    """One image, whose bridge is killed at a random moment: while the data comes in, or when IMS
    gets a request, before it has processed that or afterwards."""

    bridge: Gateway
    ims: strict.Ims
    rng: random.Random

    def run(self) -> str:
        self.image_id = self.ims.queued()
        self.resumable = self.rng.random() < 0.5
        if self.rng.random() < 0.4:
            self._kill_amid_data(self.rng.randint(0, len(DATA)))
        else:
            self._kill_at_request(self.rng.randint(0, 8), processed=self.rng.random() < 0.5)
        self.bridge.kill()
        self._expire("jobs", "lease")
        self.bridge.start()
        self._finish()
        return self.image_id

    def _send(self, size: int) -> None:
        part = Part(self.image_id, 0, len(DATA), True, True)
        fields = {**OCTETS, "X-Auth-Token": self.bridge.token()}
        if self.resumable:
            fields |= part.headers
        with Wire(self.bridge) as wire, contextlib.suppress(OSError):
            wire.head("PUT", part.path, [*fields.items(), *length(len(DATA))])
            for start in range(0, size, MIB):
                wire.send(DATA[start : min(start + MIB, size)])
            if size == len(DATA):
                wire.answer("PUT")
            else:
                self.bridge.kill()

    def _kill_amid_data(self, size: int) -> None:
        self._send(size)

    def _kill_at_request(self, number: int, *, processed: bool) -> None:
        begun = len(self.ims.asked)

        def kill(done: bool) -> None:
            if done is processed and len(self.ims.asked) > begun + number:
                self.ims.watch = None
                self.bridge.kill()

        self.ims.watch = kill
        self._send(len(DATA))
        eventually(
            lambda: self.ims.watch is None or self.ims.images[self.image_id]["status"] == "active",
            "it is killed, or done",
        )
        self.ims.watch = None

    def _expire(self, table: str, column: str) -> None:
        file = self.bridge.state / "imsgate.sqlite"
        with contextlib.closing(sqlite3.connect(file, timeout=PATIENCE)) as db, db:
            db.execute(f"UPDATE {table} SET {column} = 1 WHERE {column} > 1")

    def _finish(self) -> None:
        """As a client does: look what has arrived, and send what has not."""
        if self.resumable:
            answer = ask(self.bridge, self.image_id)
            if answer.status == 204 and not is_complete(answer):
                offset = offset_of(answer)
                rest = DATA[offset:]
                answer = append(self.bridge, self.image_id, offset, rest, complete=True)
                assert answer.status in (202, 204), answer.body
                return
        shown = self.bridge.status(self.image_id)
        if shown == "saving" and not self.ims.jobs_of(self.image_id):
            # The data of a single request may have been cut, or be complete.
            self.bridge.expire_leases()
        if eventually(self._settled, "it is settled") == "queued":
            assert self.bridge.upload(self.image_id, DATA).status == 204

    def _settled(self) -> str:
        """Once nothing goes on by itself: queued or active."""
        shown = self.bridge.status(self.image_id)
        return shown if shown in ("queued", "active") else ""


def assert_held_by_ims(gateway: Gateway, ims: strict.Ims, image_id: str) -> None:
    eventually(lambda: gateway.status(image_id) == "active", f"image {image_id} is active")
    assert ims.data[image_id] == (len(DATA), hashlib.sha256(DATA).hexdigest())


def test_killed_at_any_moment(guarded, ims, bucket):
    seed = os.environ.get("IMSGATE_TEST_SEED") or secrets.token_hex(4)
    print(f"IMSGATE_TEST_SEED={seed}")  # shown after a failure
    rng = random.Random(seed)
    for _ in range(KILLS):
        image_id = Killed(guarded, ims, rng).run()
        assert_held_by_ims(guarded, ims, image_id)
        eventually(lambda: not bucket.leftovers(), "nothing is left in the bucket")
    guarded.check_log()
