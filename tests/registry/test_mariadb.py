"""The registry contract on MariaDB."""

import contextlib

import pytest

from imsgate.registry.sql import SqlRegistry
from imsgate.testing.registries import RegistryContract


class TestMariadb(RegistryContract):
    @pytest.fixture
    def registry(self, mariadb):
        with contextlib.closing(SqlRegistry(mariadb)) as registry:
            yield registry
