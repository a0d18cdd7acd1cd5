"""Clients that are sent to the service itself."""

import urllib.request

import pytest

from imsgate import errors
from imsgate.testing.stores import body, new_key


def test_a_presigned_url_gives_the_object_and_its_ranges(bucket):
    store, data = bucket.store(s3_store_redirect=True), body(100_000)
    with store.create(new_key(), len(data)) as sink:
        sink.write(data)
        location = sink.commit()
    url = store.direct_url(location)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == data
    ranged = urllib.request.Request(url, headers={"Range": "bytes=10-99"})
    with urllib.request.urlopen(ranged) as answer:
        assert (answer.status, answer.read()) == (206, data[10:100])
    assert bucket.name in url
    store.delete(location)
    with pytest.raises(errors.ObjectNotFound):
        store.direct_url(location)
    store.close()


def test_nobody_is_sent_away_unless_the_operator_says_so(bucket, store):
    with store.create(new_key(), 1) as sink:
        sink.write(b"x")
        location = sink.commit()
    assert store.direct_url(location) is None
    store.delete(location)
