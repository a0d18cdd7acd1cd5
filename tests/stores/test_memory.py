"""The reference implementation passes the store contract."""

import pytest

from imsgate.config import Section
from imsgate.stores.memory import MemoryStore
from imsgate.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore("memory", Section(memory_store_capacity=None))

    @pytest.fixture
    def small_store(self):
        return MemoryStore("memory", Section(memory_store_capacity=300_000))

    def again(self, store):
        return store  # each process has its own

    def leftovers(self, store):
        return store.held()
