"""Images in a tree of directories: the example of a driver in a package of its own."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from oslo_config import cfg

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.stores.base import Sink, Store

_KEY = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z-]{3}[0-9a-zA-Z.-]{0,96}", re.ASCII)
_PART = ".part"
_CHUNK = 1 << 20


class TreeStore(Store):
    """Images as files in a tree of directories two levels deep."""

    OPTS = (cfg.StrOpt("tree_directory", help="The root of the tree. It must exist."),)

    def __init__(self, name, settings):
        super().__init__(name, settings)
        if not os.access(settings.tree_directory or "", os.W_OK | os.X_OK):
            raise BadConfig(f"[{name}] tree_directory", "not a directory that can be written")

    def create(self, key, size):
        return TreeSink(self, key)

    def read(self, location, offset=0, length=None):
        # Opened at the call: that is when the caller learns that nothing is there.
        with self.reporting():
            file = open(self.path(location), "rb", buffering=0)
        try:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
        except BaseException:
            file.close()
            raise
        return Chunks(self, file, size - offset if length is None else length)

    def size(self, location):
        with self.reporting():
            return os.stat(self.path(location)).st_size

    def delete(self, location):
        with self.reporting():
            os.unlink(self.path(location))
            sync(os.path.dirname(self.path(location)))

    def discard(self, key):
        # The part first: an attempt that commits in between is caught by the second removal.
        for path in (self.path(key) + _PART, self.path(key)):
            with self.reporting(), contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def check(self):
        with self.reporting():
            os.listdir(self.settings.tree_directory)

    def place(self):
        return os.path.realpath(self.settings.tree_directory)

    def path(self, key):
        """Where the object of a key lies. Raises ObjectNotFound for what no key looks like."""
        if not _KEY.fullmatch(key):
            raise errors.ObjectNotFound(f"store {self.name}")
        return os.path.join(self.settings.tree_directory, key[:2], key[2:4], key)

    @contextlib.contextmanager
    def reporting(self):
        """The contract's errors for the system's; none of them tells a path."""
        try:
            yield
        except OSError as error:
            # Without its root the store is gone, not the object.
            if error.errno == errno.ENOENT and os.path.isdir(self.settings.tree_directory):
                raise errors.ObjectNotFound(f"store {self.name}") from None
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise errors.StoreFull(store=self.name) from None
            problem = os.strerror(error.errno or errno.EIO)
            raise errors.StoreUnavailable(store=self.name, problem=problem) from None


class TreeSink(Sink):
    def __init__(self, store, key):
        self._store, self._key = store, key
        self._path = store.path(key)
        self._committed = False
        with store.reporting():
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._file = open(self._path + _PART, "xb", buffering=0)

    def write(self, chunk):
        with self._aborting():
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]

    def commit(self):
        if not self._committed:
            with self._aborting():
                os.fsync(self._file.fileno())
                self._file.close()
                os.rename(self._path + _PART, self._path)
                sync(os.path.dirname(self._path))
            self._committed = True
        return self._key

    def abort(self):
        if not self._committed:
            self._file.close()
            with contextlib.suppress(errors.Error):
                self._store.discard(self._key)

    @contextlib.contextmanager
    def _aborting(self):
        """What missed a write must not be committed later."""
        if self._file.closed:
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem)
        try:
            with self._store.reporting():
                yield
        except errors.ObjectNotFound:
            self.abort()
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem) from None
        except BaseException:
            self.abort()
            raise


class Chunks(Iterator):
    """A class, because a generator that was never started closes nothing when closed."""

    def __init__(self, store, file, length):
        self._store, self._file, self._left = store, file, length

    def __next__(self):
        if not self._left or self._file.closed:
            self.close()
            raise StopIteration
        with self._store.reporting():
            chunk = self._file.read(min(self._left, _CHUNK))
        if not chunk:
            problem = "the object ends before its size"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem)
        self._left -= len(chunk)
        return chunk

    def close(self):
        self._file.close()


def sync(directory):
    """Make renames and removals durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
