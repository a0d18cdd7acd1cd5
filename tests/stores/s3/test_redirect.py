"""Redirects of clients to the service, and objects that other services put there."""

import dataclasses
import urllib.request

import pytest

from imsgate import errors
from imsgate.testing.gateways import gateway
from imsgate.testing.stores.data import body, new_key
from tests.api.people import PEOPLE, Person

DATA = b"snapshot " * 10_000


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


def test_nobody_is_redirected_by_default(bucket, store):
    with store.create(new_key(), 1) as sink:
        sink.write(b"x")
        location = sink.commit()
    assert store.direct_url(location) is None
    store.delete(location)


def test_an_object_of_the_bucket_becomes_an_image(bucket, store):
    gate = gateway(stores=[store], further={"locations": {"stores": [store.name]}})
    roles = frozenset({"service"})
    nova = Person(gate.app, dataclasses.replace(PEOPLE["owner"], service_roles=roles))
    path = nova.create(disk_format="raw", container_format="bare")
    bucket.client.put_object(Bucket=bucket.name, Key="snapshot-7", Body=DATA)
    place = f"127.0.0.1:{bucket.server.port}/{bucket.name}"
    for wrong in (f"s3://a:b@{place}/snapshot-7", f"s3://{place}x/snapshot-7", f"s3://{place}/no"):
        assert nova.post(f"{path}/locations", {"url": wrong}).status_int == 400
    url = f"s3+http://{place}/snapshot-7"
    assert nova.post(f"{path}/locations", {"url": url}).status_int == 202
    assert gate.engine.run_one()
    assert nova.get(f"{path}/file").body == DATA
    shown = nova.get(f"{path}/locations").json
    assert shown == [{"url": url, "metadata": {"store": store.name}}]
    assert nova.delete(path).status_int == 204
    assert bucket.leftovers() == []
