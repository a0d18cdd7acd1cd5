"""The registry contract on MariaDB."""

import contextlib

import pytest

from imsgate.registry.sql import SqlRegistry
from imsgate.testing.records import image, upload
from imsgate.testing.registries import RegistryContract, walk
from imsgate.testing.registries.threads import together


@pytest.fixture(scope="module")
def _registry(_mariadb):
    with contextlib.closing(SqlRegistry(_mariadb.settings)) as registry:
        yield registry


class TestMariadb(RegistryContract):
    @pytest.fixture
    def registry(self, _registry, mariadb):
        return _registry

    def test_random_walk(self, registry):
        walk.walk(registry, max_examples=15)  # SQLite's takes longer ones

    def test_uploads_of_an_image_are_no_deadlock(self, registry, caplog):
        """The foreign key makes MariaDB lock the image's row for every upload that is recorded."""
        record = image()
        registry.add(record)
        first = upload(record.id)
        registry.add_upload(first)

        def write(number):
            for step in range(10):
                if number % 2:
                    registry.add_upload(upload(record.id), {}, upload_key=str(number))
                else:
                    registry.change_upload(first.id, 0, {"offset": 1}, {}, upload_received=step)

        assert together(8, write) == [None] * 8
        assert "undid" not in caplog.text
