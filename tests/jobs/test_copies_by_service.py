"""``copy-image`` between stores whose service copies objects itself, here the file system."""

import hashlib
import os
import pathlib

import pytest

from imsgate import errors, model
from imsgate.jobs.methods import COPY
from imsgate.model import JobState, Location, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.stores.filesystem import FilesystemStore
from imsgate.testing import records
from imsgate.testing.gateways import gateway, settings
from imsgate.testing.stores.data import content

DATA = os.urandom(1 << 20)
MD5, SHA256 = hashlib.md5(DATA).hexdigest(), hashlib.sha256(DATA).hexdigest()


class Site:
    """An image in the store ``origin``, and the empty store ``target``."""

    def __init__(self, directory, **digests):
        self.registry = MemoryRegistry()
        self.stores = {name: self._store(directory, name) for name in ("origin", "target")}
        self.gateway = gateway(registry=self.registry, stores=list(self.stores.values()))
        fields = {"size": len(DATA), "checksum": None, "os_hash_algo": None, "os_hash_value": None}
        record = records.image(status=Status.ACTIVE, updated_at=model.now(), **fields | digests)
        with self.stores["origin"].create(f"{record.id}.1", len(DATA)) as sink:
            sink.write(DATA)
            self.origin = Location("origin", sink.commit())
        self.registry.add(record)
        self.registry.change(record.id, {}, locations=(self.origin,))
        self.image_id = record.id

    def _store(self, directory, name):
        place = str(directory / name)
        store = FilesystemStore(
            name, settings(FilesystemStore.OPTS, filesystem_store_datadir=place)
        )
        store.mark()
        return store

    def copy(self):
        """The job of ``copy-image``."""
        arguments = {"method": {"name": "copy-image"}, "stores": ["target"],
                     "all_stores_must_succeed": True}  # fmt: skip
        job = self.gateway.engine.start(
            COPY, project=None, image_id=self.image_id, arguments=arguments, was={}
        )
        assert self.gateway.engine.run_one(job.id)
        return self.registry.get_job(job.id)

    @property
    def locations(self):
        return self.registry.get(self.image_id).locations

    def objects(self):
        directory = pathlib.Path(self.stores["target"].directory.path)
        return [path.name for path in directory.iterdir() if not path.name.startswith(".")]


@pytest.fixture(autouse=True)
def moved(monkeypatch):
    """The bytes that imsgate itself has written, by chunk."""
    moved = []
    write = FilesystemStore.create

    def create(store, key, size):
        if store.name == "target":
            moved.append(key)
        return write(store, key, size)

    monkeypatch.setattr(FilesystemStore, "create", create)
    return moved


DIGESTS = {
    "both": {"checksum": MD5, "os_hash_algo": "sha256", "os_hash_value": SHA256},
    "of an old release of Glance": {"checksum": MD5},
    "none": {},
}


@pytest.mark.parametrize("digests", DIGESTS.values(), ids=DIGESTS)
def test_the_file_system_copies(tmp_path, moved, digests):
    site = Site(tmp_path, **digests)
    job = site.copy()
    assert (job.state, job.progress) == (JobState.SUCCESS, len(DATA))
    origin, copied = site.locations
    assert (origin, copied.store) == (site.origin, "target")
    assert content(site.stores["target"], copied.url) == DATA
    assert site.objects() == [copied.url]
    assert moved == []


WRONG = {
    "os_hash_value": {"os_hash_algo": "sha256", "os_hash_value": "0" * 64},
    "checksum": {"checksum": "0" * 32},
}


@pytest.mark.parametrize("digests", WRONG.values(), ids=WRONG)
def test_the_copy_is_verified(tmp_path, digests):
    site = Site(tmp_path, **digests)
    assert site.copy().reason == str(errors.CopyDiffers(store="origin"))
    assert site.locations == (site.origin,)
    assert site.objects() == []


def test_a_file_system_that_does_not(tmp_path, moved, monkeypatch):
    monkeypatch.setattr(FilesystemStore, "copy", lambda *_: None)
    site = Site(tmp_path, **DIGESTS["both"])
    assert site.copy().state is JobState.SUCCESS
    assert len(site.locations) == 2
    assert len(moved) == 1
