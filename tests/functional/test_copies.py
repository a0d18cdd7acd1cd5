"""Images in several stores, one of them a real S3 server that is stopped and started again."""

import contextlib
import json
import pathlib
import random
from collections.abc import Callable, Iterator

import pytest

from imsgate import config
from imsgate.model import Location
from imsgate.registry.loader import load_registry
from imsgate.stores import loader
from tests.functional.gateway import Gateway, eventually
from tests.functional.test_clients import GLANCE, OPENSTACK, Client, digest
from tests.functional.wire import MIB, Wire, length
from tests.stores.s3 import servers

DATA = random.Random(4).randbytes(3 * MIB + 5)

CONFIG = """
[DEFAULT]
enabled_backends = disk:file, cloud:s3

[glance_store]
default_backend = disk

[disk]
filesystem_store_datadir = {state}/disk

[cloud]
store_description = Far away
weight = 10
optional = true
s3_store_host = %s
s3_store_region_name = us-east-1
s3_store_access_key = %s
s3_store_secret_key = %s
s3_store_bucket = %s
s3_store_bucket_url_format = path
"""


@contextlib.contextmanager
def stopped(bucket: servers.Bucket) -> Iterator[None]:
    bucket.server.stop(kill=True)
    try:
        yield
    finally:
        bucket.server.start()
        eventually(bucket.client.list_buckets, "it answers")


def config_of(bucket: servers.Bucket) -> str:
    return CONFIG % (bucket.server.url, servers.ACCESS, servers.SECRET, bucket.name)


@pytest.fixture
def gateway(bucket: servers.Bucket, start: Callable[..., Gateway]) -> Gateway:
    return start(config_of(bucket))


def copy(gateway: Gateway, image_id: str, data: bytes, store: str) -> None:
    """A second copy, as a job will make it."""
    conf = config.Config([str(gateway.config)], str(gateway.state))
    registry = load_registry(conf)
    with contextlib.closing(registry):
        with loader.load(conf).get(store).create(f"{image_id}.c0b1", len(data)) as sink:
            sink.write(data)
            location = Location(store, sink.commit())
        image = registry.get(image_id)
        registry.change(image_id, {"status": "active"}, locations=(*image.locations, location))


def to(store: str) -> dict[str, str]:
    return {"X-Image-Meta-Store": store}


def ranges(gateway: Gateway, image_id: str) -> None:
    """All of it, and parts of it, come back."""
    assert gateway.download(image_id).body == DATA
    for text, part in (("0-0", DATA[:1]), ("1048575-2097153", DATA[1048575:2097154])):
        answer = gateway.download(image_id, Range=f"bytes={text}")
        assert (answer.status, answer.body) == (206, part)
    assert gateway.download(image_id, Range="bytes=-7").body == DATA[-7:]


def test_unchanged_clients_use_both_stores(gateway: Gateway, tmp_path: pathlib.Path) -> None:
    client = Client(gateway, tmp_path, gateway.token())
    disk = tmp_path / "disk.raw"
    disk.write_bytes(DATA)
    formats = ("--disk-format", "raw", "--container-format", "bare")
    first = client.openstack("image", "create", *formats, "--file", disk, "first")["id"]
    second = gateway.create()  # the OpenStack client can name a store for imports only
    client.run(GLANCE, "image-upload", "--store", "cloud", "--file", disk, second)
    for image_id, store in ((first, "disk"), (second, "cloud")):
        assert gateway.show(image_id)["stores"] == store
        client.run(OPENSTACK, "image", "save", "--file", tmp_path / store, image_id)
        assert digest(tmp_path / store) == digest(disk)
        ranges(gateway, image_id)
    client.run(OPENSTACK, "image", "delete", first, second)
    assert not gateway.residue()


def test_a_store_that_is_stopped_takes_nothing_along(
    gateway: Gateway, bucket: servers.Bucket
) -> None:
    both, far = gateway.stored(DATA), gateway.create()
    assert gateway.upload(far, DATA, headers=to("cloud")).status == 204
    copy(gateway, both, DATA, "cloud")
    assert gateway.show(both)["stores"] == "disk,cloud"
    ranges(gateway, both)
    late, cut = gateway.create(), gateway.create()
    with Wire(gateway) as wire:
        wire.put(cut, [*length(len(DATA)), *to("cloud").items()])
        wire.send(DATA[:MIB]).saving(cut)
        bucket.server.stop(kill=True)
    with stopped(bucket):
        ranges(gateway, both)
        assert_away(gateway.download(far))
        assert_away(gateway.upload(late, DATA, headers=to("cloud")))
        health = {store["id"]: store["health"] for store in detail(gateway)}
        assert health["disk"] == "up"
        assert "is not available now" in health["cloud"]
        assert gateway.upload(gateway.create(), DATA).status == 204
        # Whatever a store that is away holds of an upload that failed, its image is free.
        for image_id in (cut, late):
            eventually(lambda: gateway.status(image_id) == "queued", "it is free")  # noqa: B023
    eventually(lambda: gateway.download(far).status == 200, "the store is back")
    ranges(gateway, far)
    assert gateway.upload(late, DATA, headers=to("cloud")).status == 204
    ranges(gateway, late)


def test_an_optional_store_may_be_away_at_start(
    bucket: servers.Bucket, start: Callable[..., Gateway]
) -> None:
    with stopped(bucket):
        gateway = start(config_of(bucket))
        image = gateway.stored(DATA)
        assert_away(gateway.upload(gateway.create(), DATA, headers=to("cloud")))
        assert [store["health"] for store in detail(gateway)] != ["up", "up"]
        ranges(gateway, image)


def assert_away(answer) -> None:
    assert answer.outcome == (503, "store_unavailable"), answer.body
    assert int(answer.headers["Retry-After"]) > 0
    assert servers.SECRET not in answer.body.decode()
    assert servers.ACCESS not in answer.body.decode()


def detail(gateway: Gateway):
    return gateway.call("GET", "/v2/info/stores/detail", token=gateway.admin).json["stores"]


def test_one_copy_is_deleted_and_the_other_serves(gateway: Gateway, bucket: servers.Bucket) -> None:
    image_id = gateway.stored(DATA)
    copy(gateway, image_id, DATA, "cloud")
    path = f"/v2/stores/disk/{image_id}"
    assert gateway.call("DELETE", path, token=gateway.admin).status == 204
    assert gateway.show(image_id)["stores"] == "cloud"
    assert not gateway.residue(image_id)
    ranges(gateway, image_id)
    assert gateway.call("DELETE", f"/v2/images/{image_id}").status == 204
    assert image_id not in str(bucket.leftovers())


def test_no_secret_is_kept_or_told(gateway: Gateway) -> None:
    image_id = gateway.create()
    assert gateway.upload(image_id, DATA, headers=to("cloud")).status == 204
    conf = config.Config([str(gateway.config)], str(gateway.state))
    with contextlib.closing(load_registry(conf)) as registry:
        (location,) = registry.get(image_id).locations
    assert location.url.startswith(image_id)
    told = gateway.log_text() + json.dumps([gateway.show(image_id), detail(gateway)])
    assert servers.SECRET not in told
