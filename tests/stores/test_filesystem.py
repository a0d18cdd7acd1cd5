"""The filesystem store: the contract, its files, and faults, real ones where possible."""

import contextlib
import errno
import io
import os
import pathlib
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from imsgate import config, errors
from imsgate.stores.base import Swept
from imsgate.stores.filesystem import FilesystemStore, disk
from imsgate.stores.mark import MARK
from imsgate.testing import StoreContract
from imsgate.testing.stores import local

IMAGE = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a"
KEY = f"{IMAGE}.1"

#: A path in a message. "Input/output error" does not match.
PATH = re.compile(r"(^|[^\w])/")

NOBODY = 65534


def make(directory, **changed):
    values = {opt.dest: opt.default for opt in FilesystemStore.OPTS}
    changed["filesystem_store_datadir"] = str(directory)
    return FilesystemStore("disk", config.Section(**{**values, **changed}))


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "images"


@pytest.fixture
def store(directory):
    return make(directory)


@contextlib.contextmanager
def mounted(place, options):
    """A small file system of its own, so that a full one is really full."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        if os.environ.get("CI"):
            pytest.fail("CI runs this where file systems can be mounted")
        pytest.skip("file systems cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def tiny(tmp_path):
    """A file system of 512 KiB."""
    with mounted(tmp_path / "tiny", "size=512k") as place:
        yield place


@pytest.fixture
def reserving(monkeypatch):
    """Treat tmpfs like the file system of a disk."""
    monkeypatch.setattr(disk, "_TMPFS_MAGIC", 0)


@pytest.fixture
def ours():
    """A directory whose permissions apply: root, to whom none apply, becomes nobody."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        if os.geteuid() != 0:
            yield directory
            return
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield directory
        finally:
            os.seteuid(0)


def put(store, data, key=KEY, size=None):
    with store.create(key, size) as sink:
        if data:
            sink.write(data)
        return sink.commit()


def leftovers(store):
    return [name for name in os.listdir(store.properties()["data_dir"]) if name != MARK]


@contextlib.contextmanager
def largest_file(size):
    """Writes beyond ``size`` fail, due to the one limit that every user can set."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def bad_sector(store, nth):
    """The ``nth`` read of each file fails. Simulated: it takes root to make a real disk fail."""

    class Bad(io.FileIO):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            if self.reads >= nth:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "open", lambda location: Bad(store.directory.final(location)))
        yield


class TestFilesystemStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return make(tmp_path / "contract")

    @pytest.fixture
    def small_store(self, tiny):
        return make(tiny)

    def leftovers(self, store):
        return leftovers(store)

    def origin(self, store):
        return make(f"{store.directory.path}-origin")

    def write_fault(self, store, nth):
        return largest_file((nth - 1) << 19)

    def read_fault(self, store, nth):
        return bad_sector(store, nth)

    @contextlib.contextmanager
    def away(self, store):
        """Rename the directory, which resembles a missing mount."""
        directory = store.properties()["data_dir"]
        os.rename(directory, f"{directory}-away")
        yield
        os.rename(f"{directory}-away", directory)

    @contextlib.contextmanager
    def replaced(self, store):
        """An empty directory in the place of the store's, which resembles an unmounted volume."""
        with self.away(store):
            directory = store.properties()["data_dir"]
            os.mkdir(directory)
            yield
            os.rmdir(directory)

    def private(self, store):
        return [store.properties()["data_dir"]]

    def shown(self, store):
        return self.private(store)  # as Glance does

    def sync_fault(self, store, before):
        return local.syncs(before)

    def removals(self, store, before):
        return local.removals(before)

    def others(self, store, names):
        return local.others(store.directory.path, names)

    def truncate(self, store, location, size):
        local.truncate(store.directory.final(location), size)

    @contextlib.contextmanager
    def denied(self, store):
        """Nobody, to whom permissions apply, has none."""
        directory = store.properties()["data_dir"]
        root = os.geteuid() == 0
        os.chmod(directory, 0)
        if root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            os.chmod(directory, 0o750)


class TestThinInSmallSteps(StoreContract):
    COPIES = False  # a thin store only shares blocks, which few file systems can

    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr(disk, "WINDOW_BYTES", 100_000)
        small = {"filesystem_store_chunk_size": 65_521}
        return make(tmp_path, filesystem_thin_provisioning=True, **small)

    def leftovers(self, store):
        return leftovers(store)


# Files


def test_an_object_is_one_plain_file_that_others_cannot_read(store, directory):
    assert put(store, b"x" * 5000, size=5000) == KEY
    assert os.listdir(directory) == [KEY]
    found = (directory / KEY).stat()
    assert found.st_size == 5000
    assert not found.st_mode & stat.S_IRWXO
    assert not directory.stat().st_mode & stat.S_IRWXO


def test_a_known_size_is_reserved_at_once(store, directory, reserving):
    with store.create(KEY, 8 << 20):
        (part,) = directory.iterdir()
        assert part.stat().st_blocks * 512 >= 8 << 20
    assert os.listdir(directory) == []


def test_memory_is_not_filled_page_by_page_before_anything_is_received(tiny):
    with make(tiny).create(KEY, 300 << 10):
        (part,) = tiny.iterdir()
        assert (part.stat().st_size, part.stat().st_blocks) == (300 << 10, 0)


def test_nothing_reserved_is_kept_beyond_what_came(store, directory, reserving):
    put(store, b"data", size=8 << 20)
    assert (directory / KEY).stat().st_size == 4
    assert (directory / KEY).stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    ("digits", "mode"), [(0, 0o600), (-1, 0o600), (644, 0o644), (440, 0o440), (600, 0o600)]
)
def test_file_permissions(directory, digits, mode):
    store = make(directory, filesystem_store_file_perm=digits)
    former = os.umask(0o077)
    try:
        location = put(store, b"data")
    finally:
        os.umask(former)
    assert stat.S_IMODE((directory / location).stat().st_mode) == mode


def test_another_process_finds_what_was_stored(directory, store):
    location = put(store, b"data")
    assert b"".join(make(directory).read(location)) == b"data"


def test_the_residue_of_a_killed_process_is_discarded(store, directory):
    dies = (
        "import os, pathlib, sys; from tests.stores.test_filesystem import KEY, make; "
        "make(pathlib.Path(sys.argv[1])).create(KEY, 1 << 20).write(b'data'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", dies, str(directory)], check=True)
    assert os.listdir(directory) != []
    store.discard(KEY)
    assert os.listdir(directory) == []


ZEROS, DATA = bytes(1 << 20), os.urandom(1 << 20)


@pytest.mark.parametrize(
    ("chunks", "stored"),
    [
        ([ZEROS], 0),
        ([DATA, ZEROS, DATA], 2 << 20),
        ([ZEROS, DATA + ZEROS], 1 << 20),
        ([DATA[:70_000], ZEROS[:1], ZEROS, b"x", ZEROS[:70_000]], 3 << 16),
        ([ZEROS[:10], DATA[:10], ZEROS[:10]], 1 << 16),
    ],
    ids=["all", "middle", "ends", "odd", "small"],
)
@pytest.mark.parametrize("announced", [True, False])
def test_zeros_are_holes_of_a_thin_file(directory, chunks, stored, announced):
    store = make(directory, filesystem_thin_provisioning=True)
    data = b"".join(chunks)
    with store.create(KEY, len(data) if announced else None) as sink:
        for chunk in chunks:
            sink.write(chunk)
        sink.commit()
    assert b"".join(store.read(KEY)) == data
    assert (directory / KEY).stat().st_blocks * 512 <= stored


def test_thin_files_may_promise_more_than_there_is(tiny):
    store = make(tiny, filesystem_thin_provisioning=True)
    assert store.size(put(store, ZEROS, size=len(ZEROS))) == len(ZEROS)
    with store.create(IMAGE, len(DATA)) as sink:
        fails(errors.StoreFull, sink.write, DATA)
    assert leftovers(store) == [KEY]


def test_data_is_on_its_way_to_the_disk_before_the_end(store, monkeypatch):
    """Whatever the size, an fsync writes at most the last windows."""
    monkeypatch.setattr(disk, "WINDOW_BYTES", 1000)
    monkeypatch.setattr(disk, "WINDOWS", 2)
    seen = []
    monkeypatch.setattr(disk, "_sync_file_range", lambda _, *what: seen.append(what) or 0)
    with store.create(KEY, None) as sink:
        for size in (999, 1, 500, 2000, 1000):
            sink.write(bytes(size))
        sink.commit()
    begun = [(at, 1000, 2) for at in (0, 1000, 2000, 3000)]
    assert [what for what in seen if what[2] == 2] == begun
    assert [what for what in seen if what[2] != 2] == [(0, 1000, 7), (1000, 1000, 7)]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EOPNOTSUPP])
def test_a_disk_that_fails_behind_a_write(store, monkeypatch, number):
    """An error that early writeback reports is not reported again by fsync."""
    monkeypatch.setattr(disk, "WINDOW_BYTES", 1000)
    monkeypatch.setattr(disk, "_sync_file_range", lambda *args: -1)
    monkeypatch.setattr(disk.ctypes, "get_errno", lambda: number)
    with store.create(KEY, None) as sink:
        if number == errno.EOPNOTSUPP:
            sink.write(bytes(1000))
            assert sink.commit() == KEY
            return
        expected = errors.StoreFull if number == errno.ENOSPC else errors.StoreUnavailable
        fails(expected, sink.write, bytes(1000))
        fails(errors.StoreUnavailable, sink.commit)
    assert leftovers(store) == []


def test_reading_in_chunks_of_the_configured_size(directory):
    store = make(directory, filesystem_store_chunk_size=4)
    assert list(store.read(put(store, b"0123456789"), 1)) == [b"1234", b"5678", b"9"]


def test_properties_have_what_glance_shows(store, directory):
    assert store.properties() == {
        "data_dir": str(directory),
        "chunk_size": 1024 * 1024,
        "thin_provisioning": False,
    }


def test_two_paths_to_one_directory_are_one_place(store, directory, tmp_path):
    (tmp_path / "link").symlink_to(directory)
    assert make(tmp_path / "link").place() == store.place()
    assert make(tmp_path / "other").place() != store.place()


# Locations

STRANGE = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "..",
    "this": ".",
    "climbing": "../secret",
    "climbing inside": f"a/../{KEY}",
    "subdirectory": f"sub/{KEY}",
    "NUL": f"{KEY}\0",
    "newline": f"{KEY}\n",
    "temporary": f".part-{KEY}0",
    "too long": "a" * 300,
    "not ASCII": "é",
    "surrogate": "\udcff",
    "directory": "directory",
    "symbolic link": "link",
    "link to nothing": "dangling",
    "FIFO": "fifo",
}


@pytest.mark.parametrize("location", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("call", ["read", "size", "delete", "open"])
def test_a_location_that_is_no_object(store, directory, tmp_path, call, location):
    put(store, b"data")
    with store.create(f"{KEY}0", None):
        (tmp_path / "secret").write_text("secret")
        (directory / "directory").mkdir()
        (directory / "link").symlink_to(tmp_path / "secret")
        (directory / "dangling").symlink_to(tmp_path / "nothing")
        os.mkfifo(directory / "fifo")
        before = sorted(os.listdir(directory))
        with pytest.raises(errors.ObjectNotFound):
            getattr(store, call)(location)
        assert sorted(os.listdir(directory)) == before
    assert (tmp_path / "secret").exists()


def test_a_link_planted_where_an_attempt_writes_is_not_followed(store, directory, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (directory / f".part-{KEY}").symlink_to(tmp_path / "secret")
    with pytest.raises(errors.StoreUnavailable):
        store.create(KEY, None)
    assert (tmp_path / "secret").read_text() == "secret"


def test_an_attempt_that_is_under_way_is_not_begun_again(store, directory):
    with store.create(KEY, None) as sink:
        sink.write(b"da")
        with pytest.raises(errors.StoreUnavailable):
            store.create(KEY, None)
        sink.write(b"ta")
        assert b"".join(store.read(sink.commit())) == b"data"


# Configuration


@pytest.mark.parametrize("digits", [888, 7777, 200, 77777])
def test_permissions_that_make_no_sense(directory, digits):
    with pytest.raises(errors.BadConfig) as caught:
        make(directory, filesystem_store_file_perm=digits)
    assert caught.value.key == "[disk] filesystem_store_file_perm"


def test_glances_several_directories_are_not_silently_ignored(directory):
    with pytest.raises(errors.BadConfig) as caught:
        make(directory, filesystem_store_datadirs=["/a:100", "/b"])
    assert caught.value.key == "[disk] filesystem_store_datadirs"


@contextlib.contextmanager
def read_only(place):
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)


def refused(directory):
    with pytest.raises(errors.BadConfig) as caught:
        make(directory)
    assert caught.value.key == "[disk] filesystem_store_datadir"


def test_a_data_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file")
    refused(tmp_path / "file" / "images")


def test_a_data_directory_that_is_read_only(tiny):
    with read_only(tiny):
        refused(tiny)


def test_a_data_directory_that_is_not_ours(ours):
    ours.chmod(0o500)
    refused(ours)
    refused(ours / "images")


def test_a_full_store_starts_and_can_be_read(tiny):
    store = make(tiny)
    location = put(store, b"data")
    with contextlib.suppress(OSError):
        (tiny / "ballast").write_bytes(bytes(1 << 20))
    assert store.free_space() == 0
    assert b"".join(make(tiny).read(location)) == b"data"


# Faults


def fails(error, call, *args):
    """``call`` fails with ``error``, which names the store and no path."""
    with pytest.raises(errors.Error) as caught:
        call(*args)
    assert type(caught.value) is error
    assert caught.value.details["store"] == "disk"
    assert not PATH.search(str(caught.value))


def test_full_at_create_write_and_never_in_between(tiny):
    store = make(tiny)
    fails(errors.StoreFull, store.create, KEY, 1 << 20)
    assert os.listdir(tiny) == []
    with store.create(KEY, 300 << 10) as sink:
        # The reservation holds: the second upload is refused, the first keeps its space.
        fails(errors.StoreFull, store.create, f"{IMAGE}.2", 300 << 10)
        sink.write(bytes(300 << 10))
        assert sink.commit() == KEY
    assert os.listdir(tiny) == [KEY]


def test_a_reservation_that_fails_leaves_nothing(tiny, reserving, monkeypatch):
    store = make(tiny)
    monkeypatch.setattr(store.space, "free", lambda: None)
    fails(errors.StoreFull, store.create, KEY, 1 << 20)
    assert os.listdir(tiny) == []


def test_no_more_files(tmp_path):
    with mounted(tmp_path / "two", "size=1m,nr_inodes=2") as place:
        store = make(place)
        put(store, b"")
        fails(errors.StoreFull, store.create, f"{IMAGE}.2", None)


def test_a_file_larger_than_allowed(store, directory):
    """RLIMIT_FSIZE is the only way to a real short write without root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.create(KEY, None) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            fails(errors.StoreFull, sink.write, bytes(200_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        fails(errors.StoreUnavailable, sink.commit)
    assert os.listdir(directory) == []


@pytest.mark.parametrize("size", [2**62, 2**63, 2**70])
def test_sizes_no_file_can_have(store, directory, size):
    fails(errors.StoreFull, store.create, KEY, size)
    assert os.listdir(directory) == []


def test_remounted_read_only_under_an_upload(tiny):
    store = make(tiny)
    location = put(store, b"data")
    with read_only(tiny):
        fails(errors.StoreDenied, store.create, f"{IMAGE}.2", None)
        fails(errors.StoreDenied, store.delete, location)
        fails(errors.StoreDenied, store.discard, location)
        assert b"".join(store.read(location)) == b"data"


def test_a_directory_that_is_no_longer_ours(ours):
    store = make(ours)
    ours.chmod(0)
    try:
        fails(errors.StoreDenied, store.create, KEY, None)
        fails(errors.StoreDenied, store.read, KEY)
    finally:
        ours.chmod(0o700)


@pytest.mark.parametrize("call", ["read", "size", "delete", "open", "discard"])
def test_without_its_directory_the_store_is_gone_not_the_object(store, directory, call):
    os.rmdir(directory)
    fails(errors.StoreUnavailable, getattr(store, call), KEY)
    fails(errors.StoreUnavailable, store.create, KEY, None)
    assert store.free_space() is None


def test_sweep_of_attempts_and_objects(store, directory):
    """Only attempts of imsgate, in this directory, that nobody claims and that are old enough."""
    put(store, b"data", key=f"{IMAGE}.3")
    for number, age in ((1, 100), (2, 100), (4, 10)):
        sink = store.create(f"{IMAGE}.{number}", None)
        sink.write(b"part")
        path = directory / f".part-{IMAGE}.{number}"
        os.utime(path, (0, path.stat().st_mtime - age))
    (directory / ".part-notes").write_text("of somebody else")
    (directory / f".part-{IMAGE}.5").symlink_to(directory / ".part-notes")
    before = set(os.listdir(directory))
    assert store.sweep(50, lambda key: key == f"{IMAGE}.2") == Swept(1, 4)
    gone = {f".part-{IMAGE}.1"}
    assert set(os.listdir(directory)) == before - gone
    assert store.sweep_objects(lambda key: key == f"{IMAGE}.2") == Swept(0, 0)
    assert store.sweep_objects(lambda key: True) == Swept(1, 4)
    assert set(os.listdir(directory)) == before - gone - {f"{IMAGE}.3"}
    replace(directory)
    fails(errors.StoreUnavailable, store.sweep, 0, lambda key: False)


# Another directory in the place of the store's


def replace(directory):
    """Put an empty directory in the place of the store's."""
    os.rename(directory, f"{directory}-away")
    os.mkdir(directory)


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("call", ["read", "size", "delete", "open", "discard", "check", "create"])
def test_another_directory_is_not_the_store(store, directory, call, marked):
    """Not even if it has a file of the same name, or if the store was not marked."""
    if marked:
        store.mark()
    location = put(store, b"data")
    replace(directory)
    (directory / location).write_bytes(b"decoy")
    args = {"check": (), "create": (f"{IMAGE}.2", None)}.get(call, (location,))
    fails(errors.StoreUnavailable, getattr(store, call), *args)
    assert store.free_space() is None
    assert os.listdir(directory) == [location]


def test_a_volume_that_is_mounted_again_is_the_store(tmp_path):
    """The device number of a volume may change. Other volumes have the number that it had."""
    location = f"{IMAGE}.1"
    with mounted(tmp_path / "volume", "size=1m") as place:
        store = make(place)
        store.mark()
        put(store, b"data")
        saved = tmp_path / "saved"
        shutil.copytree(place, saved)
    fails(errors.StoreUnavailable, store.size, location)
    for content, size in ((None, None), (saved, 4)):
        place.rmdir()
        with mounted(place, "size=1m"):
            if content is None:
                fails(errors.StoreUnavailable, store.size, location)
                fails(errors.StoreUnavailable, store.create, f"{IMAGE}.2", None)
            else:
                shutil.copytree(content, place, dirs_exist_ok=True)
                assert store.size(location) == size


def test_a_volume_that_goes_while_an_object_is_looked_for(store, directory, monkeypatch):
    store.mark()
    location = put(store, b"data")
    real = os.stat

    def stat_after_unmount(path, **kwargs):
        if os.fspath(path) == str(directory / location):
            replace(directory)
        return real(path, **kwargs)

    monkeypatch.setattr(os, "stat", stat_after_unmount)
    fails(errors.StoreUnavailable, store.size, location)


def test_one_mark_of_many_processes(directory):
    """Whoever marks the directory later keeps the mark that is there."""
    stores = [make(directory) for _ in range(8)]
    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(FilesystemStore.mark, stores))
    assert os.listdir(directory) == [MARK]
    for store in stores:
        store.check()
        assert store.unmarked() is None
    assert make(directory).unmarked() is None


def test_a_file_system_without_links_is_marked(store, directory, monkeypatch):
    monkeypatch.setattr(os, "link", failing(os.link, errno.EPERM, [1]))
    store.mark()
    assert os.listdir(directory) == [MARK]
    store.check()


def test_a_full_file_system_is_not_marked(store, directory, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(os.fsync, errno.ENOSPC, [1]))
    fails(errors.StoreFull, store.mark)
    assert os.listdir(directory) == []
    assert store.unmarked() == "[disk] filesystem_store_datadir"


def test_an_object_that_lost_its_end_is_never_taken_for_whole(store, directory):
    location = put(store, b"0123456789")
    reader = store.read(location)
    os.truncate(directory / location, 5)
    assert next(reader) == b"01234"
    fails(errors.StoreUnavailable, next, reader)


NUMBERS = [
    (errno.EIO, errors.StoreUnavailable),
    (errno.ESTALE, errors.StoreUnavailable),
    (errno.ENOSPC, errors.StoreFull),
    (errno.EDQUOT, errors.StoreFull),
    (errno.EROFS, errors.StoreDenied),
]


def failing(real, number, times):
    def call(*args, **kwargs):
        if times:
            times.pop()
            if real is os.close:
                real(*args)  # the kernel frees a descriptor even when it reports an error
            raise OSError(number, os.strerror(number), "/some/path")
        return real(*args, **kwargs)

    return call


# It takes root to make a real disk fail, so these calls are replaced by failing ones.
@pytest.mark.parametrize("fault", NUMBERS, ids=[errno.errorcode[number] for number, _ in NUMBERS])
@pytest.mark.parametrize("place", ["write", "ftruncate", "fsync", "close", "rename"])
def test_an_attempt_that_failed_leaves_nothing(store, directory, monkeypatch, place, fault):
    number, error = fault
    with store.create(KEY, 8) as sink:
        monkeypatch.setattr(os, place, failing(getattr(os, place), number, [1]))
        if place == "write":
            fails(error, sink.write, b"data")
        else:
            sink.write(b"data")
            fails(error, sink.commit)
        assert os.listdir(directory) == []
        fails(errors.StoreUnavailable, sink.commit)


def test_a_rename_that_is_not_durable_is_taken_back(store, directory, monkeypatch):
    with store.create(KEY, None) as sink:
        sink.write(b"data")
        directory_sync = failing(store.directory.sync, errno.EIO, [1])
        monkeypatch.setattr(store.directory, "sync", directory_sync)
        fails(errors.StoreUnavailable, sink.commit)
        assert os.listdir(directory) == []


def test_short_writes_are_continued(store, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    assert b"".join(store.read(put(store, b"0123456789"))) == b"0123456789"


def test_a_disk_that_fails_while_reading(store, monkeypatch):
    location = put(store, b"data")
    reader = store.read(location)
    reader.close()
    assert next(reader, None) is None
    monkeypatch.setattr(os, "stat", failing(os.stat, errno.EIO, [1]))
    fails(errors.StoreUnavailable, store.size, location)


def test_an_abort_that_cannot_clean_up_says_nothing(store, directory, monkeypatch, caplog):
    with store.create(KEY, None) as sink:
        sink.write(b"data")
        monkeypatch.setattr(os, "unlink", failing(os.unlink, errno.EIO, [1]))
    assert "not removed" in caplog.text
    assert str(directory) not in caplog.text
    store.discard(KEY)
    assert os.listdir(directory) == []


@pytest.fixture
def unreserving(monkeypatch):
    """Like NFS before 4.2: fallocate fails with EOPNOTSUPP and writes nothing."""
    monkeypatch.setattr(disk, "_fallocate", lambda *args: -1)
    monkeypatch.setattr(disk.ctypes, "get_errno", lambda: errno.EOPNOTSUPP)


def test_file_systems_that_cannot_reserve(store, unreserving):
    assert b"".join(store.read(put(store, b"data", size=4))) == b"data"


def test_what_is_announced_counts_where_nothing_can_be_reserved(tiny, unreserving):
    """Announced bytes that are not yet written count for other processes too."""
    store, other = make(tiny), make(tiny)
    with store.create(KEY, 300 << 10) as sink:
        fails(errors.StoreFull, other.create, f"{IMAGE}.2", 300 << 10)
        sink.write(bytes(200 << 10))
        with other.create(f"{IMAGE}.2", 200 << 10):
            fails(errors.StoreFull, store.create, f"{IMAGE}.3", 20 << 10)
        sink.write(bytes(100 << 10))
        assert sink.commit() == KEY
    assert os.listdir(tiny) == [KEY]


@pytest.mark.parametrize("kind", ["reserving", "unreserving"])
def test_many_at_once_do_not_promise_the_same_space(tiny, request, kind):
    """An accepted upload keeps its space to the end. Four of 120 KiB fit into 512 KiB."""
    request.getfixturevalue(kind)
    store, size, count = make(tiny), 120 << 10, 16
    start, judged = threading.Barrier(count), threading.Barrier(count)

    def upload(number):
        start.wait()
        try:
            sink = store.create(f"{IMAGE}.{number:x}", size)
        except errors.StoreFull:
            judged.wait()
            return 0
        with sink:
            judged.wait()
            sink.write(bytes(size))
            return store.size(sink.commit())

    with ThreadPoolExecutor(count) as pool:
        kept = [stored for stored in pool.map(upload, range(count)) if stored]
    # Before the file system refuses, an upload that does not fit may briefly take some space.
    assert len(kept) == 4 if kind == "unreserving" else 1 <= len(kept) <= 4
    assert kept == [size] * len(os.listdir(tiny))
