"""Images as files of one directory.

An object is written under a temporary name beside its final one, so that the
rename that publishes it is atomic. Locations are bare file names: a data
directory can be moved, and a record cannot point outside it.
"""

import contextlib
import errno
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, BinaryIO

from oslo_config import cfg

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.stores import disk
from imsgate.stores.base import LOCATION, LocalFiles, Sink, Store

_LOG = logging.getLogger(__name__)

#: EFBIG is a file beyond what this file system or RLIMIT_FSIZE allows.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
#: ELOOP is what O_NOFOLLOW says of a symbolic link, which no object is.
_MISSING = frozenset({errno.ENOENT, errno.ELOOP})

#: Begins as no LOCATION does.
_TEMPORARY = ".part-"

_DEFAULT_MODE = 0o640


class FilesystemStore(Store, LocalFiles):
    """A store in one local or network-mounted directory."""

    OPTS = (
        cfg.StrOpt(
            "filesystem_store_datadir",
            default="$state_path/images",
            help="Directory that holds the images. It is created when missing. "
            "Two stores cannot share one.",
        ),
        cfg.MultiStrOpt(
            "filesystem_store_datadirs",
            help="Refused: give each directory a store of its own in enabled_backends.",
        ),
        cfg.IntOpt(
            "filesystem_store_file_perm",
            default=0,
            help="Permissions of the image files, in octal digits, for services that read "
            "them directly. With 0 or less the owner reads and writes and the group reads, "
            "as far as the umask allows.",
        ),
        cfg.IntOpt(
            "filesystem_store_chunk_size",
            default=1024 * 1024,
            min=1,
            help="Bytes read at a time when an image is streamed.",
        ),
        cfg.BoolOpt(
            "filesystem_thin_provisioning",
            default=False,
            help="Write no zeros: the files have holes there, which take no space. Nothing is "
            "reserved for an image then, so that a full disk is found out later.",
        ),
    )

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        if settings.filesystem_store_datadirs:
            raise BadConfig(
                f"[{name}] filesystem_store_datadirs",
                "several directories are several stores: enable one store for each",
            )
        self._mode = _file_mode(name, settings.filesystem_store_file_perm)
        self._promising = threading.Lock()
        self._directory = os.path.abspath(settings.filesystem_store_datadir)
        _make_usable(self._directory, f"[{name}] filesystem_store_datadir")

    def create(self, key: str, size: int | None) -> Sink:
        # Asked before any file is made; what other uploads were promised is settled then.
        # How much of a thin file is zeros, nobody knows yet.
        if not self.settings.filesystem_thin_provisioning:
            self._check_room(size)
        return _FileSink(self, key, size)

    def _check_room(self, size: int | None, promised: int = 0) -> None:
        free = self.free_space()
        if size is not None and free is not None and size + promised > free:
            raise errors.StoreFull(store=self.name)

    def reserve(self, fd: int, size: int) -> None:
        """Promise an attempt its space. Raises StoreFull and OSError.

        Where the file system cannot reserve, the size of each unfinished file says what
        it was promised, so that every process and host sees it.
        """
        if disk.reserve(fd, size):
            return
        with self._promising:
            os.ftruncate(fd, size)
            try:
                self._check_room(0, self._promised())
            except errors.StoreFull:
                os.ftruncate(fd, 0)  # before the next one looks
                raise

    def _promised(self) -> int:
        """Bytes that attempts under way will write still, as far as announced."""
        total = 0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.startswith(_TEMPORARY):
                    with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                        found = entry.stat(follow_symlinks=False)
                        total += max(0, found.st_size - found.st_blocks * 512)
        return total

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A stream of chunks; it has ``close`` and closes itself at its end.

        Raises StoreUnavailable when the file ends before its time.
        """
        file = self.open(location)
        try:
            with self.reporting():
                size = os.fstat(file.fileno()).st_size
                file.seek(offset)
        except BaseException:
            file.close()
            raise
        return _Chunks(self, file, size - offset if length is None else length)

    def size(self, location: str) -> int:
        path = self._existing(location)
        with self._finding():
            return _regular(os.stat(path, follow_symlinks=False)).st_size

    def delete(self, location: str) -> None:
        path = self._existing(location)
        with self._finding():
            _regular(os.stat(path, follow_symlinks=False))
            os.unlink(path)
            self.sync()

    def discard(self, key: str) -> None:
        """Raises StoreUnavailable or StoreDenied when something cannot be removed."""
        # In this order: a stale attempt that renames in between is caught by
        # the second removal, and one that comes later finds nothing to rename.
        with self.reporting():
            removed = [_unlink(path) for path in (self.temporary(key), self.final(key))]
            if any(removed):
                self.sync()
            else:
                os.stat(self._directory)  # without it, nobody knows what is left

    def open(self, location: str) -> BinaryIO:
        path = self._existing(location)
        with self._finding():
            # O_NONBLOCK has no effect on files; it keeps a planted FIFO from hanging us.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                _regular(os.fstat(fd))
                return open(fd, "rb", buffering=0)
            except BaseException:
                os.close(fd)
                raise

    def check(self) -> None:
        with self.reporting():
            os.stat(self._directory)
            if not os.access(self._directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable")

    def free_space(self) -> int | None:
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return None
        # Some FUSE file systems report no sizes at all.
        return found.f_bavail * found.f_frsize if found.f_blocks else None

    def place(self) -> Hashable:
        found = os.stat(self._directory)
        return found.st_dev, found.st_ino

    def properties(self) -> Mapping[str, Any]:
        return {
            "data_dir": self._directory,
            "chunk_size": self.settings.filesystem_store_chunk_size,
            "thin_provisioning": self.settings.filesystem_thin_provisioning,
        }

    # For the sink and the reader of this module.

    @property
    def mode(self) -> int | None:
        """Permissions to set, or None to leave what the umask gave."""
        return self._mode

    def temporary(self, key: str) -> str:
        """Where the object of ``key`` is written."""
        return os.path.join(self._directory, _TEMPORARY + key)

    def final(self, key: str) -> str:
        """Where the object of ``key`` is published."""
        return os.path.join(self._directory, key)

    def sync(self) -> None:
        """Make renames and removals durable. Raises OSError."""
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn an OSError into the failure it stands for, without its path."""
        try:
            yield
        except OSError as error:
            problem = os.strerror(error.errno) if error.errno else type(error).__name__
            if error.errno in _FULL:
                raise errors.StoreFull(store=self.name) from error
            if error.errno in _DENIED:
                raise errors.StoreDenied(store=self.name, problem=problem) from error
            raise errors.StoreUnavailable(store=self.name, problem=problem) from error

    @contextlib.contextmanager
    def _finding(self) -> Iterator[None]:
        """``reporting``, where a missing file is a missing object."""
        with self.reporting():
            try:
                yield
            except OSError as error:
                if error.errno not in _MISSING:
                    raise
                # Without its directory the store is gone, not the object.
                os.stat(self._directory)
                raise errors.ObjectNotFound(f"store {self.name}") from error

    def _existing(self, location: str) -> str:
        """The path a location stands for. Raises ObjectNotFound for what no sink returned."""
        if not LOCATION.fullmatch(location):
            raise errors.ObjectNotFound(f"store {self.name}")
        return self.final(location)


class _FileSink(Sink):
    """After any failure it is aborted: a file that missed a write must not be published,
    and a second fsync reports success for data the first one lost."""

    _CLOSED = -1  # as a descriptor it makes every later write and commit fail

    def __init__(self, store: FilesystemStore, key: str, size: int | None) -> None:
        self._store = store
        self._key = key
        self._fd = self._CLOSED
        self._written = 0
        self._sparse: bool = store.settings.filesystem_thin_provisioning
        self._committed = False
        with store.reporting():  # not aborting: a file that is there already is not ours
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._fd = os.open(store.temporary(key), flags, _DEFAULT_MODE)
        with self._aborting():
            if store.mode is not None:
                os.fchmod(self._fd, store.mode)
            if size and not self._sparse:
                store.reserve(self._fd, size)
        self._writeback = disk.Writeback(self._fd)

    def write(self, chunk: bytes) -> None:
        with self._aborting():
            (disk.write_sparsely if self._sparse else disk.write)(self._fd, chunk)
            self._written += len(chunk)
            self._writeback.reached(self._written)

    def commit(self) -> str:
        if not self._committed:
            with self._aborting():
                # The announced size may have been more than came, and holes have no end.
                os.ftruncate(self._fd, self._written)
                os.fsync(self._fd)
                self._close()
                os.rename(self._store.temporary(self._key), self._store.final(self._key))
                self._store.sync()
            self._committed = True
        return self._key

    def abort(self) -> None:
        if self._committed:
            return
        with contextlib.suppress(OSError):  # nothing of it is kept
            self._close()
        try:
            self._store.discard(self._key)
        except errors.Error as error:
            _LOG.warning("attempt %s was aborted but not removed: %s", self._key, error)

    def _close(self) -> None:
        # Linux frees the descriptor even when close fails.
        fd, self._fd = self._fd, self._CLOSED
        if fd != self._CLOSED:
            os.close(fd)

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            with self._store.reporting():
                yield
        except BaseException:
            self.abort()
            raise


class _Chunks(Iterator[bytes]):
    """``length`` bytes of an open file.

    A class, because a generator that was never started closes nothing when closed.
    """

    def __init__(self, store: FilesystemStore, file: BinaryIO, length: int) -> None:
        self._store = store
        self._file = file
        self._left = length

    def __next__(self) -> bytes:
        if not self._left or self._file.closed:
            self.close()
            raise StopIteration
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def _next(self) -> bytes:
        size = min(self._left, self._store.settings.filesystem_store_chunk_size)
        with self._store.reporting():
            chunk = self._file.read(size)
        if not chunk:
            raise errors.StoreUnavailable(
                store=self._store.name, problem="the object ends before its size"
            )
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        """Free the file; what was left is not read."""
        self._file.close()


def _regular(found: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    return found


def _unlink(path: str) -> bool:
    """Whether there was something to remove."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _file_mode(name: str, digits: int) -> int | None:
    """What the decimal digits mean in octal, as in glance_store; None for none."""
    if digits <= 0:
        return None
    key = f"[{name}] filesystem_store_file_perm"
    try:
        mode = int(str(digits), 8)
    except ValueError as error:
        raise BadConfig(key, "these are not octal digits") from error
    if mode & ~0o777 or not mode & stat.S_IRUSR:
        raise BadConfig(key, "must be permission bits that let the owner read")
    return mode


def _make_usable(directory: str, key: str) -> None:
    """Create ``directory`` if need be and write in it. Raises BadConfig under ``key``."""
    try:
        os.makedirs(directory, mode=0o750, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        # A full store takes no image but still gives those it has.
        if error.errno not in _FULL:
            raise BadConfig(key, f"not a writable directory: {error.strerror}") from error
