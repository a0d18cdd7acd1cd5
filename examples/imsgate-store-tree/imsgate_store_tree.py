"""Images in a tree of directories: an example of a store driver in a package of its own."""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator

from oslo_config import cfg

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.stores.base import Resumable, ResumableSink, Sink, Store
from imsgate.stores.committed import CommittedAttempt

_KEY = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z-]{3}[0-9a-zA-Z.-]{0,96}", re.ASCII)
#: Suffix of files that are being written, for resumable attempts followed by the epoch. No location
#: matches it, because keys contain no underscore.
_PART = "_part"
#: Bytes per read.
_CHUNK_BYTES = 1 << 20


class TreeStore(Store, Resumable):
    """Images as files in a tree of directories two levels deep."""

    OPTS = (cfg.StrOpt("tree_directory", help="The root of the tree. It must exist."),)

    def __init__(self, name, settings):
        super().__init__(name, settings)
        if not os.access(settings.tree_directory or "", os.W_OK | os.X_OK):
            raise BadConfig(f"[{name}] tree_directory", "is not a writable directory")

    def create(self, key, size):
        return TreeSink(self, key)

    def prepare(self, key):
        """Make the directories of a new object. Raises StoreUnavailable if it exists already."""
        if os.path.lexists(self.path(key)):
            problem = "the object exists already"
            raise errors.StoreUnavailable(store=self.name, problem=problem)
        above = self.settings.tree_directory
        for name in (key[:2], key[2:4]):
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.join(above, name))
            sync(above)  # in any case: whoever made it may not have come so far
            above = os.path.join(above, name)

    def begin(self, key, size, epoch):
        path = self._part(key, epoch)
        with self.reporting():
            self.prepare(key)
            file = open(path, "x+b", buffering=0)
        return ResumableTreeSink(self, key, path, file, 0)

    def durable(self, key, size, epoch):
        file = self._take_over(key, epoch)
        if file is None:
            return self.size(key)
        with file, self.reporting():
            os.fsync(file.fileno())
            sync(os.path.dirname(self.path(key)))
            return os.fstat(file.fileno()).st_size

    def resume(self, key, size, offset, epoch):
        file = self._take_over(key, epoch)
        if file is None:
            return CommittedAttempt(self.name, key, self.size(key), offset)
        return ResumableTreeSink(self, key, self._part(key, epoch), file, offset)

    def _take_over(self, key, epoch):
        """Open the file of a resumable attempt; None if there is none, or no longer.

        The epoch is part of the file's name. Every step of a sink happens while it has locked its
        file and the file has this name, so renaming it fences the sink off.
        """
        with self.reporting():
            for before in self._epochs(key):
                if before > epoch:
                    raise overtaken(self)
                file = open(self._part(key, before), "r+b", buffering=0)
                try:
                    with locked(file, self._part(key, before)):
                        os.rename(self._part(key, before), self._part(key, epoch))
                    return file
                except BaseException:
                    file.close()
                    raise
        return None

    def _epochs(self, key):
        """The epochs of the resumable attempt with this key: one, or none."""
        prefix = os.path.basename(self._part(key, ""))
        names = os.listdir(os.path.dirname(self.path(key)))
        return [int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]

    def _part(self, key, epoch):
        return f"{self.path(key)}{_PART}-{epoch}"

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
        with self.reporting(), contextlib.suppress(FileNotFoundError):
            parts = [self._part(key, epoch) for epoch in self._epochs(key)]
            for path in (*parts, self.path(key) + _PART, self.path(key)):
                with contextlib.suppress(FileNotFoundError):
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
            store.prepare(key)
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


class ResumableTreeSink(ResumableSink):
    """One file that is being written in an attempt that can be suspended."""

    def __init__(self, store, key, path, file, offset):
        self._store, self._key, self._path, self._file = store, key, path, file
        self._written = offset
        self._failed = self._committed = False
        with self._step():
            if os.fstat(file.fileno()).st_size < offset:
                raise OSError(errno.EIO, "bytes are missing")
            file.truncate(offset)
            file.seek(offset)

    def write(self, chunk):
        with self._step():
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._written += len(chunk)

    def suspend(self):
        try:
            with self._step(failed=True):
                self._file.truncate(self._written)  # a failed write may have left half a chunk
                os.fsync(self._file.fileno())
                sync(os.path.dirname(self._path))
            return self._written
        finally:
            self._file.close()

    def commit(self):
        if not self._committed:
            with self._step():
                os.fsync(self._file.fileno())
                self._publish()
            self._committed = True
            self._file.close()
        return self._key

    def _publish(self):
        final = self._store.path(self._key)
        os.rename(self._path, final)
        try:
            sync(os.path.dirname(final))
        except OSError:
            os.rename(final, self._path)  # a commit that fails leaves nothing visible
            raise

    def abort(self):
        if not self._file.closed:
            with contextlib.suppress(errors.Error), self._step(failed=True):
                self._store.discard(self._key)
            self._file.close()

    @contextlib.contextmanager
    def _step(self, failed=False):
        """Do one step if the attempt is still this sink's. ``failed``: even after a failure."""
        if self._file.closed or (self._failed and not failed):
            problem = "this attempt has ended, or a write failed"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem)
        try:
            with self._store.reporting(), locked(self._file, self._path):
                yield
        except errors.ObjectNotFound:  # the file was renamed or removed
            self._failed = True
            raise overtaken(self._store) from None
        except BaseException:
            self._failed = True
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


@contextlib.contextmanager
def locked(file, path):
    """Lock an open file. Raises FileNotFoundError if it does not have this path any more."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        if not os.path.samestat(os.stat(path), os.fstat(file.fileno())):
            raise FileNotFoundError(errno.ENOENT, "another file")
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def overtaken(store):
    """The error of a sink that may not write any more."""
    problem = "a newer request has taken this upload over, or it was discarded"
    return errors.StoreUnavailable(store=store.name, problem=problem)


def sync(directory):
    """Make renames and removals durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
