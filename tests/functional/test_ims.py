"""Huawei's image service over a real gateway: its own SDK, and buckets of a real S3 server."""

import functools
import hashlib
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys

import pytest

from tests.formats import corpus
from tests.functional import huawei, images, programs
from tests.functional.conftest import needs
from tests.functional.gateway import (
    IMSGATE,
    PATIENCE,
    ROOT,
    Gateway,
    clean_env,
    eventually,
    serving,
)
from tests.stores.s3 import servers
from tests.stores.s3.proxy import between

BODY = os.urandom(3 << 20)
OCTETS = {"Content-Type": "application/octet-stream"}

CONFIG = """
[ims_buckets]
driver = s3
allowed = demo:{bucket}, demo:no-such-bucket
s3_store_host = {host}
s3_store_access_key = {access}
s3_store_secret_key = {secret}
s3_store_bucket_url_format = path
[jobs]
poll = 0.2
threads = {threads}
"""

HUAWEI = """
[paste_deploy]
flavor = tokens+aksk
[ims]
profile = huawei
[quota]
image_count_total = 500
"""


def config(bucket, host, threads=2):
    keys = {"access": bucket.server.access, "secret": servers.SECRET}
    return CONFIG.format(bucket=bucket.name, host=host, threads=threads, **keys)


@pytest.fixture(scope="module")
def _ims(bucket, tmp_path_factory):
    needs(huawei.AVAILABLE, "huaweicloudsdkims")
    conf = HUAWEI + config(bucket, bucket.server.url)
    gateway = Gateway(tmp_path_factory.mktemp("ims"), config=conf)
    gateway.keys = {project: huawei.add_key(gateway, project) for project in ("demo", "other")}
    with serving(gateway):
        yield gateway


@pytest.fixture
def ims(_ims):
    yield _ims
    _ims.check_log()


@pytest.fixture(scope="module")
def process(_ims, tmp_path_factory):
    with huawei.Process(_ims, tmp_path_factory.mktemp("sdk")) as process:
        yield process


@pytest.fixture
def sdk(_ims, process):
    return huawei.Huawei(process, _ims.keys["demo"], "demo")


@pytest.fixture
def other(_ims, process):
    return huawei.Huawei(process, _ims.keys["other"], "other")


def put(bucket, key, body, **more):
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body, **more)
    return f"{bucket.name}:{key}"


def ended(sdk, job_id):
    """A job, once it has ended."""

    def look():
        job = sdk.call("show_job", job_id=job_id)
        assert job["status"] in ("INIT", "RUNNING", "SUCCESS", "FAIL")
        return job["end_time"] and job

    return eventually(look, f"job {job_id} ends")


def registered(sdk, url, **fields):
    """A new image with this object; its id and its job, once that has ended."""
    image = sdk.call("glance_create_image_metadata", {"name": "registered", **fields})
    answer = sdk.call("register_image", {"image_url": url}, image_id=image["id"])
    return image["id"], ended(sdk, answer["job_id"])


def listed(sdk, **filters):
    return [image["id"] for image in sdk.call("list_images", **filters)["images"]]


def test_an_image_from_metadata_to_deletion(ims, bucket, sdk):
    record = {"name": "from bucket", "os_version": "Ubuntu 22.04 server 64bit", "min_disk": 40}
    made = sdk.call("glance_create_image_metadata", record)
    assert made["status"] == "queued"
    assert (made["__os_type"], made["__platform"], made["__os_bit"]) == ("Linux", "Ubuntu", "64")
    assert (made["visibility"], made["disk_format"]) == ("private", "zvhd2")
    image_id = made["id"]
    url = put(bucket, "images/one.raw", BODY)
    job_id = sdk.call("register_image", {"image_url": url}, image_id=image_id)["job_id"]
    assert len(job_id) == 32
    with pytest.raises(huawei.Refused) as again:
        sdk.call("register_image", {"image_url": url}, image_id=image_id)
    assert (again.value.status, again.value.code) == (400, "IMG.0046")
    job = ended(sdk, job_id)
    assert (job["status"], job["job_type"]) == ("SUCCESS", "imsNativeImportImageJob")
    assert job["entities"] == {"image_id": image_id}
    assert sdk.call("show_job_progress", job_id=job_id)["status"] == "SUCCESS"
    (shown,) = sdk.call("list_images", id=image_id)["images"]
    assert (shown["status"], shown["__image_size"]) == ("active", str(len(BODY)))
    assert shown["disk_format"] == "raw"
    assert ims.download(image_id).body == BODY
    # The same image by Glance's own calls
    record = ims.show(image_id)
    assert (record["status"], record["size"]) == ("active", len(BODY))
    assert record["checksum"] == hashlib.md5(BODY).hexdigest()
    change = [{"op": "replace", "path": "/name", "value": "renamed"}]
    assert sdk.call("update_image", change, image_id=image_id)["name"] == "renamed"
    change = [{"op": "replace", "path": "/__description", "value": "d"}]
    with pytest.raises(huawei.Refused) as missing:
        sdk.call("update_image", change, image_id=image_id)
    assert (missing.value.status, missing.value.code) == (400, "IMG.0035")
    change[0]["op"] = "add"
    assert sdk.call("update_image", change, image_id=image_id)["__description"] == "d"
    sdk.call("glance_delete_image", image_id=image_id)
    assert listed(sdk, id=image_id) == []
    assert not ims.residue(image_id)


def test_an_upload_needs_no_format_declared(ims, sdk):
    image_id = sdk.call("glance_create_image_metadata", {})["id"]
    path = f"/v2/images/{image_id}/file"
    headers = sdk.sign("PUT", path, BODY, **OCTETS)
    answer = ims.call("PUT", path, BODY, token=None, headers={**OCTETS, **headers})
    assert answer.status == 204
    assert sdk.call("glance_show_image", image_id=image_id)["disk_format"] == "raw"
    bad = sdk.call("glance_create_image_metadata", {})["id"]
    path = f"/v2/images/{bad}/file"
    headers = sdk.sign("PUT", path, images.DATA_FILE, **OCTETS)
    answer = ims.call("PUT", path, images.DATA_FILE, token=None, headers={**OCTETS, **headers})
    assert (answer.status, answer.json["error"]["code"]) == (400, "IMG.0057")
    assert answer.json["error"]["check"] == "data_file"
    ims.assert_untouched(bad)


def test_lists(ims, bucket, sdk, other):
    url = put(bucket, "list.raw", b"raw." * 1024)
    windows, _ = registered(sdk, url, os_version="Windows 10 64bit", tags=["group=list"])
    linux, _ = registered(sdk, url, os_version="Debian 12.0.0 64bit", tags=["group=list"])
    own = {"tag": "group=list", "imagetype": "private", "isregistered": "true"}
    assert listed(sdk, **own) == [linux, windows]
    assert listed(sdk, **own, sort_key="created_at", sort_dir="asc") == [windows, linux]
    assert listed(sdk, **own, os_type="Windows", os_bit="64", status="active") == [windows]
    assert listed(sdk, **own, platform="Debian", visibility="private") == [linux]
    assert listed(sdk, **own, created_at="gt:2018-10-28 10:00:00", owner="demo", limit=1) == [linux]
    assert listed(sdk, **own, created_at="lt:2018-10-28T10:00:00Z") == []
    assert listed(sdk, **own, marker=linux) == [windows]
    page = sdk.call("list_images", **own, limit=1)
    assert page["page_info"] == {"next_marker": linux}
    for nothing in ({"imagetype": "gold"}, {"isregistered": "false"}, {"architecture": "arm"}):
        assert listed(sdk, **{**own, **nothing}) == []
    assert listed(other, tag="group=list") == []
    shared = {"images": [linux], "projects": ["other"]}
    assert ended(sdk, sdk.call("batch_add_members", shared)["job_id"])["status"] == "SUCCESS"
    ask = {"imagetype": "shared", "visibility": "shared"}
    assert listed(other, **ask, member_status="pending") == [linux]
    accept = {"images": [linux], "project_id": "other", "status": "accepted"}
    job = ended(other, other.call("batch_update_members", accept)["job_id"])
    result = {"image_id": linux, "project_id": "other", "status": "success"}
    assert job["entities"] == {"results": [result]}
    assert listed(other, **ask, member_status="accepted") == [linux]
    assert listed(sdk, **ask) == []
    sdk.call("batch_delete_members", shared)
    assert listed(other, **ask, member_status="accepted") == []


def test_what_else_the_sdk_asks(ims, sdk):
    (quota,) = sdk.call("show_image_quota")["quotas"]["resources"]
    assert (quota["type"], quota["quota"]) == ("image", 500)
    image_id = sdk.call("glance_create_image_metadata", {"name": "tagged"})["id"]
    (now,) = sdk.call("show_image_quota")["quotas"]["resources"]
    assert now["used"] == quota["used"] + 1
    systems = sdk.call("list_os_versions", tag="uefi")
    assert {"Ubuntu", "Windows"} <= {system["platform"] for system in systems}
    assert sdk.call("list_versions")["versions"]
    assert sdk.call("show_version", version="v2")["versions"]
    tag = {"key": "a", "value": "b"}
    sdk.call("add_image_tag", {"tag": tag}, image_id=image_id)
    sdk.call("create_or_update_tags", {"image_id": image_id, "image_tag": {**tag, "value": "c"}})
    sdk.call("glance_create_tag", image_id=image_id, tag="plain")
    found = sdk.call("list_image_tags", image_id=image_id)["tags"]
    assert found == [{"key": "a", "value": "c"}, {"key": "plain", "value": ""}]
    many = {"action": "delete", "tags": [{"key": "plain"}]}
    sdk.call("batch_add_or_delete_tags", many, image_id=image_id)
    assert {"key": "a", "values": ["c"]} in sdk.call("list_images_tags")["tags"]
    sdk.call("delete_image_tag", image_id=image_id, key="a")
    assert sdk.call("list_image_tags", image_id=image_id)["tags"] == []


@pytest.mark.parametrize("mode", ["", "_in_safe_mode"], ids=["v1 and v2", "v2.1"])
def test_images_are_made_of_objects_and_written_to_objects(ims, bucket, sdk, mode):
    """The SDK has a second method for each of these calls, whose path begins with /v2.1."""
    url = put(bucket, "made.raw", BODY)
    record = {"name": "made", "image_url": url, "min_disk": 40, "os_version": "CentOS 7.9 64bit"}
    job = ended(sdk, sdk.call(f"create_image{mode}", record)["job_id"])
    assert (job["status"], job["job_type"]) == ("SUCCESS", "imsImportImageJob")
    image_id = job["entities"]["image_id"]
    assert job["entities"]["image_name"] == "made"
    assert ims.download(image_id).body == BODY
    target = {"bucket_url": f"{bucket.name}:out/made{mode}.raw", "file_format": "raw"}
    job = ended(sdk, sdk.call(f"export_image{mode}", target, image_id=image_id)["job_id"])
    assert (job["status"], job["job_type"]) == ("SUCCESS", "imsNativeExportImageJob"), job
    exported = bucket.client.get_object(Bucket=bucket.name, Key=f"out/made{mode}.raw")["Body"]
    assert exported.read() == BODY
    job = ended(sdk, sdk.call(f"export_image{mode}", target, image_id=image_id)["job_id"])
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0070")
    with pytest.raises(huawei.Refused) as wrong:
        sdk.call(f"export_image{mode}", {**target, "file_format": "qcow2"}, image_id=image_id)
    assert wrong.value.code == "IMG.0072"
    job = ended(
        sdk, sdk.call(f"copy_image_in_region{mode}", {"name": "c"}, image_id=image_id)["job_id"]
    )
    assert job["status"] == "SUCCESS"
    assert ims.download(job["entities"]["image_id"]).body == BODY
    data = {"name": "data", "image_url": url, "min_disk": 40, "os_type": "Linux"}
    job = ended(sdk, sdk.call(f"create_data_image{mode}", data)["job_id"])
    assert (job["status"], job["job_type"]) == ("SUCCESS", "imsImportDataImageJob")
    # A quick import takes raw and zvhd2 only; what fails leaves no image.
    quick = {**record, "name": "quick"}
    job = ended(sdk, sdk.call(f"import_image_quick{mode}", quick)["job_id"])
    assert job["status"] == "SUCCESS"
    quick["image_url"] = put(bucket, "quick.qcow2", images.qcow2())
    job = ended(sdk, sdk.call(f"import_image_quick{mode}", quick)["job_id"])
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0158")
    assert listed(sdk, id=job["entities"]["image_id"]) == []
    assert not ims.residue(job["entities"]["image_id"])


@pytest.mark.parametrize(
    ("key", "body", "more", "code"),
    [
        ("backing.qcow2", images.BACKING_FILE, {}, "IMG.0057"),
        ("outside.vmdk", images.OUTSIDE, {}, "IMG.0057"),
        ("empty.raw", b"", {}, "IMG.0057"),
        ("", b"", {}, "IMG.0057"),
        ("mislabelled.raw", images.qcow2(), {"disk_format": "raw"}, "IMG.0057"),
    ],
    ids=["backing", "outside", "empty", "missing", "mislabelled"],
)
def test_bad_objects_fail(ims, bucket, sdk, key, body, more, code):
    url = put(bucket, key, body) if key else f"{bucket.name}:missing.raw"
    image_id, job = registered(sdk, url, **more)
    assert (job["status"], job["error_code"]) == ("FAIL", code)
    assert job["fail_reason"]
    ims.assert_untouched(image_id)


def test_buckets_that_are_not_ones_own(ims, bucket, sdk, other):
    url = put(bucket, "private.raw", BODY)
    image_id = other.call("glance_create_image_metadata", {"name": "thief"})["id"]
    with pytest.raises(huawei.Refused) as refused:
        other.call("register_image", {"image_url": url}, image_id=image_id)
    assert (refused.value.status, refused.value.code) == (400, "IMG.0069")
    image_id, job = registered(sdk, "no-such-bucket:a.raw")
    assert (job["status"], job["error_code"]) == ("FAIL", "IMG.0069")
    mine, job = registered(sdk, url)
    with pytest.raises(huawei.Refused) as unseen:
        other.call("show_job", job_id=job["job_id"])
    assert (unseen.value.status, unseen.value.code) == (404, "IMG.0023")
    with pytest.raises(huawei.Refused) as unseen:
        other.call("register_image", {"image_url": url}, image_id=mine)
    assert (unseen.value.status, unseen.value.code) == (404, "IMG.0027")


def test_otcextensions(ims, bucket, tmp_path):
    needs(importlib.util.find_spec("otcextensions"), "otcextensions")
    put(bucket, "otc.raw", BODY)
    client = ["-W", "ignore", "-m", "tests.functional.otc_client"]
    done = subprocess.run(
        [sys.executable, *client, ims.url, ims.token(), bucket.name],
        env=clean_env(tmp_path, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *told, image_id = json.loads(done.stdout)
    assert told == ["SUCCESS", "active", str(len(BODY)), "SUCCESS"]
    assert ims.download(image_id).body == BODY
    exported = bucket.client.get_object(Bucket=bucket.name, Key="otc.out")["Body"]
    assert exported.read() == BODY


FORMATS = ("raw", "qcow2", "qcow", "vmdk", "vhd", "vhdx", "vdi", "qed", "zvhd", "zvhd2", "iso")


def test_every_format_goes_in(ims, bucket, sdk, tmp_path):
    """One image of each, without a word of what it is."""
    found = {entry.format: entry for entry in reversed(corpus.entries()) if entry.accept}
    for name in FORMATS:
        entry = found[name]
        path = tmp_path / entry.name
        entry.make(path)
        url = put(bucket, f"formats/{name}", path.read_bytes())
        image_id, job = registered(sdk, url)
        assert job["status"] == "SUCCESS", (name, job)
        row = corpus.manifest_row(entry, path)
        shown = ims.show(image_id)
        assert (shown["disk_format"], shown["virtual_size"]) == (name, row["virtual_size"])


# Jobs whose worker dies


class Worker:
    """An ``imsgate worker`` beside a gateway."""

    def __init__(self, gateway):
        place = ["--state", str(gateway.state), "--config-file", str(gateway.config)]
        log, env = gateway.directory / "worker-log", clean_env(gateway.directory)
        self._process = programs.spawn([IMSGATE, "worker", *place], log, env)

    def kill(self):
        self._process.kill()
        self._process.wait(PATIENCE)


@pytest.fixture(scope="module")
def proxy(bucket):
    with between(bucket.server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def idle(bucket, proxy, tmp_path_factory):
    """A gateway that leaves all jobs to workers, and reaches the bucket through the proxy."""
    conf = config(bucket, proxy.url, threads=0)
    with serving(Gateway(tmp_path_factory.mktemp("idle"), config=conf)) as gateway:
        yield gateway


@pytest.fixture
def worker():
    """Start the one worker, or another in its place; it is killed at the end."""
    running = []

    def begin(gateway):
        while running:
            running.pop().kill()
            gateway.expire_leases()
        running.append(Worker(gateway))

    yield begin
    for one in running:
        one.kill()


def register(gateway, bucket, key):
    """A new image for which this object is registered, and how to ask for the job."""
    image_id = gateway.create()
    path = f"/v1/cloudimages/{image_id}/upload"
    asked = gateway.call("PUT", path, {"image_url": f"{bucket.name}:{key}"})
    assert asked.status == 200, asked.body
    path = f"/v1/demo/jobs/{asked.json['job_id']}"
    return image_id, lambda: gateway.call("GET", path).json


def cut(nth, after):
    """A rule for the proxy: the request of this number is cut, after so many bytes."""
    numbers = itertools.count()
    return lambda _: after if next(numbers) == nth else None


def test_a_worker_that_is_killed_at_any_moment(bucket, proxy, idle, worker):
    """At a request it makes to the bucket, after so many bytes of the answer."""
    moments = random.Random(6)
    large = os.urandom(20 << 20)
    put(bucket, "large.raw", large)
    worker(idle)
    for _ in range(6):
        proxy.happened.clear()
        proxy.rules[:] = [cut(moments.randrange(6), -moments.randrange(1, 4 << 20))]
        image_id, job = register(idle, bucket, "large.raw")
        _killed_while(proxy, job, lambda: worker(idle))
        record = idle.show(image_id)
        assert record["os_hash_value"] == hashlib.sha512(large).hexdigest()
        assert len(idle.residue(image_id)) == 1


def _killed_while(proxy, job, kill):
    eventually(lambda: proxy.happened.is_set() or job()["end_time"], "the moment comes")
    kill()
    eventually(lambda: job()["end_time"], "the job ends")
    assert job()["status"] == "SUCCESS"


ACCOUNTS = """
[ims_buckets]
driver = s3
allowed = *:{bucket}
accounts = other:tenant
s3_store_host = {host}
s3_store_access_key = {access}
s3_store_secret_key = {secret}
s3_store_bucket_url_format = path
[tenant]
s3_store_host = {host}
s3_store_access_key = {access}
s3_store_secret_key = another
s3_store_bucket_url_format = path
[jobs]
poll = 0.2
"""


def test_a_project_has_its_own_key(bucket, start):
    """One that the service does not know opens nothing for that project; others go on."""
    put(bucket, "own.raw", BODY)
    told = {"bucket": bucket.name, "host": bucket.server.url, "access": bucket.server.access}
    gateway = start(ACCOUNTS.format(secret=servers.SECRET, **told))
    ends = {}
    for project in ("demo", "other"):
        asks = functools.partial(gateway.call, token=gateway.token(project))
        made = asks("POST", "/v2/images", {"disk_format": "raw", "container_format": "bare"}).json
        path = f"/v1/cloudimages/{made['id']}/upload"
        job = asks("PUT", path, {"image_url": f"{bucket.name}:own.raw"}).json["job_id"]
        path = f"/v1/cloudimages/job/{job}"
        eventually(functools.partial(_has_ended, asks, path), "the job ends")
        ends[project] = asks("GET", path).json
    assert ends["demo"]["status"] == "SUCCESS", ends
    assert (ends["other"]["status"], ends["other"]["error_code"]) == ("FAIL", "IMG.0069")


def _has_ended(asks, path):
    return asks("GET", path).json["end_time"]


STORE = """
[DEFAULT]
enabled_backends = archive:s3
[archive]
s3_store_host = {host}
s3_store_access_key = {access}
s3_store_secret_key = {secret}
s3_store_bucket = {bucket}
s3_store_bucket_url_format = path
"""


@pytest.fixture(scope="module")
def beside(bucket, proxy, tmp_path_factory):
    """A gateway whose store is a bucket of the same service, and which waits for workers."""
    with servers.bucket(bucket.server) as store:
        keys = {"access": bucket.server.access, "secret": servers.SECRET}
        conf = STORE.format(host=proxy.url, bucket=store.name, **keys)
        conf += config(bucket, proxy.url, threads=0)
        with serving(Gateway(tmp_path_factory.mktemp("beside"), config=conf)) as gateway:
            gateway.bucket = store
            yield gateway


def test_the_service_copies_into_its_own_buckets(bucket, proxy, beside, worker):
    proxy.rules.clear()
    large = os.urandom(30 << 20)
    put(bucket, "copied.raw", large)
    image_id, job = register(beside, bucket, "copied.raw")
    before = proxy.sent
    worker(beside)
    eventually(lambda: job()["end_time"], "the job ends")
    assert job()["status"] == "SUCCESS", job()
    record = beside.show(image_id)
    assert (record["size"], record["status"]) == (len(large), "active")
    assert record["os_hash_value"] == hashlib.sha512(large).hexdigest()
    assert proxy.sent - before < 1 << 17
    assert beside.download(image_id).body == large


def test_what_the_service_does_not_copy_is_sent(bucket, proxy, beside, worker):
    large = os.urandom(30 << 20)
    put(bucket, "sent.raw", large)
    refusals = [b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
    proxy.rules[:] = [lambda line: refusals.pop() if "partNumber=2" in line and refusals else None]
    before = proxy.sent
    worker(beside)
    image_id, job = register(beside, bucket, "sent.raw")
    eventually(lambda: job()["end_time"], "the job ends")
    assert job()["status"] == "SUCCESS", job()
    assert not refusals
    assert proxy.sent - before > len(large)
    assert beside.download(image_id).body == large
    assert (
        f"bucket {bucket.name}, so their data is transferred"
        in (beside.directory / "worker-log").read_text()
    )
    assert beside.bucket.uploads() == []


def test_a_copy_is_refused_like_an_upload(bucket, proxy, beside, worker):
    """By its first bytes, before it is copied, or by its last."""
    before = beside.bucket.objects()
    worker(beside)
    for key, body, copied in (
        ("backing.qcow2", images.BACKING_FILE + bytes(12 << 20), False),
        ("raw.vhd", bytes(12 << 20) + b"conectix".ljust(512), True),
    ):
        put(bucket, key, body)
        proxy.requests.clear()
        image_id, job = register(beside, bucket, key)
        eventually(lambda job=job: job()["end_time"], "the job ends")
        assert (job()["status"], job()["error_code"]) == ("FAIL", "IMG.0057")
        assert any("partNumber=" in line for line in proxy.requests) is copied
        assert beside.show(image_id)["status"] == "queued"
    assert beside.bucket.objects() == before
    assert beside.bucket.uploads() == []


def test_deleting_the_image_cancels(bucket, idle, worker):
    put(bucket, "cancelled.raw", BODY)
    image_id, job = register(idle, bucket, "cancelled.raw")
    assert idle.call("DELETE", f"/v2/images/{image_id}").status == 204
    worker(idle)
    eventually(lambda: job()["end_time"], "the job ends")
    assert (job()["status"], job()["error_code"]) == ("FAIL", "IMG.0144")
    assert not idle.residue(image_id)
