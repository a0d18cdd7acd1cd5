import contextlib

import pytest

from imsgate.registry import sql
from imsgate.registry.sql import schema
from tests import databases
from tests.verification.site import Site


@pytest.fixture
def registry(tmp_path):
    settings = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    schema.upgrade(settings)
    with contextlib.closing(sql.SqlRegistry(settings)) as registry:
        yield registry


@pytest.fixture
def site(tmp_path, registry):
    return Site.new(tmp_path, registry)
