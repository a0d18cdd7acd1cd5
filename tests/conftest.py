"""For all tests: markers, which tests share a process, and database servers."""

import contextlib
import gc
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from imsgate.config import Section
from imsgate.registry.sql import schema
from tests import databases, markers

# To collect the tests, and what they import, makes no garbage. Looking for it took a fourth of the
# time, and looking at all of that again a part of every test's.
gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


#: Hypothesis judges by what happens, never by how long it took.
settings.register_profile("imsgate", deadline=None)
settings.load_profile("imsgate")

#: Files that share servers, by the beginnings of their paths. Every process that runs one of them
#: would have to start these servers.
#: Two groups with a Keystone each: one alone would be left at the end.
KEYSTONE = (("client_uploads", "page"), ("doctor", "front_keystone", "keystone", "recheck"))
TOGETHER = (
    ("tests/stores/s3/",),
    (
        "tests/registry/",
        "tests/functional/test_databases.py",
        "tests/functional/test_quotas.py",
        "tests/doctor/test_database.py",
    ),
    *(tuple(f"tests/functional/test_{name}.py" for name in names) for names in KEYSTONE),
    ("tests/functional/test_glance", "tests/functional/test_front_glance"),
    tuple(f"tests/functional/test_{name}.py" for name in "records refusals stores clients".split()),
)

#: The tests that take longest, by the beginnings of their paths. They start first, so that none of
#: them is left to run alone at the end.
FIRST = "tests/stores/s3/ tests/registry/ tests/functional/ tests/stores/ tests/formats/".split()


#: Long tables of cases, and contracts of drivers that share their code with another one, by the
#: beginnings of their ids. One test of so many runs, always the same; all with IMSGATE_TEST_ALL=1.
ONE_OF = {
    "tests/conversion/test_converter.py::test_every_pair": 3,
    "tests/formats/test_corpus.py": 3,
    "tests/formats/test_cuts.py": 3,
    "tests/functional/test_broken_uploads.py": 2,
    "tests/functional/test_configuration.py::test_configuration": 2,
    "tests/functional/test_encodings.py": 2,
    "tests/registry/test_mariadb.py": 2,
    "tests/registry/test_postgresql.py": 2,
    "tests/registry/test_scale.py": 2,
    "tests/stores/http/test_contract.py": 2,
    "tests/stores/s3/test_contract.py": 2,
    "tests/stores/test_filesystem.py::TestThinInSmallSteps": 3,
    "tests/stores/test_glance.py::TestWithIts": 2,
    "tests/stores/test_limited.py::TestLimitedStore": 3,
}


def _is_left_out(item: pytest.Item) -> bool:
    nodeid = str(item.nodeid)
    number = next((n for start, n in ONE_OF.items() if nodeid.startswith(start)), 1)
    return zlib.crc32(nodeid.encode()) % number > 0


@pytest.hookimpl(tryfirst=True)  # before -m selects by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Whoever names a file or a test wants all of it.
    is_whole = [pathlib.Path(path).name for path in config.args] == ["tests"]
    if is_whole and not os.environ.get("IMSGATE_TEST_ALL"):
        left_out = {item for item in items if _is_left_out(item)}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        markers.mark(item)
    # The position of the first beginning that matches; if none does, the end.
    items.sort(key=lambda item: (*map(str(item.nodeid).startswith, FIRST), True).index(True))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    markers.enter(item)


class _Together(LoadScopeScheduling):
    """One process runs a whole file, or all files that share servers, in collection order."""

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


def _sharing(
    server: databases.Server, directories: pytest.TempPathFactory
) -> Iterator[databases.Shared]:
    shared = databases.Shared(server.create(), directories.mktemp(server.NAME))
    with contextlib.closing(shared):
        yield shared


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
    yield from _sharing(postgresql_server, tmp_path_factory)


@pytest.fixture(scope="session")
def _mariadb(
    mariadb_server: databases.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[databases.Shared]:
    yield from _sharing(mariadb_server, tmp_path_factory)


@pytest.fixture
def postgresql(_postgresql: databases.Shared) -> Section:
    """The settings of ``[database]`` for a migrated, empty database on PostgreSQL."""
    return _postgresql.emptied()


@pytest.fixture
def mariadb(_mariadb: databases.Shared) -> Section:
    """The settings of ``[database]`` for a migrated, empty database on MariaDB."""
    return _mariadb.emptied()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Section:
    """The settings of ``[database]`` for a migrated, empty database on each server in turn."""
    if request.param != "sqlite":
        server_settings: Section = request.getfixturevalue(request.param)
        return server_settings
    file_settings = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    schema.upgrade(file_settings)
    return file_settings
