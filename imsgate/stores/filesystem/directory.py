"""The data directory: paths, durability, and what system errors mean in the store contract.

An object is written under a temporary name in the same directory as its final name, so the
rename that publishes it is atomic. Locations are bare file names: a data directory can be moved,
and no record can point outside of it.
"""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.stores.base import ATTEMPT, LOCATION
from imsgate.stores.mark import MarkedDirectory

#: EFBIG: the file would exceed the limit of the file system or RLIMIT_FSIZE.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
#: ELOOP: O_NOFOLLOW met a symbolic link, which is never an object.
_MISSING = frozenset({errno.ENOENT, errno.ELOOP})

#: Prefix of temporary names. No LOCATION begins with a dot.
TEMPORARY_PREFIX = ".part-"

#: Prefix of the names of fences; see ``fence.py``.
FENCE_PREFIX = ".fence-"


class DataDirectory:
    """The data directory of the store with the id ``store``."""

    def __init__(self, store: str, path: str) -> None:
        """Create the directory if needed and write in it. Raises BadConfig."""
        self.store = store
        self.path = os.path.abspath(path)
        self.option = f"[{store}] filesystem_store_datadir"
        try:
            self._make_usable()
            self.medium = MarkedDirectory(store, self.path)
        except OSError as error:
            raise BadConfig(self.option, f"not a writable directory: {error.strerror}") from error

    def _make_usable(self) -> None:
        try:
            os.makedirs(self.path, mode=0o750, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            # A full store accepts no uploads, but its images can still be downloaded.
            if error.errno not in _FULL:
                raise

    def temporary(self, key: str) -> str:
        """The path where the object with this key is written."""
        return os.path.join(self.path, TEMPORARY_PREFIX + key)

    def fence(self, key: str) -> str:
        """The path of the attempt's fence, if the attempt can be suspended."""
        return os.path.join(self.path, FENCE_PREFIX + key)

    def final(self, key: str) -> str:
        """The path where the object with this key is published."""
        return os.path.join(self.path, key)

    def located(self, location: str) -> str:
        """The path of a location. Raises ObjectNotFound if no sink can have returned it."""
        if not LOCATION.fullmatch(location):
            raise errors.ObjectNotFound(f"store {self.store}")
        return self.final(location)

    def refuse_existing(self, key: str) -> None:
        """Raises StoreUnavailable if the key has an object, which a rename would replace."""
        if os.path.lexists(self.final(key)):
            problem = "the object exists already"
            raise errors.StoreUnavailable(store=self.store, problem=problem)

    def sync(self) -> None:
        """Make renames and removals durable. Raises OSError."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def attempts(self, prefix: str = "") -> list[tuple[str, os.stat_result]]:
        """The keys and files of all attempts whose files have ``prefix``; "" for finished ones.

        Raises StoreUnavailable or StoreDenied.
        """
        found = []
        with self.reporting():
            self.medium.verify()
            with os.scandir(self.path) as entries:
                for entry in entries:
                    key = entry.name.removeprefix(prefix)
                    if entry.name != prefix + key or not ATTEMPT.fullmatch(key):
                        continue
                    with contextlib.suppress(FileNotFoundError):  # the attempt has just ended
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            found.append((key, status))
        return found

    def discard(self, key: str, *, unfinished_only: bool = False) -> None:
        """Remove the temporary file, the final file and the fence.

        Raises StoreUnavailable or StoreDenied.
        """
        paths = [self.temporary(key), *(() if unfinished_only else (self.final(key),))]
        paths.append(self.fence(key))
        with self.reporting():
            self.medium.verify()
            # In this order: if a stale attempt renames its file between the two, the second
            # removal finds it; if it tries later, there is nothing left to rename.
            removed = [_unlink(path) for path in paths]
            if any(removed):
                self.sync()
            else:
                self.medium.verify()  # the files may exist, unseen

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Translate an OSError into an error of the store contract, without its path."""
        try:
            yield
        except OSError as error:
            problem = os.strerror(error.errno) if error.errno else type(error).__name__
            # Not from error: it contains the path, which tracebacks in logs would show.
            if error.errno in _FULL:
                raise errors.StoreFull(store=self.store) from None
            if error.errno in _DENIED:
                raise errors.StoreDenied(store=self.store, problem=problem) from None
            raise errors.StoreUnavailable(store=self.store, problem=problem) from None

    @contextlib.contextmanager
    def finding(self) -> Iterator[None]:
        """Like ``reporting``, but a missing file raises ObjectNotFound.

        Raises StoreUnavailable if another directory is in the place of this one.
        """
        with self.reporting():
            self.medium.verify()
            try:
                yield
            except OSError as error:
                if error.errno not in _MISSING:
                    raise
                # The volume may have gone just now, and the object may still exist.
                self.medium.verify()
                raise errors.ObjectNotFound(f"store {self.store}") from None


def regular(status: os.stat_result) -> os.stat_result:
    """``status`` if it is that of a regular file. Raises FileNotFoundError."""
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    return status


def _unlink(path: str) -> bool:
    """Remove a file; return whether it existed."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
