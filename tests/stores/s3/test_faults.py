"""Faults between the store and a real server: the resulting error, and nothing left behind."""

import io
import json
import logging
import re
import subprocess
import sys

import pytest

from imsgate import errors
from imsgate.stores.base import Swept
from imsgate.stores.s3 import client
from imsgate.telemetry import trace_context
from imsgate.testing.stores.checks import assert_missing
from imsgate.testing.stores.data import body, content, new_key
from tests.functional.gateway import clean_env, eventually
from tests.stores.s3 import servers
from tests.stores.s3.conftest import FOR_FAULTS
from tests.stores.s3.proxy import between

PARTS = 4


@pytest.fixture
def proxy(bucket):
    with between(bucket.server.port) as proxy:
        yield proxy


@pytest.fixture
def make(bucket, proxy):
    """A store behind the proxy; nothing may be left at the end of the test."""
    made = []

    def make(**changed):
        made.append(bucket.store(s3_store_host=proxy.url, s3_store_thread_pools=2, **changed))
        return made[-1]

    yield make
    for store in made:
        store.close()
    left = bucket.leftovers()
    bucket.empty()
    assert not left


def image(bucket, parts=PARTS):
    """An image whose size is not a multiple of the part size."""
    return body(parts * bucket.server.part - 1000)


def put(store, data, size=None):
    with store.create(new_key(), size) as sink:
        for piece in iter(io.BytesIO(data).read, b""):
            sink.write(piece)
        return sink.commit()


# Connections that are cut


def part(number):
    return rf"^PUT .*partNumber={number}(&|$)"


BEGIN = r"^POST .*\?uploads"
COMPLETE = r"^POST .*\?uploadId="
ONCE = {
    "begin before it arrived": (BEGIN, 10),
    "begin after it was done": (BEGIN, -1),
    "within its answer": (BEGIN, -20),
    "the first part's header": (part(1), 100),
    "the first part": (part(1), 10_000),
    "the second part": (part(2), 40_000),
    "the last part": (part(PARTS), 30_000),
    "a part's answer": (part(3), -1),
    "complete before it arrived": (COMPLETE, 10),
    "complete after it was done": (COMPLETE, -1),
    "within complete's answer": (COMPLETE, -30),
}


@FOR_FAULTS
@pytest.mark.parametrize(("request_", "after"), ONCE.values(), ids=ONCE)
def test_a_connection_that_breaks_once_is_retried(bucket, make, proxy, request_, after):
    store, data = make(), image(bucket)
    proxy.cut(request_, after)
    location = put(store, data, len(data))
    assert proxy.happened.is_set()
    assert store.size(location) == len(data)
    assert content(store, location) == data
    assert bucket.uploads() == []
    store.delete(location)


@FOR_FAULTS
@pytest.mark.parametrize(("request_", "after"), ONCE.values(), ids=ONCE)
def test_a_connection_that_keeps_breaking_ends_the_upload(bucket, make, proxy, request_, after):
    store, data = make(), image(bucket)
    proxy.cut(request_, after, times=2)
    if request_ == COMPLETE and after < 0:
        # The upload was completed: the object in the bucket decides.
        location = put(store, data)
        assert content(store, location) == data
        store.delete(location)
        return
    with pytest.raises(errors.StoreUnavailable) as caught:
        put(store, data)
    assert caught.value.status == 503
    assert caught.value.headers["Retry-After"] == "30"
    assert bucket.leftovers() == []


@FOR_FAULTS
@pytest.mark.parametrize("after", [-1, -30])
def test_a_small_image_whose_answer_is_lost_was_stored(make, proxy, after):
    store = make()
    proxy.cut("^PUT ", after)
    location = put(store, b"small", 5)
    assert proxy.happened.is_set()
    assert content(store, location) == b"small"
    store.delete(location)


@FOR_FAULTS
def test_a_small_image_that_never_arrives_is_a_failure(bucket, make, proxy):
    store = make()
    proxy.cut("^PUT ", 10, times=2)
    with pytest.raises(errors.StoreUnavailable, match="connection"):
        put(store, b"small")
    assert bucket.leftovers() == []


@FOR_FAULTS
@pytest.mark.parametrize("after", [-1, -100, -1000, -700_000, -1_048_576])
def test_an_interrupted_download_continues_at_the_same_byte(bucket, make, proxy, after):
    store, data = make(), body(6_000_000)
    location = put(store, data, len(data))
    proxy.cut("^GET ", after)
    assert content(store, location) == data
    assert content(store, location, 999_999, 3_000_001) == data[999_999:4_000_000]
    assert proxy.happened.is_set()
    store.delete(location)


@FOR_FAULTS
def test_a_download_that_keeps_breaking_does_not_end_early(make, proxy):
    store, data = make(), body(1_500_000)
    location = put(store, data, len(data))
    reader = store.read(location)
    proxy.cut("^GET ", -1, times=50)
    with pytest.raises(errors.StoreUnavailable):
        list(reader)
    proxy.rules.clear()
    store.delete(location)


def test_a_server_that_is_gone(bucket, make, proxy):
    store, data = make(), image(bucket)
    location = put(store, data)
    sink = store.create(new_key(), None)
    proxy.close()
    sink.write(b"small")
    with pytest.raises(errors.StoreUnavailable):
        sink.commit()
    for call in (store.size, store.read, store.delete):
        with pytest.raises(errors.StoreUnavailable, match="cannot be reached"):
            call(location)
    bucket.client.delete_object(Bucket=bucket.name, Key=location)


# Processes that die


_KILLED = """
import json, sys
from imsgate.config import Section
from imsgate.stores.s3.store import S3Store

told = json.load(sys.stdin)
store = S3Store("lab", Section(**told["settings"]))
sink = store.create(told["key"], told["size"])
while True:
    sink.write(b"x" * 65536)
"""


@pytest.mark.parametrize("size", [1 << 40, None], ids=["known", "unknown"])
@pytest.mark.parametrize("how", ["discard", "sweep"])
def test_a_process_killed_within_a_part(bucket, make, proxy, tmp_path, size, how):
    store, key = make(), new_key()
    settings = vars(bucket.settings(s3_store_host=proxy.url, s3_store_max_parts=1 << 20))
    told = {"settings": settings, "key": key, "size": size}
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, env=clean_env(tmp_path)
    ) as child:
        child.stdin.write(json.dumps(told).encode())
        child.stdin.close()
        eventually(lambda: any(re.search(part(2), line) for line in proxy.requests), "a part")
        child.kill()
    assert bucket.uploads() == [key]
    if how == "discard":
        store.discard(key)
    else:
        assert store.sweep(3600, lambda _: False).attempts == 0
        assert store.sweep(0, lambda asked: asked == key).attempts == 0
        assert bucket.uploads() == [key]
        assert store.sweep(0, lambda _: False).attempts == 1
    assert bucket.leftovers() == []


def test_the_sweep_of_objects(bucket, make):
    """Only those of attempts, and only those that nobody claims."""
    store = make()
    kept, orphan = put(store, b"data"), put(store, b"orphan")
    bucket.client.put_object(Bucket=bucket.name, Key="notes", Body=b"of somebody else")
    asked = []
    swept = store.sweep_objects(lambda key: asked.append(key) or key == orphan)
    assert swept == Swept(1, 6)
    assert sorted(asked) == sorted([kept, orphan])
    assert sorted(bucket.objects()) == sorted([kept, "notes"])
    store.delete(kept)
    bucket.client.delete_object(Bucket=bucket.name, Key="notes")


def test_the_sweep_removes_nothing_of_others(bucket, make):
    store = make()
    other = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="backup.tar")
    location = put(store, b"kept")
    assert store.sweep(0, lambda _: False).attempts == 0
    assert bucket.uploads() == ["backup.tar"]
    assert content(store, location) == b"kept"
    bucket.client.abort_multipart_upload(
        Bucket=bucket.name, Key="backup.tar", UploadId=other["UploadId"]
    )
    store.delete(location)


def test_another_process_cannot_commit_what_was_discarded(bucket, make):
    store, other = make(), make()
    data, key = image(bucket), new_key()
    with store.create(key, len(data)) as sink:
        sink.write(data)
        other.discard(key)
        with pytest.raises(errors.StoreUnavailable):
            sink.commit()
    assert_missing(store, key, "another process discarded it")


def test_a_server_that_restarts_during_an_upload(tmp_path):
    with servers.running(servers.seaweed(tmp_path)) as server, servers.bucket(server) as bucket:
        store, key = bucket.store(), new_key()
        data = body(3 * server.part)
        sink = store.create(key, None)
        sink.write(data)
        eventually(bucket.uploads, "the upload begins")
        server.stop(kill=True)
        with pytest.raises(errors.StoreUnavailable) as caught:
            _finish(sink, data)
        assert caught.value.status == 503
        server.start()
        # The volumes are ready a little after the server answers.
        eventually(lambda: _ended(store, key), "the residue can be removed")
        assert bucket.leftovers() == []
        location = eventually(lambda: _tried(store, data), "the next upload succeeds")
        assert content(store, location) == data
        store.close()


def _finish(sink, data):
    sink.write(data)
    sink.commit()


def _ended(store, key):
    try:
        store.discard(key)
    except errors.StoreUnavailable:
        return False
    return True


def _tried(store, data):
    try:
        return put(store, data)
    except errors.StoreUnavailable:
        return None


# Refusals


def test_an_upload_that_is_denied_midway(ceph):
    with servers.bucket(ceph) as bucket:
        store, data = bucket.store(), body(ceph.part)
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{bucket.name}/*",
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        sink = store.create(new_key(), None)
        sink.write(data + data)
        eventually(bucket.uploads, "the upload begins")
        bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))
        with pytest.raises(errors.StoreDenied, match="AccessDenied") as caught:
            _finish(sink, data)
        assert caught.value.status == 503
        assert bucket.leftovers() == []
        store.close()


def test_a_bucket_that_is_removed(ceph):
    with servers.bucket(ceph) as bucket:
        store = bucket.store()
        sink = store.create(new_key(), None)
        sink.write(b"data")
        bucket.client.delete_bucket(Bucket=bucket.name)
        for call in (
            sink.commit,
            lambda: store.size("key"),
            lambda: store.read("key"),
            lambda: store.create(new_key(), 1 << 30),
        ):
            with pytest.raises(errors.StoreUnavailable, match="bucket does not exist"):
                call()
        store.close()


WRONG = {
    "bucket": ({"s3_store_bucket": "no-such-bucket"}, "s3_store_bucket"),
    "no region": ({"s3_store_region_name": "eu_central 1"}, "s3_store_region_name"),
    "number for a region": ({"s3_store_region_name": "1"}, "s3_store_region_name"),
    "no bucket": ({"s3_store_bucket": None}, "s3_store_bucket"),
    "no bucket's name": ({"s3_store_bucket": "a/../b"}, "s3_store_bucket"),
    "access key": ({"s3_store_access_key": "someone"}, "s3_store_access_key"),
    "no access key": ({"s3_store_access_key": None}, "s3_store_access_key"),
    "secret key": ({"s3_store_secret_key": "a-wrong-one"}, "s3_store_access_key"),
    "endpoint": ({"s3_store_host": "http://127.0.0.1:1"}, "s3_store_host"),
    "scheme": ({"s3_store_host": "ftp://127.0.0.1"}, "s3_store_host"),
    "path": ({"s3_store_host": "http://127.0.0.1/here"}, "s3_store_host"),
    "credentials": ({"s3_store_host": f"http://me:{servers.SECRET}@h"}, "s3_store_host"),
    "certificates": ({"s3_store_cacert": "/nowhere/ca.pem"}, "s3_store_cacert"),
}


@pytest.mark.parametrize(("changed", "option"), WRONG.values(), ids=WRONG)
def test_it_refuses_to_start_and_names_the_option(bucket, changed, option):
    with pytest.raises(errors.BadConfig) as caught:
        bucket.store(**changed)
    assert caught.value.key == f"[lab] {option}"
    assert servers.SECRET not in str(caught.value)


def test_refused_access_at_start_names_every_usual_cause(bucket):
    with pytest.raises(errors.BadConfig) as caught:
        bucket.store(s3_store_secret_key="a-wrong-one")
    for cause in ("s3_store_secret_key", "permissions on the bucket", "clock"):
        assert cause in caught.value.problem


def test_a_missing_bucket_can_be_made(bucket):
    name = f"{bucket.name}-made"
    changed = {"s3_store_bucket": name, "s3_store_create_bucket_on_put": True}
    store, twin = bucket.store(**changed), bucket.store(**changed)
    assert store.unmarked() == twin.unmarked() == "[lab] s3_store_bucket"
    with pytest.raises(errors.StoreUnavailable):
        store.size("key")
    location = put(store, b"data")
    twin.mark()  # another process has been faster
    assert store.unmarked() is twin.unmarked() is None
    twin.delete(location)
    store.close()
    twin.close()
    bucket.client.delete_bucket(Bucket=name)


def test_a_bucket_that_is_deleted_while_it_is_used(bucket):
    """It is not made anew, and its objects are not taken for deleted."""
    name = f"{bucket.name}-deleted"
    bucket.client.create_bucket(Bucket=name)
    store = bucket.store(s3_store_bucket=name, s3_store_create_bucket_on_put=True)
    location = put(store, b"data")
    store.delete(location)
    bucket.client.delete_bucket(Bucket=name)
    calls = {
        "read": lambda: store.read(location),
        "size": lambda: store.size(location),
        "delete": lambda: store.delete(location),
        "discard": lambda: store.discard(location),
        "check": store.check,
        "create": lambda: put(store, b"data", 4),
    }
    if bucket.server.name == "seaweed":
        del calls["create"]  # this service itself makes a bucket for every object
    for call in calls.values():
        with pytest.raises(errors.StoreUnavailable, match="the bucket does not exist"):
            call()
    store.close()


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"


def test_the_404_of_a_proxy_is_not_that_of_an_object(bucket, make, proxy):
    """It is sent for every path, so it says nothing of an object."""
    store = make()
    location = put(store, b"data")
    proxy.rules.append(lambda line: NOT_FOUND)
    for call in (store.read, store.size, store.delete, store.discard):
        with pytest.raises(errors.StoreUnavailable):
            call(location)
    proxy.rules.clear()
    store.delete(location)


def test_nothing_shows_the_credentials(bucket, make, proxy, caplog):
    caplog.set_level(logging.INFO)
    store = make()
    shown = [repr(store), repr(store.settings), str(vars(store.settings).keys())]
    shown.append(json.dumps(dict(store.properties())))
    proxy.cut(".", 10, times=30)
    for call in (lambda: store.size("key"), lambda: put(store, image(bucket))):
        with pytest.raises(errors.StoreUnavailable) as caught:
            call()
        shown += [str(caught.value), repr(caught.value), str(caught.value.details)]
    denied = bucket.settings(s3_store_secret_key="another-" + servers.SECRET)
    with pytest.raises(errors.BadConfig) as refused:
        type(store)("lab", denied)
    shown += [str(refused.value), caplog.text]
    assert servers.SECRET not in "".join(shown)
    assert servers.ACCESS not in "".join(shown)
    proxy.rules.clear()


#: As a web server answers that redirects from http to https.
REDIRECT = b"HTTP/1.1 %s\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
REDIRECTS = [b"301 Moved Permanently", b"302 Found", b"307 Temporary Redirect", b"308 Permanent"]


@FOR_FAULTS
@pytest.mark.parametrize("status", REDIRECTS, ids=bytes.decode)
def test_a_service_that_redirects_without_a_region(bucket, make, proxy, status):
    """botocore asked for the region again and again, and ended in a RecursionError."""
    store = make()
    location = put(store, b"data")
    proxy.rules.append(lambda line: REDIRECT % status)
    for call in (
        lambda: store.size(location),
        lambda: list(store.read(location)),
        lambda: put(store, b"data"),
        lambda: put(store, image(bucket)),
        lambda: store.delete(location),
        store.check,
    ):
        with pytest.raises(errors.StoreUnavailable):
            call()
    with pytest.raises(errors.BadConfig, match="a redirect: see s3_store_host"):
        bucket.store(s3_store_host=proxy.url)
    assert len(proxy.requests) < 100
    proxy.rules.clear()
    store.delete(location)


# Traces


@pytest.mark.parametrize("bucket", ["seaweed"], indirect=True)
def test_the_threads_of_an_upload_and_a_download_pass_the_trace_on(bucket, make, monkeypatch):
    seen = set()
    add = client._add_trace

    def watch(request, **more):
        add(request, **more)
        seen.add((request.method, request.headers.get("traceparent")))

    monkeypatch.setattr(client, "_add_trace", watch)
    store, data = make(), image(bucket)
    seen.clear()
    trace = trace_context.received(None, None)
    trace_context.enter(trace)
    try:
        location = put(store, data, len(data))
        assert content(store, location) == data
        store.delete(location)
    finally:
        trace_context.enter(None)
    assert {method for method, _ in seen} >= {"POST", "PUT", "GET", "DELETE"}
    assert {parent for _, parent in seen} == {trace.headers["traceparent"]}
