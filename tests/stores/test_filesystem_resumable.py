"""Resumable attempts in files: who may write, what is on disk, and faults."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

from imsgate import errors
from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Swept
from imsgate.stores.filesystem import disk, fence
from imsgate.testing.stores.data import MIB, body, content
from tests.functional.gateway import clean_env
from tests.stores.test_filesystem import (
    KEY,
    directory,
    leftovers,
    make,
    reserving,
    store,
    tiny,
)

__all__ = ["directory", "reserving", "store", "tiny"]  # fixtures

PART, FENCE = f".part-{KEY}", f".fence-{KEY}"


@pytest.fixture
def other_host(directory, tmp_path, monkeypatch):
    """The store on a host with another kernel; also what a restart of this host is like."""

    def build():
        boot_id = tmp_path / "boot_id"
        boot_id.write_text("ffffffff-0000-4000-8000-000000000000\n")
        monkeypatch.setattr(fence, "_BOOT_ID", str(boot_id))
        fence.this_kernel.cache_clear()
        return make(directory)

    yield build
    monkeypatch.undo()
    fence.this_kernel.cache_clear()


def suspended(store, data, size=None):
    """An attempt with these bytes; returns the number of durable ones."""
    with store.begin(KEY, size, 1) as sink:
        for chunk in [data] if data else []:
            sink.write(chunk)
        return sink.suspend()


def failing_fsync(monkeypatch, times):
    real, left = os.fsync, [times]

    def fsync(fd):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "lost")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)


# What counts


def test_another_host_trusts_only_what_was_synced(store, directory, other_host):
    """The rest may be in the cache of the first host, or lost with its power."""
    assert suspended(store, b"synced") == 6
    sink = store.resume(KEY, None, 6, 2)
    sink.write(b"cached")
    other = other_host()
    assert other.durable(KEY, None, 3) == 6
    assert (directory / PART).stat().st_size == 6
    with other.resume(KEY, None, 6, 3) as sink:
        sink.write(b" and more")
        sink.commit()
    assert content(other, KEY) == b"synced and more"


def test_another_host_resumes_what_was_suspended(store, other_host):
    assert suspended(store, b"synced") == 6
    with other_host().resume(KEY, None, 6, 2) as sink:
        sink.write(b"!")
        sink.commit()
    assert content(store, KEY) == b"synced!"


_KILLED = """
import json, sys
from imsgate.config import Section
from imsgate.stores.filesystem import FilesystemStore

told = json.load(sys.stdin)
store = FilesystemStore("disk", Section(**told["settings"]))
sink = store.resume(told["key"], None, told["offset"], 2)
print("ready", flush=True)
while True:
    sink.write(b"x" * 65536)
    print("written", flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_wrote(store, tmp_path):
    at = suspended(store, b"data")
    told = {"settings": vars(store.settings), "key": KEY, "offset": at}
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_env(tmp_path),
    ) as child:
        child.stdin.write(json.dumps(told).encode())
        child.stdin.close()
        lines = [child.stdout.readline() for _ in range(20)]
        child.kill()
    assert lines[-1] == b"written\n"
    count = store.durable(KEY, None, 3)
    assert count >= at + 19 * 65536
    with store.resume(KEY, None, count, 3) as sink:
        sink.commit()
    assert content(store, KEY) == b"data" + b"x" * (count - at)


def test_bytes_that_a_disk_lost_are_dropped(store, directory, monkeypatch):
    """A second fsync would report success for them."""
    assert suspended(store, b"data") == 4
    sink = store.resume(KEY, None, 4, 2)
    sink.write(b"lost")
    failing_fsync(monkeypatch, 2)
    with pytest.raises(errors.StoreUnavailable):
        sink.suspend()
    assert (directory / PART).stat().st_size == 4
    assert store.durable(KEY, None, 3) == 4


def test_bytes_of_a_killed_process_that_the_disk_lost_are_dropped(store, monkeypatch):
    assert suspended(store, b"data") == 4
    store.resume(KEY, None, 4, 2).write(b"lost")
    failing_fsync(monkeypatch, 1)
    with pytest.raises(errors.StoreUnavailable):
        store.durable(KEY, None, 3)
    assert store.durable(KEY, None, 3) == 4


def test_a_file_that_lost_durable_bytes_is_not_resumed(store, directory):
    suspended(store, b"data")
    os.truncate(directory / PART, 3)
    for call in (
        lambda: store.durable(KEY, None, 2),
        lambda: store.resume(KEY, None, 4, 2),
    ):
        with pytest.raises(errors.StoreUnavailable, match="3 bytes of this attempt instead of 4"):
            call()


def not_synced():
    raise OSError(errno.EIO, "not synced")


def test_a_commit_that_is_not_durable_is_taken_back(store, directory, monkeypatch):
    with store.begin(KEY, None, 1) as sink:
        sink.write(b"data")
        with monkeypatch.context() as patch:
            patch.setattr(store.directory, "sync", not_synced)
            with pytest.raises(errors.StoreUnavailable):
                sink.commit()
        assert sorted(leftovers(store)) == [FENCE, PART]
        assert sink.suspend() == 4
    with store.resume(KEY, None, 4, 2) as sink:
        sink.commit()
    assert leftovers(store) == [KEY]


# Who may write


def test_a_lower_epoch_is_refused(store):
    suspended(store, b"data")
    store.durable(KEY, None, 5)
    for call in (
        lambda: store.durable(KEY, None, 4),
        lambda: store.resume(KEY, None, 4, 4),
    ):
        with pytest.raises(errors.StoreUnavailable, match="newer request"):
            call()


def test_waiting_for_another_writer_has_a_limit(store, directory, monkeypatch):
    suspended(store, b"data")
    monkeypatch.setattr(fence, "LOCK_SECONDS", 0)
    with open(directory / FENCE, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(errors.StoreUnavailable, match="another process is writing"):
            store.durable(KEY, None, 2)
    assert store.durable(KEY, None, 2) == 4


@pytest.mark.parametrize("written", [b"", b"1 4", b"\xff\xfe", b"a b c", bytes(100)])
def test_a_fence_that_was_never_synced_counts_nothing(store, directory, written):
    """Its host lost power before the first suspend."""
    store.begin(KEY, None, 1).write(b"data")
    (directory / FENCE).write_bytes(written)
    assert store.durable(KEY, None, 2) == 0


@pytest.mark.parametrize("name", [FENCE, PART])
def test_a_link_in_place_of_a_file_is_not_followed(store, directory, tmp_path, name):
    suspended(store, b"data")
    target = tmp_path / "target"
    (directory / name).rename(target)
    (directory / name).symlink_to(target)
    before = target.read_bytes()
    with pytest.raises(ObjectNotFound):
        store.durable(KEY, None, 2)
    assert target.read_bytes() == before


def test_an_attempt_is_begun_only_once(store):
    suspended(store, b"data")
    with pytest.raises(errors.StoreUnavailable):
        store.begin(KEY, None, 2)
    assert store.durable(KEY, None, 2) == 4


# What is left


def test_a_process_that_died_right_after_it_committed(store, directory):
    with store.begin(KEY, None, 1) as sink:
        sink.write(b"data")
        sink.suspend()
    os.rename(directory / PART, directory / KEY)
    assert store.durable(KEY, None, 2) == 4
    with store.resume(KEY, None, 4, 3) as sink:
        assert sink.commit() == KEY
    assert leftovers(store) == [KEY]
    with pytest.raises(errors.StoreUnavailable, match="committed with 4 bytes instead of 3"):
        store.resume(KEY, None, 3, 4)


@pytest.mark.parametrize("committed", [True, False])
def test_the_sweep_finds_a_fence_without_data(store, directory, committed):
    suspended(store, b"data")
    os.rename(directory / PART, directory / KEY)
    if not committed:
        os.unlink(directory / KEY)
    assert store.sweep(3600, lambda _: False) == Swept(0, 0)
    assert store.sweep(0, lambda _: True) == Swept(0, 0)
    assert store.sweep(0, lambda _: False) == Swept(1, 0)
    assert leftovers(store) == ([KEY] if committed else [])


# Space


def test_the_space_of_a_suspended_attempt_stays_reserved(store, directory):
    with open(directory / "probe", "wb") as probe:
        if not disk.reserve(probe.fileno(), 1):
            pytest.skip("this file system does not reserve space")
    os.unlink(directory / "probe")
    suspended(store, b"data", size=8 * MIB)
    for epoch in (2, 3):
        status = (directory / PART).stat()
        assert status.st_size < 100
        assert status.st_blocks * 512 >= 8 * MIB
        store.resume(KEY, 8 * MIB, 4, epoch).write(b"beyond")
    with store.resume(KEY, 8 * MIB, 4, 4) as sink:
        sink.commit()
    assert (directory / KEY).stat().st_blocks * 512 < MIB


def test_holes_at_the_end_count(directory):
    thin = make(directory, filesystem_thin_provisioning=True)
    assert suspended(thin, b"data" + bytes(4 * MIB)) == 4 + 4 * MIB
    assert (directory / PART).stat().st_blocks * 512 < MIB
    with thin.resume(KEY, None, 4 + 4 * MIB, 2) as sink:
        sink.write(bytes(MIB))
        sink.commit()
    assert content(thin, KEY) == b"data" + bytes(5 * MIB)


def resume_and_suspend(store, size, data):
    sink = store.resume(KEY, size, 100_000, 2)
    try:
        sink.write(data[100_000:])
    finally:
        assert sink.suspend() == 100_000


@pytest.mark.parametrize("size", [None, 2 * MIB])
def test_a_disk_that_is_full_leaves_the_attempt(tiny, reserving, size):
    store, data = make(tiny), body(MIB)
    suspended(store, data[:100_000])
    with pytest.raises(errors.StoreFull):
        resume_and_suspend(store, size, data)
    count = store.durable(KEY, size, 3)
    assert count >= 100_000
    with store.resume(KEY, None, count, 4) as sink:
        sink.commit()
    assert content(store, KEY) == data[:count]
