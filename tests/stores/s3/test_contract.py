"""The store contract on every real server."""

import hypothesis
import pytest

from imsgate.testing import StoreContract, store_machine


class TestS3Store(StoreContract):
    @pytest.fixture(autouse=True)
    def _set_up(self, bucket, monkeypatch):
        self.bucket = bucket
        # A request to a real server takes milliseconds: fewer examples, each as long.
        few = hypothesis.settings(store_machine.SETTINGS, max_examples=4)
        monkeypatch.setattr(store_machine, "SETTINGS", few)

    @pytest.fixture
    def store(self, contract_store):
        return contract_store

    def leftovers(self, store):
        return self.bucket.leftovers()


@pytest.fixture(scope="module")
def contract_store(bucket):
    store = bucket.store()
    yield store
    store.close()
