"""Sizes around that of a part, and images with very many parts."""

import concurrent.futures

import pytest

from imsgate import errors
from imsgate.testing.stores.data import MIB, body, content, new_key, pieces
from tests.stores.s3 import servers

KIB = 1024


def put(store, data, size):
    with store.create(new_key(), size) as sink:
        for piece in pieces(data, MIB):
            sink.write(piece)
        return sink.commit()


HOW = {"known, MD5": (True, "when_required"), "unknown, CRC32": (False, "when_supported")}


@pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 10 * MIB])
@pytest.mark.parametrize(("known", "mode"), HOW.values(), ids=HOW)
def test_sizes_around_a_part(bucket, sizes_store, size, known, mode):
    store, data = sizes_store(mode), body(size)
    location = put(store, data, size if known else None)
    assert store.size(location) == size
    assert content(store, location) == data
    store.delete(location)
    assert bucket.leftovers() == []


@pytest.fixture(scope="module")
def sizes_store(bucket):
    made = {}

    def make(mode):
        if mode not in made:
            made[mode] = bucket.store(
                s3_store_large_object_chunk_size=5, s3_store_request_checksum_calculation=mode
            )
        return made[mode]

    yield make
    for store in made.values():
        store.close()


@pytest.fixture
def small_parts(ceph):
    """A store with parts of 64 KiB, which this server is configured to accept."""
    with servers.bucket(ceph) as bucket:
        made = []

        def make(**changed):
            made.append(bucket.store(s3_store_large_object_chunk_size=1 / 16, **changed))
            return made[-1]

        yield make
        for store in made:
            store.close()
        assert bucket.leftovers() == []


def test_more_parts_than_one_answer_lists(small_parts):
    store = small_parts(s3_store_equal_parts=True)
    data = body(1100 * 64 * KIB + 1)
    location = put(store, data, None)
    assert content(store, location) == data
    store.delete(location)
    with store.create(key := new_key(), None) as sink:
        sink.write(data)
        store.discard(key)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("parts", [24, 25, 100])
def test_an_image_larger_than_all_its_parts_of_the_least_size(small_parts, known, parts):
    store = small_parts(s3_store_max_parts=24)
    data = body(parts * 64 * KIB + 1)
    location = put(store, data, len(data) if known else None)
    assert content(store, location) == data
    store.delete(location)


def test_equal_parts_limit_the_size(small_parts):
    store = small_parts(s3_store_equal_parts=True, s3_store_max_parts=10)
    data = body(10 * 64 * KIB)
    location = put(store, data, None)
    store.delete(location)
    with pytest.raises(errors.StoreFull):
        put(store, data + b"x", None)


def test_the_sweep_counts_all_parts_of_all_uploads(seaweed):
    with servers.bucket(seaweed) as bucket, concurrent.futures.ThreadPoolExecutor(8) as pool:
        store = bucket.store()
        key = new_key()
        begun = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)

        def part(number):
            bucket.client.upload_part(
                Bucket=bucket.name,
                Key=key,
                UploadId=begun["UploadId"],
                PartNumber=number,
                Body=b"12",
            )

        list(pool.map(part, range(1, 1011)))
        swept = store.sweep(0, lambda _: False)
        assert (swept.attempts, swept.bytes) == (1, 2020)
        assert bucket.uploads() == []
        store.close()
