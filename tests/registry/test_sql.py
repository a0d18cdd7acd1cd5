import contextlib

import pytest

from imsgate.registry.sql import SqlRegistry
from imsgate.testing.registries import RegistryContract


class TestSqlite(RegistryContract):
    @pytest.fixture
    def registry(self, migrated):
        with contextlib.closing(SqlRegistry(migrated)) as registry:
            yield registry
