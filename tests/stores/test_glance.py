"""The adapter to glance_store: the contract with real drivers, and what theirs do not promise."""

import contextlib
import os

import pytest

from imsgate import config
from imsgate.stores import loader
from imsgate.testing import StoreContract
from tests import seaweed
from tests.stores.test_filesystem import largest_file

MIB = 1 << 20
BUCKET = "images"
KEY = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1"


def load(path, text):
    """The store ``g`` of a configuration that has ``text`` in its section."""
    file = path / "imsgate.conf"
    file.write_text(f"[DEFAULT]\nenabled_backends = g:glance\n[g]\n{text}\n")
    return loader.load(config.Config([str(file)], str(path / "state"))).choose(None)


@pytest.fixture
def filed(tmp_path):
    return load(tmp_path, f"filesystem_store_datadir = {tmp_path}/images")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with seaweed.serving(tmp_path_factory.mktemp("seaweed") / "server") as running:
        with contextlib.closing(running.client()) as client:
            client.create_bucket(Bucket=BUCKET)
        yield running


def in_s3(path, server, **changed):
    options = {
        "glance_store_driver": "s3",
        "s3_store_host": server.url,
        "s3_store_region_name": "us-east-1",
        "s3_store_access_key": seaweed.ACCESS_KEY,
        "s3_store_secret_key": seaweed.SECRET_KEY,
        "s3_store_bucket": BUCKET,
        "s3_store_bucket_url_format": "path",
        **changed,
    }
    return load(path, "\n".join(f"{name} = {value}" for name, value in options.items()))


class TestWithItsFilesystemDriver(StoreContract):
    @pytest.fixture
    def store(self, filed):
        return filed

    def leftovers(self, store):
        return os.listdir(store.settings.filesystem_store_datadir)

    def write_fault(self, store, nth):
        return largest_file((nth - 1) << 19)

    def private(self, store):
        return [store.settings.filesystem_store_datadir]


class TestWithItsS3Driver(StoreContract):
    SEQUENCES = 4

    @pytest.fixture
    def store(self, tmp_path, server):
        return in_s3(tmp_path, server)

    def leftovers(self, store):
        return seaweed.held(self.server, BUCKET)

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.server = server
