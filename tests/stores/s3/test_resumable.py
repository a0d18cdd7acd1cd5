"""Resumable attempts in several parts on every real server."""

import pytest

from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Swept
from imsgate.testing.store_data import body, content, new_key
from imsgate.testing.store_resumable import ResumableChecks


class TestResumableParts(ResumableChecks):
    """The kit's checks with attempts that are larger than a part of the server."""

    SEQUENCES = 4

    @pytest.fixture
    def store(self, bucket, parts_store):
        self.bucket, self.PART = bucket, bucket.server.part
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
    key, part = new_key(), bucket.server.part
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
