"""The filesystem store, beyond its contract: real files, and faults as real as can be had."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from imsgate import errors
from imsgate.stores import filesystem
from imsgate.stores.filesystem import FilesystemStore

IMAGE = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a"
KEY = f"{IMAGE}.1"


def settings(directory, **changed):
    values = {opt.dest: opt.default for opt in FilesystemStore.OPTS}
    values["filesystem_store_datadir"] = str(directory)
    return filesystem_settings(**{**values, **changed})


def filesystem_settings(**values):
    from imsgate.config import Section

    return Section(**values)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "images"


@pytest.fixture
def store(directory):
    return FilesystemStore("disk", settings(directory))


def put(store, data, key=KEY, size=None):
    with store.create(key, size) as sink:
        if data:
            sink.write(data)
        return sink.commit()


def test_an_object_is_one_plain_file_that_others_cannot_read(store, directory):
    location = put(store, b"x" * 5000, size=5000)
    assert location == KEY
    assert os.listdir(directory) == [KEY]
    found = (directory / KEY).stat()
    assert found.st_size == 5000
    assert not found.st_mode & stat.S_IRWXO
    assert not directory.stat().st_mode & stat.S_IRWXO


def test_a_known_size_is_reserved_at_once(store, directory):
    with store.create(KEY, 8 << 20):
        (part,) = directory.iterdir()
        assert part.stat().st_blocks * 512 >= 8 << 20
    assert os.listdir(directory) == []
