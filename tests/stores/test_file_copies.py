"""Copies between the directories of one host: shared blocks, copies by the kernel, or neither."""

import errno
import os
import pathlib
import shutil
import subprocess

import pytest

from imsgate import errors
from imsgate.stores.base import CopySource
from imsgate.stores.filesystem import disk
from imsgate.stores.mark import MARK
from imsgate.testing.stores.data import content, new_key
from tests.functional.conftest import needs
from tests.stores.test_filesystem import make, mounted

MIB = 1 << 20
BODY = os.urandom(3 * MIB + 1)


@pytest.fixture
def xfs(tmp_path):
    """A file system whose files can share blocks."""
    needs(shutil.which("mkfs.xfs"), "mkfs.xfs (xfsprogs)")
    image, place = tmp_path / "xfs", tmp_path / "mounted"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(320 * MIB)
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    mounting = subprocess.run(["mount", "-o", "loop", image, place], check=False)
    needs(mounting.returncode == 0, "permission to mount a file")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def store_in(place, name, **options):
    store = make(place / name, **options)
    store.mark()
    return store


def put(store, body=BODY):
    with store.create(new_key(), len(body)) as sink:
        sink.write(body)
        return sink.commit()


def copy(origin, location, target, check=lambda: None):
    """The location of the copy, or None. Whatever happens, nothing else is left."""
    before = names(target)
    made = None
    try:
        size = origin.size(location)
        sink = target.copy(new_key(), origin.copy_source(location), size, check)
        made = sink and sink.commit()
        return made
    finally:
        assert names(target) - before == ({made} if made else set())


def names(store):
    return {path.name for path in pathlib.Path(store.directory.path).iterdir()} - {MARK}


def used(place):
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize("thin", [False, True])
def test_blocks_are_shared(xfs, thin):
    origin = store_in(xfs, "origin")
    target = store_in(xfs, "target", filesystem_thin_provisioning=thin)
    location = put(origin)
    os.sync()
    before = used(xfs)
    made = copy(origin, location, target)
    os.sync()
    assert used(xfs) - before < MIB
    assert content(target, made) == BODY
    origin.delete(location)
    assert content(target, made) == BODY


def test_the_kernel_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "clone", lambda *_: False)
    origin, target = store_in(tmp_path, "origin"), store_in(tmp_path, "target")
    checks = []
    made = copy(origin, put(origin), target, lambda: checks.append(names(target)))
    assert content(target, made) == BODY
    assert checks
    assert stat_mode(target, made) == 0o640


def stat_mode(store, location):
    return os.stat(pathlib.Path(store.directory.path, location)).st_mode & 0o777


def test_an_empty_object(tmp_path):
    origin, target = store_in(tmp_path, "origin"), store_in(tmp_path, "target")
    assert content(target, copy(origin, put(origin, b""), target)) == b""


def unable(*_):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def test_a_kernel_that_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "clone", lambda *_: False)
    monkeypatch.setattr(os, "copy_file_range", unable)
    origin, target = store_in(tmp_path, "origin"), store_in(tmp_path, "target")
    assert copy(origin, put(origin), target) is None


def test_a_thin_target_needs_holes(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "clone", lambda *_: False)
    origin = store_in(tmp_path, "origin")
    target = store_in(tmp_path, "target", filesystem_thin_provisioning=True)
    assert copy(origin, put(origin), target) is None


def test_objects_of_other_services(tmp_path):
    target = store_in(tmp_path, "target")
    source = CopySource("s3", str(tmp_path), "key", "etag")
    assert not target.copies_from(source)
    assert target.copy(new_key(), source, 1, lambda: None) is None


def replaced(origin, location):
    path = pathlib.Path(origin.directory.path, location)
    path.unlink()
    path.write_bytes(BODY)


def removed(origin, location):
    origin.delete(location)


@pytest.mark.parametrize("change", [replaced, removed])
def test_a_source_that_changes(tmp_path, change):
    origin, target = store_in(tmp_path, "origin"), store_in(tmp_path, "target")
    location = put(origin)
    source = origin.copy_source(location)
    change(origin, location)
    with pytest.raises(errors.SourceFailed):
        target.copy(new_key(), source, len(BODY), lambda: None)
    assert names(target) == set()


def test_a_copy_that_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "clone", lambda *_: False)
    origin, target = store_in(tmp_path, "origin"), store_in(tmp_path, "target")

    def stop():
        raise errors.Cancelled(image_id="i")

    with pytest.raises(errors.Cancelled):
        copy(origin, put(origin), target, stop)


def test_a_full_file_system(tmp_path):
    origin = store_in(tmp_path, "origin")
    with mounted(tmp_path / "tiny", "size=512k") as tiny:
        target = store_in(tiny, "target")
        with pytest.raises(errors.StoreFull):
            copy(origin, put(origin), target)
