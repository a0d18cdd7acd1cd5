"""Copies in a bucket are verified, and repaired from files and into files."""

import pytest

from imsgate import model
from imsgate.model import Damage, JobState, Location, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.stores.filesystem import FilesystemStore
from imsgate.testing import records
from imsgate.testing.gateways import gateway, settings
from imsgate.verification.checking import Verifier
from imsgate.verification.repair import Repairs
from tests.verification.site import DATA, DIGESTS

pytestmark = pytest.mark.parametrize("bucket", ["seaweed"], indirect=True)


def swap(bucket, key):
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=bytes(len(DATA)))


def truncate(bucket, key):
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=DATA[:10])


def remove(bucket, key):
    bucket.client.delete_object(Bucket=bucket.name, Key=key)


@pytest.mark.parametrize(
    ("fault", "damage"),
    [(swap, Damage.CONTENT), (truncate, Damage.SIZE), (remove, Damage.MISSING)],
)
def test_an_object_is_damaged_and_repaired(bucket, store, tmp_path, fault, damage):
    options = settings(FilesystemStore.OPTS, filesystem_store_datadir=str(tmp_path / "files"))
    files = FilesystemStore("files", options)
    files.mark()
    registry = MemoryRegistry()
    gate = gateway(registry=registry, stores=[store, files])
    record = records.image(status=Status.ACTIVE, updated_at=model.now(), **DIGESTS)
    places = []
    for each in (store, files):
        with each.create(f"{record.id}.1", len(DATA)) as sink:
            sink.write(DATA)
            places.append(Location(each.name, sink.commit()))
    registry.add(record)
    registry.change(record.id, {}, locations=tuple(places))
    verifier = Verifier(registry, gate.stores)

    def verify():
        places = [(record.id, place) for place in registry.get(record.id).locations]
        return [result.damage for result in verifier.verify(places)]

    assert verify() == [None, None]
    (key,) = bucket.objects()
    fault(bucket, key)
    assert verify() == [damage, None]
    job = Repairs(stores=gate.stores, engine=gate.engine).start(registry.get(record.id))
    assert gate.engine.run_one(job.id)
    assert registry.get_job(job.id).state is JobState.SUCCESS
    assert verify() == [None, None]
    (new,) = bucket.objects()
    assert new != key
    assert bucket.client.get_object(Bucket=bucket.name, Key=new)["Body"].read() == DATA
