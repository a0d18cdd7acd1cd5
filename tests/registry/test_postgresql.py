"""The registry contract on PostgreSQL."""

import contextlib

import pytest

from imsgate.registry.sql import SqlRegistry
from imsgate.testing.registries import RegistryContract


@pytest.fixture(scope="module")
def _registry(_postgresql):
    with contextlib.closing(SqlRegistry(_postgresql.settings)) as registry:
        yield registry


class TestPostgresql(RegistryContract):
    @pytest.fixture
    def registry(self, _registry, postgresql):
        return _registry
