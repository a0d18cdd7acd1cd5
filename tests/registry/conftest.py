"""Databases for tests: a migrated SQLite file for each, and empty ones of each kind."""

import shutil
from pathlib import Path

import pytest

from imsgate.config import Config, Section
from imsgate.registry import sql
from imsgate.registry.sql import schema
from tests import databases


def settings_of(directory: Path) -> Section:
    """The default settings of ``[database]``, with this state directory."""
    empty = directory / "imsgate.conf"
    empty.touch()
    config = Config([str(empty)], state_path=str(directory))
    return config.section("database", sql.SqlRegistry.OPTS)


@pytest.fixture
def settings(tmp_path: Path) -> Section:
    """Settings of a SQLite database that does not exist yet."""
    return settings_of(tmp_path)


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("migrated")
    schema.upgrade(settings_of(directory))
    return directory / "imsgate.sqlite"


@pytest.fixture
def migrated(settings: Section, tmp_path: Path, _migrated: Path) -> Section:
    """Settings of a SQLite database without records."""
    shutil.copy(_migrated, tmp_path)
    return settings


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def unmade(request: pytest.FixtureRequest, settings: Section, tmp_path: Path) -> Section:
    """Settings of a database that has no tables, or does not exist yet."""
    if request.param == "sqlite":
        return settings
    server = request.getfixturevalue(f"{request.param}_server")
    return databases.settings(server.create(), tmp_path)
