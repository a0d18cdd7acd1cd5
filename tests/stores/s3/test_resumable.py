"""Resumable attempts in several parts on every real server."""

import contextlib
import re

import pytest

from imsgate import errors
from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Swept
from imsgate.stores.s3.plan import Plan
from imsgate.testing.stores.data import body, content, new_key
from imsgate.testing.stores.resumable import ResumableChecks
from tests.stores.s3.proxy import between


def part_of(bucket):
    """The size in bytes of the parts that the bucket's stores make of resumable attempts."""
    return Plan(bucket.server.part).aligned().part


class TestResumableParts(ResumableChecks):
    """The kit's checks with attempts that are larger than a part of the server."""

    SEQUENCES = 4

    @pytest.fixture
    def store(self, bucket, parts_store):
        self.bucket, self.PART = bucket, part_of(bucket)
        if self.PART == ResumableChecks.PART:
            pytest.skip("the store contract has these sizes")
        return parts_store

    def leftovers(self, store):
        return self.bucket.leftovers()


@pytest.fixture(scope="module")
def parts_store(bucket):
    store = bucket.store()
    yield store
    store.close()


def test_a_part_that_was_sent_twice_counts_once(bucket, parts_store):
    """Some services list it twice."""
    key, part = new_key(), part_of(bucket)
    data = body(2 * part + 5)
    with parts_store.begin(key, None, 1) as sink:
        sink.write(data)
        assert sink.suspend() == len(data)
    upload = bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"][0]
    named = {"Bucket": bucket.name, "Key": key, "UploadId": upload["UploadId"]}
    bucket.client.upload_part(**named, PartNumber=1, Body=data[:part])
    assert parts_store.durable(key, None, 2) == len(data)
    with parts_store.resume(key, None, len(data), 2) as sink:
        location = sink.commit()
    assert content(parts_store, location) == data
    parts_store.delete(location)


def test_requests_of_a_round_size_leave_no_rest(bucket):
    key, size = new_key(), part_of(bucket)
    data = body(4 * size)
    store = bucket.store(s3_store_large_object_chunk_size=size * 3 // 4 / (1 << 20))
    with store.begin(key, len(data), 1) as sink:
        sink.write(data[: 2 * size])
        sink.suspend()
    with store.resume(key, len(data), 2 * size, 2) as sink:
        sink.write(data[2 * size :])
        sink.suspend()
    assert list(bucket.objects()) == [f"{key}.rest-2"]
    finish(store.resume(key, len(data), 4 * size, 3), b"")
    assert content(store, key) == data
    store.delete(key)
    store.close()
    assert bucket.leftovers() == []


def test_a_rest_is_no_object(bucket, parts_store):
    key = new_key()
    with parts_store.begin(key, None, 1) as sink:
        sink.write(b"data")
        sink.suspend()
    rests = list(bucket.objects())
    assert rests == [f"{key}.rest-1-0"]
    with pytest.raises(ObjectNotFound):
        parts_store.size(rests[0])
    assert parts_store.sweep_objects(lambda _: True) == Swept(0, 0)
    parts_store.discard(key)
    assert bucket.leftovers() == []


def test_the_sweep_removes_a_rest_without_an_upload(bucket, parts_store):
    """A stale process stores it, and dies, while another one discards the attempt."""
    key, other = new_key(), new_key()
    for name in (f"{key}.rest-1-0", f"{other}.rest-2", "notes.rest-1-0"):
        bucket.client.put_object(Bucket=bucket.name, Key=name, Body=b"data")
    assert parts_store.sweep(3600, lambda _: False) == Swept(0, 0)
    assert parts_store.sweep(0, lambda asked: asked == other) == Swept(0, 4)
    assert sorted(bucket.objects()) == sorted([f"{other}.rest-2", "notes.rest-1-0"])
    bucket.empty()


@pytest.mark.parametrize("lost", ["^PUT", "^POST", "^GET"])
def test_an_attempt_survives_requests_that_do_not_arrive(bucket, lost):
    key, part = new_key(), part_of(bucket)
    data = body(3 * part + 5)
    with between(bucket.server.port) as proxy:
        store = bucket.store(s3_store_host=proxy.url)
        with store.begin(key, None, 1) as sink:
            sink.write(data[: part + 5])
            assert sink.suspend() == part + 5
        sink = store.resume(key, None, part + 5, 2)
        proxy.rules.append(lambda line: 0 if re.match(lost, line) else None)
        with pytest.raises(errors.StoreUnavailable):
            finish(sink, data[part + 5 :])
        with contextlib.suppress(errors.StoreUnavailable):
            assert sink.suspend() >= part + 5
        proxy.rules.clear()
        count = store.durable(key, None, 3)
        assert count >= part + 5
        finish(store.resume(key, None, count, 3), data[count:])
        assert content(store, key) == data
        store.delete(key)
        store.close()
    assert bucket.leftovers() == []


def finish(sink, data):
    if data:
        sink.write(data)
    sink.commit()
