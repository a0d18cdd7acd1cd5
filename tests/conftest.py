"""For all tests: which run in one process, database servers, and what hypothesis judges by.

That is what happens, never how long it took.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from imsgate.config import Section
from imsgate.registry import sql
from tests import databases

settings.register_profile("imsgate", deadline=None)
settings.load_profile("imsgate")

#: Files that share servers, by how their names begin. Each process that runs any of them would
#: start these servers anew.
TOGETHER = (
    ("tests/stores/s3/",),
    ("tests/registry/", "tests/functional/test_databases.py", "tests/functional/test_quotas.py"),
    ("tests/functional/test_keystone.py", "tests/functional/test_recheck.py"),
    tuple(f"tests/functional/test_{name}.py" for name in "records refusals stores clients".split()),
)

#: What takes longest, by how its names begin, if with fewer tests than others: it begins first, so
#: that nothing of it is left to run alone in the end.
FIRST = "tests/stores/s3/ tests/registry/ tests/functional/ tests/stores/ tests/formats/".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Of a tuple's first True the place; where there is none, behind all.
    items.sort(key=lambda item: (*map(item.nodeid.startswith, FIRST), True).index(True))


class _Together(LoadScopeScheduling):
    """A file, or all that share servers, go to one process, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((beginnings[0] for beginnings in TOGETHER if file.startswith(beginnings)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Together:
    config.option.loadscopereorder = False
    return _Together(config, log)


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
