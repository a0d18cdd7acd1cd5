"""The filesystem driver: one local or network-mounted directory."""

import contextlib
import errno
import functools
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, BinaryIO

from imsgate import errors
from imsgate.config import Section
from imsgate.stores.base import (
    LOCATION,
    Adopts,
    Copies,
    CopySource,
    LocalFiles,
    Resumable,
    ResumableSink,
    Room,
    Sink,
    Store,
    Sweeps,
    Swept,
)
from imsgate.stores.filesystem import options
from imsgate.stores.filesystem.directory import (
    FENCE_PREFIX,
    TEMPORARY_PREFIX,
    DataDirectory,
    regular,
)
from imsgate.stores.filesystem.options import FileSettings
from imsgate.stores.filesystem.reader import FileReader
from imsgate.stores.filesystem.resumable import ResumableFiles
from imsgate.stores.filesystem.sink import FileSink
from imsgate.stores.filesystem.space import Space

#: All files of a host belong to one service: the kernel says which of them it copies.
_SERVICE = "files of this host"


class FilesystemStore(Store, Adopts, Copies, LocalFiles, Resumable, Sweeps):
    """A store whose objects are files in one directory."""

    OPTS = options.OPTS

    def __init__(self, name: str, settings: Section) -> None:
        super().__init__(name, settings)
        self._options = FileSettings.of(settings)
        options.check_directories(name, self._options)
        self._mode = options.file_mode(name, self._options)
        self.directory = DataDirectory(name, self._options.filesystem_store_datadir)
        self.space = Space(self.directory)
        sparse = self._options.filesystem_thin_provisioning
        self._resumable = ResumableFiles(self.directory, self.space, mode=self._mode, sparse=sparse)

    def create(self, key: str, size: int | None) -> Sink:
        with self.directory.reporting():
            self.directory.medium.verify()
            self.directory.refuse_existing(key)
        sparse = self._options.filesystem_thin_provisioning
        # Nobody knows yet how much of a thin file will be holes.
        announced = None if sparse else size
        if announced is not None:
            # Before a file is created. Promises to other uploads are considered by reserve.
            self.space.check(announced)
        reserve = functools.partial(self.space.reserve, size=announced) if announced else None
        return FileSink(self.directory, key, mode=self._mode, sparse=sparse, reserve=reserve)

    def copy_source(self, location: str) -> CopySource:
        path = self.directory.located(location)
        with self.directory.finding():
            version = _version(regular(os.stat(path, follow_symlinks=False)))
        return CopySource(_SERVICE, self.directory.path, location, version)

    def copies_from(self, source: CopySource) -> bool:
        return source.service == _SERVICE

    def copy(
        self, key: str, source: CopySource, size: int, check: Callable[[], object]
    ) -> Sink | None:
        """See Copies. Also returns None if blocks cannot be shared and zeros have to become
        holes."""
        if not self.copies_from(source):
            return None
        with self.directory.reporting():
            self.directory.medium.verify()
            self.directory.refuse_existing(key)
        with _opened(source, size) as fd:
            sparse = self._options.filesystem_thin_provisioning
            sink = FileSink(self.directory, key, mode=self._mode, sparse=sparse, reserve=None)
            if sink.clone(fd, size):
                return sink
            if not sparse:
                sink.reserve(functools.partial(self.space.reserve, size=size))
                if sink.copy(fd, size, check):
                    return sink
            sink.abort()
            return None

    def begin(self, key: str, size: int | None, epoch: int) -> ResumableSink:
        return self._resumable.begin(key, size, epoch)

    def durable(self, key: str, size: int | None, epoch: int) -> int:
        return self._resumable.durable(key, size, epoch)

    def resume(self, key: str, size: int | None, offset: int, epoch: int) -> ResumableSink:
        return self._resumable.resume(key, size, offset, epoch)

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        chunk = self._options.filesystem_store_chunk_size
        return FileReader(self.directory, self.open(location), offset, length, chunk)

    def size(self, location: str) -> int:
        path = self.directory.located(location)
        with self.directory.finding():
            return regular(os.stat(path, follow_symlinks=False)).st_size

    def delete(self, location: str) -> None:
        path = self.directory.located(location)
        with self.directory.finding():
            regular(os.stat(path, follow_symlinks=False))
            os.unlink(path)
            self.directory.sync()

    def discard(self, key: str) -> None:
        self.directory.discard(key)

    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        """See Sweeps. The age of an attempt is the time since its last write."""
        before = time.time() - age
        swept = Swept(0, 0)
        # A fence is made before its data, and may be left without it.
        found = {key: (status.st_mtime, 0) for key, status in self.directory.attempts(FENCE_PREFIX)}
        for key, status in self.directory.attempts(TEMPORARY_PREFIX):
            found[key] = status.st_mtime, status.st_size
        for key, (written, size) in found.items():
            if written <= before and not living(key):
                self.directory.discard(key, unfinished_only=True)
                swept = Swept(swept.attempts + 1, swept.bytes + size)
        return swept

    def sweep_objects(self, orphaned: Callable[[str], bool]) -> Swept:
        swept = Swept(0, 0)
        for key, status in self.directory.attempts():
            if orphaned(key):
                self.directory.discard(key)
                swept = Swept(swept.attempts + 1, swept.bytes + status.st_size)
        return swept

    def open(self, location: str) -> BinaryIO:
        path = self.directory.located(location)
        with self.directory.finding():
            # O_NONBLOCK has no effect on regular files; it keeps open from blocking on a FIFO
            # that someone has put there.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                regular(os.fstat(fd))
                return open(fd, "rb", buffering=0)
            except BaseException:
                os.close(fd)
                raise

    def glance_location(self, url: str) -> str | None:
        scheme, _, path = url.partition("://")
        directory, location = os.path.split(path)
        if scheme not in ("file", "filesystem") or not LOCATION.fullmatch(location):
            return None
        try:  # the same directory may have another name, such as a symbolic link or a mount
            is_here = os.path.samefile(directory, self.directory.path)
        except OSError:
            return None
        return location if is_here else None

    def check(self) -> None:
        with self.directory.reporting():
            self.directory.medium.verify()
            if not os.access(self.directory.path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable")

    def free_space(self) -> int | None:
        return self.space.free()

    def room(self) -> Room:
        return self.space.room()

    def unmarked(self) -> str | None:
        return None if self.directory.medium.marked else self.directory.option

    def mark(self) -> None:
        with self.directory.reporting():
            self.directory.medium.mark()

    def place(self) -> Hashable:
        status = os.stat(self.directory.path)
        return status.st_dev, status.st_ino

    def properties(self) -> Mapping[str, Any]:
        return {
            "data_dir": self.directory.path,
            "chunk_size": self._options.filesystem_store_chunk_size,
            "thin_provisioning": self._options.filesystem_thin_provisioning,
        }


def _version(status: os.stat_result) -> str:
    """Differs after the file was replaced or changed."""
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


@contextlib.contextmanager
def _opened(source: CopySource, size: int) -> Iterator[int]:
    """The descriptor of another store's file. Raises SourceFailed."""
    try:
        path = os.path.join(source.bucket, source.key)
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise errors.SourceFailed(problem=f"it cannot be opened: {error.strerror}") from error
    try:
        status = regular(os.fstat(fd))
        if _version(status) != source.etag or status.st_size != size:
            raise errors.SourceFailed(problem="the file was replaced")
        yield fd
    finally:
        os.close(fd)
