"""For all tests: database servers; hypothesis judges by what happens, never by how long it took."""

import pathlib
from collections.abc import Iterator

import pytest
from hypothesis import settings

from imsgate.config import Section
from imsgate.registry import sql
from tests import databases

settings.register_profile("imsgate", deadline=None)
settings.load_profile("imsgate")


def _serving(server: databases.Server) -> Iterator[databases.Server]:
    try:
        server.start()
        yield server
    finally:
        server.close()


def _migrated(server: databases.Server, factory: pytest.TempPathFactory) -> Section:
    made = databases.settings(server.create(), factory.mktemp(server.NAME))
    sql.upgrade(made)
    return made


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[databases.Server]:
    yield from _serving(databases.Postgresql())


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[databases.Server]:
    yield from _serving(databases.Mariadb())


@pytest.fixture(scope="session")
def _postgresql(
    postgresql_server: databases.Server, tmp_path_factory: pytest.TempPathFactory
) -> Section:
    return _migrated(postgresql_server, tmp_path_factory)


@pytest.fixture(scope="session")
def _mariadb(mariadb_server: databases.Server, tmp_path_factory: pytest.TempPathFactory) -> Section:
    return _migrated(mariadb_server, tmp_path_factory)


@pytest.fixture
def postgresql(_postgresql: Section) -> Section:
    """The settings of ``[database]`` for a migrated database that holds nothing."""
    databases.empty(_postgresql.connection)
    return _postgresql


@pytest.fixture
def mariadb(_mariadb: Section) -> Section:
    """As ``postgresql``, on MariaDB."""
    databases.empty(_mariadb.connection)
    return _mariadb


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Section:
    """As ``postgresql``, on each database in turn."""
    if request.param != "sqlite":
        found: Section = request.getfixturevalue(request.param)
        return found
    made = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    sql.upgrade(made)
    return made
