"""Images in a tree of directories: an example of a store driver in a package of its own."""

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
#: Suffix of files that are being written. No location matches it.
_PART = ".part"
#: Bytes per read.
_CHUNK_BYTES = 1 << 20


class TreeStore(Store):
    """Images as files in a tree of directories two levels deep."""

    OPTS = (cfg.StrOpt("tree_directory", help="The root of the tree. It must exist."),)

    def __init__(self, name, settings):
        super().__init__(name, settings)
        if not os.access(settings.tree_directory or "", os.W_OK | os.X_OK):
            raise BadConfig(f"[{name}] tree_directory", "is not a writable directory")

    def create(self, key, size):
        return TreeSink(self, key)

    def read(self, location, offset=0, length=None):
        # Open the file now: read itself must raise ObjectNotFound, not the first chunk.
        with self.reporting():
            file = open(self.path(location), "rb", buffering=0)
        try:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
        except BaseException:
            file.close()
            raise
        return TreeReader(self, file, size - offset if length is None else length)

    def size(self, location):
        with self.reporting():
            return os.stat(self.path(location)).st_size

    def delete(self, location):
        with self.reporting():
            os.unlink(self.path(location))
            sync(os.path.dirname(self.path(location)))

    def discard(self, key):
        # The unfinished file first: if the attempt is committed meanwhile, the second removal
        # finds the object.
        for path in (self.path(key) + _PART, self.path(key)):
            with self.reporting(), contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def check(self):
        with self.reporting():
            os.listdir(self.settings.tree_directory)

    def place(self):
        return os.path.realpath(self.settings.tree_directory)

    def path(self, key):
        """The path of a key or location. Raises ObjectNotFound if it cannot be a key."""
        if not _KEY.fullmatch(key):
            raise errors.ObjectNotFound(f"store {self.name}")
        return os.path.join(self.settings.tree_directory, key[:2], key[2:4], key)

    @contextlib.contextmanager
    def reporting(self):
        """Translate system errors into errors of the store contract, without paths."""
        try:
            yield
        except OSError as error:
            # If the root is missing, the store is unavailable; the object may still exist.
            if error.errno == errno.ENOENT and os.path.isdir(self.settings.tree_directory):
                raise errors.ObjectNotFound(f"store {self.name}") from None
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise errors.StoreFull(store=self.name) from None
            problem = os.strerror(error.errno or errno.EIO)
            raise errors.StoreUnavailable(store=self.name, problem=problem) from None


class TreeSink(Sink):
    """One file that is being written."""

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
        """Abort after any failure: a file that lacks a write must not be committed."""
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


class TreeReader(Iterator):
    """One file that is being read.

    This is a class because closing a generator that was never started runs none of its code.
    """

    def __init__(self, store, file, length):
        self._store, self._file, self._remaining = store, file, length

    def __next__(self):
        if not self._remaining or self._file.closed:
            self.close()
            raise StopIteration
        with self._store.reporting():
            chunk = self._file.read(min(self._remaining, _CHUNK_BYTES))
        if not chunk:
            problem = "the object is shorter than its size"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem)
        self._remaining -= len(chunk)
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
