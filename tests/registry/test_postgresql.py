"""The registry contract on PostgreSQL."""

import contextlib

import pytest

from imsgate.registry.sql import SqlRegistry
from imsgate.testing.registries import RegistryContract


class TestPostgresql(RegistryContract):
    @pytest.fixture
    def registry(self, postgresql):
        with contextlib.closing(SqlRegistry(postgresql)) as registry:
            yield registry
