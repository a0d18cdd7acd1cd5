"""The registry contract on PostgreSQL."""

import contextlib

import pytest

from imsgate.errors import BadConfig
from imsgate.registry.sql import SqlRegistry, schema
from imsgate.testing.registries import RegistryContract, walk
from tests import databases


@pytest.fixture(scope="module")
def _registry(_postgresql):
    with contextlib.closing(SqlRegistry(_postgresql.settings)) as registry:
        yield registry


class TestPostgresql(RegistryContract):
    @pytest.fixture
    def registry(self, _registry, postgresql):
        return _registry

    def test_random_walk(self, registry):
        walk.walk(registry, max_examples=15)  # SQLite's takes longer ones


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_text_is_refused(postgresql_server, tmp_path, encoding):
    name = f"in_{encoding.lower()}"
    how = f"ENCODING {encoding} TEMPLATE template0 LOCALE 'C' LOCALE_PROVIDER libc"
    postgresql_server.execute(f"CREATE DATABASE {name} {how}")
    settings = databases.settings(postgresql_server.url(name), tmp_path)
    for use in (schema.upgrade, SqlRegistry):
        with pytest.raises(BadConfig, match=f"{encoding}.*-E UTF8") as caught:
            use(settings)
        assert caught.value.key == "[database] connection"
