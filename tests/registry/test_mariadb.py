"""The registry contract on MariaDB."""

import contextlib

import pytest

from imsgate.registry.sql import SqlRegistry
from imsgate.testing.registries import RegistryContract, walk


@pytest.fixture(scope="module")
def _registry(_mariadb):
    with contextlib.closing(SqlRegistry(_mariadb.settings)) as registry:
        yield registry


class TestMariadb(RegistryContract):
    @pytest.fixture
    def registry(self, _registry, mariadb):
        return _registry

    def test_random_walk(self, registry):
        walk.walk(registry, max_examples=15)  # SQLite's takes longer ones
