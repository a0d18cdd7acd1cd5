import contextlib
import pathlib
from collections.abc import Iterator

import pytest

from imsgate.cmd import main
from tests.adoption.tables import GlanceTables


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """imsgate's own database, without records."""
    directory = tmp_path_factory.mktemp("migrated")
    (directory / "imsgate.conf").touch()
    where = ("--config-file", str(directory / "imsgate.conf"), "--state", str(directory))
    assert main.main(["db", "upgrade", *where]) == 0
    return directory / "imsgate.sqlite"


@pytest.fixture
def glance(tmp_path: pathlib.Path, _migrated: pathlib.Path) -> Iterator[GlanceTables]:
    with contextlib.closing(GlanceTables(tmp_path, _migrated)) as tables:
        yield tables
