import pathlib

import pytest
from imsgate_store_tree import TreeStore

from imsgate.config import Section
from imsgate.testing import StoreContract
from imsgate.testing.stores import local


class TestTreeStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return TreeStore("forest", Section(tree_directory=str(tmp_path)))

    def leftovers(self, store):
        return [path for path in pathlib.Path(store.place()).rglob("*") if path.is_file()]

    def sync_fault(self, store, before):
        return local.syncs(before)

    def truncate(self, store, location, size):
        local.truncate(store.path(location), size)
