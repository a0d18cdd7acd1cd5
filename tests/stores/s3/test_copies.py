"""Copies from users' buckets into a store that the service makes itself."""

import contextlib
import dataclasses
import itertools
import os

import pytest

from imsgate import errors
from imsgate.buckets.s3 import S3Buckets
from imsgate.config import Section
from imsgate.testing.stores.data import content, new_key
from tests.stores.s3 import servers
from tests.stores.s3.proxy import between

KEY = "a b/ü?x=%2e"


@pytest.fixture(scope="module")
def users(bucket):
    """A user's bucket in the same service, with an object of several parts."""
    with servers.bucket(bucket.server) as users:
        # Ceph 16, which these tests use, does not find a source whose key needs quoting.
        users.key = "plain" if bucket.server.name == "ceph" else KEY
        users.body = os.urandom(3 * bucket.server.part + 1)
        users.client.put_object(Bucket=users.name, Key=users.key, Body=users.body)
        yield users
        users.empty()


@pytest.fixture
def proxy(bucket):
    with between(bucket.server.port) as proxy:
        yield proxy


@pytest.fixture
def store(bucket, proxy):
    """A store behind the proxy; nothing may be left at the end of the test."""
    store = bucket.store(s3_store_host=proxy.url, s3_store_thread_pools=1)
    yield store
    store.close()
    left = [*bucket.objects(), *bucket.uploads()]
    bucket.empty()
    assert not left


def copy_source(users, host, **own):
    settings = {**vars(users.settings(s3_store_host=host)), "allowed": [], "driver": "s3"}
    given = {**settings, "server_side_copy": True, "minimum_rate": 4096, **own}
    service = S3Buckets("ims_buckets", Section(**given))
    return service.find(users.name, users.key).copy_source


def copy(store, users, source, check=lambda: None):
    with store.copy(new_key(), source, len(users.body), check) or contextlib.nullcontext() as sink:
        return sink and sink.commit()


def at(part, step):
    """A ``check`` that calls ``step`` before part ``part``."""
    parts = itertools.count(1)
    return lambda: step() if next(parts) == part else None


def test_the_service_copies(bucket, users, store, proxy):
    location = copy(store, users, copy_source(users, proxy.url))
    assert proxy.sent < 1 << 16
    assert content(store, location) == users.body
    assert bucket.uploads() == []
    store.delete(location)


def test_the_service_copies_the_object_of_another_store(users, store, proxy):
    with contextlib.closing(users.store(s3_store_host=proxy.url)) as origin:
        with origin.create(new_key(), len(users.body)) as sink:
            sink.write(users.body)
            location = sink.commit()
        before = proxy.sent
        copied = copy(store, users, origin.copy_source(location))
        assert proxy.sent - before < 1 << 16
        assert content(store, copied) == users.body
        store.delete(copied)
        origin.delete(location)
        with pytest.raises(errors.ObjectNotFound):
            origin.copy_source(location)


def test_what_is_not_copied(bucket, users, store, proxy):
    assert copy_source(users, proxy.url, server_side_copy=False) is None
    before = len(proxy.requests)
    assert copy(store, users, copy_source(users, bucket.server.url)) is None  # another service
    small = bucket.server.part
    with_whole = bucket.store(s3_store_host=proxy.url, s3_store_large_object_size=10)
    assert with_whole.copy("0", copy_source(users, proxy.url), small, lambda: None) is None
    with_whole.close()
    assert not [line for line in proxy.requests[before:] if "partNumber" in line]


def test_an_object_that_was_replaced_meanwhile_is_refused(users, store, proxy):
    source = copy_source(users, proxy.url)
    etag = '"00000000000000000000000000000000"'
    with pytest.raises(errors.SourceFailed, match="replaced"):
        copy(store, users, dataclasses.replace(source, etag=etag))

    def replace():
        users.client.put_object(Bucket=users.name, Key=users.key, Body=users.body[::-1])

    try:
        with pytest.raises(errors.SourceFailed, match="replaced"):
            copy(store, users, source, at(3, replace))
    finally:
        users.client.put_object(Bucket=users.name, Key=users.key, Body=users.body)


def answer(status, code=""):
    body = f"<Error><Code>{code}</Code></Error>" if code else ""
    head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (answer(501, "NotImplemented"), "does not support"),
        (answer(403, "AccessDenied"), "AccessDenied"),
        (answer(404, "NoSuchKey"), "does not find the source object"),
        (answer(400, "InvalidRequest"), "InvalidRequest"),
        (answer(200), "did not copy"),
    ],
    ids=["501", "403", "404", "400", "no copy"],
)
@pytest.mark.parametrize("number", [1, 3])
def test_what_the_service_refuses_to_copy(users, store, proxy, caplog, number, refusal, says):
    source = copy_source(users, proxy.url)
    proxy.rules[:] = [lambda line: refusal if f"partNumber={number}&" in f"{line}&" else None]
    for _ in range(2):
        assert copy(store, users, source) is None
    (said,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert says in said.getMessage()
    assert users.name in said.getMessage()


def test_it_can_be_stopped(users, store, proxy):
    def cancel():
        raise errors.Cancelled(image_id="0")

    with pytest.raises(errors.Cancelled):
        copy(store, users, copy_source(users, proxy.url), at(3, cancel))


def test_a_discarded_copy_is_not_committed(bucket, users, store, proxy):
    key, size = new_key(), len(users.body)
    with pytest.raises(errors.StoreUnavailable, match="discarded"):
        store.copy(key, copy_source(users, proxy.url), size, at(2, lambda: store.discard(key)))
    # Discarded by another process, after the last part.
    sink = store.copy(key, copy_source(users, proxy.url), size, lambda: None)
    with contextlib.closing(bucket.store()) as other:
        other.discard(key)
    with sink, pytest.raises(errors.StoreUnavailable):
        sink.commit()
