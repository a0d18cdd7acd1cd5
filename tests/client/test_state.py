"""The list of unfinished uploads."""

import contextlib
import dataclasses
import multiprocessing
import os
import stat

import pytest

from imsgate.client.failures import Failure
from imsgate.client.source import FileSource
from imsgate.client.state import Journal, UnfinishedUpload, directory, head_of

ENDPOINT = "http://127.0.0.1:9292"


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state" / "uploads")


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "disk"
    file.write_bytes(bytes(4096))
    with contextlib.closing(FileSource(str(file))) as opened:
        yield opened


def entry_of(source, **fields):
    found = {"size": source.size, "mtime": source.mtime, "head": head_of(source)}
    given = {"image_id": "one", "endpoint": ENDPOINT, "path": source.path, "created": True}
    return UnfinishedUpload(**{**found, **given, "record": {"id": "one"}, "store": None, **fields})


def find(journal, source, image_id="one", endpoint=ENDPOINT):
    return journal.find(source.path, endpoint, lambda entry: entry.image_id == image_id)


def test_an_entry_survives(journal, source, tmp_path):
    entry = entry_of(source)
    journal.save(entry)
    assert find(Journal(tmp_path / "state" / "uploads"), source) == entry
    assert journal.get("one") == entry
    journal.remove("one")
    journal.remove("one")
    assert journal.entries() == []


def test_what_is_found(journal, source):
    journal.save(entry_of(source))
    journal.save(entry_of(source, image_id="given", created=False))
    assert find(journal, source).image_id == "one"
    assert find(journal, source, "given").image_id == "given"
    assert find(journal, source, "another") is None
    assert find(journal, source, endpoint="http://elsewhere") is None
    assert journal.find("/elsewhere", ENDPOINT, lambda entry: True) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"image_id": "x"}', "\xff"])
def test_a_damaged_file_is_left_out(journal, source, tmp_path, text):
    journal.save(entry_of(source))
    (tmp_path / "state" / "uploads" / "x.json").write_text(text, encoding="latin-1")
    assert [entry.image_id for entry in journal.entries()] == ["one"]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: os.truncate(path, 5000),
        lambda path: keep_times(path, b"x" * 4096),
    ],
    ids=["mtime", "size", "head"],
)
def test_a_file_that_has_changed(source, change):
    entry = entry_of(source)
    assert _is_still(entry)
    change(source.path)
    assert not _is_still(entry)


def _is_still(entry):
    with contextlib.closing(FileSource(entry.path)) as opened:
        return entry.is_of(opened)


def keep_times(path, content):
    status = os.stat(path)
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_nobody_else_may_read_it(journal, source, tmp_path):
    journal.save(entry_of(source))
    assert stat.S_IMODE((tmp_path / "state" / "uploads").stat().st_mode) == 0o700


def test_it_has_no_secrets():
    names = {field.name for field in dataclasses.fields(UnfinishedUpload)}
    assert names == {
        *("image_id", "endpoint", "path", "size", "mtime", "head", "created", "record"),
        "store",
    }


def test_one_process_at_a_time(journal, source):
    with journal.locked(source, ENDPOINT):
        assert _in_another_process(journal, source.path) == "another process is uploading"
    assert _in_another_process(journal, source.path) == "free"


def _in_another_process(journal, path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_lock, args=(queue, journal._directory, path))
    process.start()
    said = queue.get(timeout=300)
    process.join()
    queue.close()
    queue.join_thread()
    return said.partition(" " + path)[0]


def _lock(queue, place, path):
    try:
        with Journal(place).locked(FileSource(path), ENDPOINT):
            queue.put("free")
    except Failure as error:
        queue.put(str(error))


def test_a_directory_that_cannot_be_made(tmp_path, source):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Failure, match="Not a directory"):
        Journal(tmp_path / "file" / "uploads").save(entry_of(source))


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"XDG_STATE_HOME": "/var/x"}, "/var/x/imsgate-client/uploads"),
        ({"XDG_STATE_HOME": ""}, os.path.expanduser("~/.local/state/imsgate-client/uploads")),
    ],
)
def test_where_it_is(environ, place):
    assert str(directory(environ)) == place
