"""The store contract on every real server."""

import pytest

from imsgate.testing import StoreContract


class TestS3Store(StoreContract):
    @pytest.fixture(autouse=True)
    def _known(self, bucket):
        self.bucket = bucket

    @pytest.fixture
    def store(self, bucket):
        store = bucket.store()
        yield store
        store.close()

    def leftovers(self, store):
        return self.bucket.leftovers()
