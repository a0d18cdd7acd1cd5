import pathlib

import pytest
from imsgate_store_tree import TreeStore

from imsgate.config import Section
from imsgate.testing import StoreContract


class TestTreeStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return TreeStore("forest", Section(tree_directory=str(tmp_path)))

    def leftovers(self, store):
        return [path for path in pathlib.Path(store.place()).rglob("*") if path.is_file()]
