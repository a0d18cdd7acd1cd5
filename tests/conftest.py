"""For all tests: database servers; hypothesis judges by what happens, never by how long it took."""

import contextlib
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


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[databases.Server]:
    yield from _serving(databases.Postgresql())


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[databases.Server]:
    yield from _serving(databases.Mariadb())


@pytest.fixture(scope="session")
def _postgresql(
    postgresql_server: databases.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[databases.Shared]:
    shared = databases.Shared(postgresql_server.create(), tmp_path_factory.mktemp("postgresql"))
    with contextlib.closing(shared):
        yield shared


@pytest.fixture(scope="session")
def _mariadb(
    mariadb_server: databases.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[databases.Shared]:
    shared = databases.Shared(mariadb_server.create(), tmp_path_factory.mktemp("mariadb"))
    with contextlib.closing(shared):
        yield shared


@pytest.fixture
def postgresql(_postgresql: databases.Shared) -> Section:
    """The settings of ``[database]`` for a migrated database that holds nothing."""
    return _postgresql.emptied()


@pytest.fixture
def mariadb(_mariadb: databases.Shared) -> Section:
    """As ``postgresql``, on MariaDB."""
    return _mariadb.emptied()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Section:
    """As ``postgresql``, on each database in turn."""
    if request.param != "sqlite":
        found: Section = request.getfixturevalue(request.param)
        return found
    made = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    sql.upgrade(made)
    return made
