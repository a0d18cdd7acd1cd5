"""The check of stores at start: a directory without the images that it should have is refused."""

import datetime
import os
import shutil

import pytest

from imsgate import config, errors
from imsgate.cmd import main
from imsgate.model import Image, Location, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.stores import loader
from imsgate.stores.mark import MARK
from imsgate.transfer import media

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
KEY = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1"


@pytest.fixture
def registry():
    return MemoryRegistry(config.Section())


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "volume"


@pytest.fixture
def path(tmp_path, directory):
    path = tmp_path / "imsgate.conf"
    path.write_text(f"[file]\nfilesystem_store_datadir = {directory}\n")
    return path


@pytest.fixture
def start(registry, path):
    """Build the stores as a server does when it starts."""

    def start():
        conf = config.Config([str(path)])
        stores = loader.load(conf)
        media.check(registry, stores)
        return stores

    return start


def record(registry, store, status=Status.ACTIVE):
    """An image with data."""
    with store.create(KEY, None) as sink:
        sink.write(b"data")
        place = Location(store.name, sink.commit())
    registry.add(Image(id="i", status=status, created_at=NOW, updated_at=NOW, locations=(place,)))


def test_a_first_start_marks_the_directory(start, directory):
    start()
    assert os.listdir(directory) == [MARK]
    start()


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.PENDING_DELETE])
def test_a_directory_that_has_lost_its_images_is_refused(start, registry, directory, status):
    record(registry, start().get("file"), status)
    shutil.rmtree(directory)
    for _ in range(2):
        with pytest.raises(errors.BadConfig) as caught:
            start()
        assert caught.value.key == "[file] filesystem_store_datadir"
        assert os.listdir(directory) == []


def test_an_optional_store_that_has_lost_its_images_is_unavailable(
    start, registry, directory, path
):
    record(registry, start().get("file"))
    os.rename(directory, f"{directory}-away")
    path.write_text(path.read_text() + "optional = true\n")
    stores = start()
    with pytest.raises(errors.StoreUnavailable):
        stores.get("file")
    os.rmdir(directory)
    os.rename(f"{directory}-away", directory)
    backend = next(iter(stores))
    backend._retry_at = 0.0
    assert backend.store.size(KEY) == 4


def test_a_directory_of_an_earlier_version_is_marked(start, registry, directory):
    record(registry, start().get("file"))
    os.unlink(directory / MARK)
    start()
    assert sorted(os.listdir(directory)) == [MARK, KEY]


def test_an_operator_adopts_a_new_directory(start, registry, directory, path, tmp_path, capsys):
    record(registry, start().get("file"))
    shutil.rmtree(directory)
    adopt = ["stores", "adopt", "file", "--config-file", str(path), "--state", str(tmp_path)]
    assert main.main(adopt) == 0
    assert main.main(adopt) == 0
    assert capsys.readouterr().out == "file: marked\nfile: nothing to do\n"
    start()


def test_unavailable_records_do_not_permit_the_start(start, registry, monkeypatch):
    def down(query):
        raise errors.Unavailable(what="it")

    monkeypatch.setattr(registry, "list", down)
    with pytest.raises(errors.BadConfig):
        start()


def test_a_directory_that_cannot_be_marked_is_used_anyway(start, monkeypatch, caplog):
    def full(store):
        raise errors.StoreFull(store="file")

    monkeypatch.setattr("imsgate.stores.filesystem.FilesystemStore.mark", full)
    assert start().get("file").unmarked()
    assert "was not marked" in caplog.text
