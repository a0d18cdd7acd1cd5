"""The mark of a store: a small file that identifies its data directory.

If a volume is not mounted, or another one is mounted in its place, its mount point is an ordinary
directory without the store's objects. Without the mark, every object in it would seem to be gone.
"""

import contextlib
import errno
import os
import secrets

from imsgate import errors

#: The file's name. It cannot be the name of an object or of an attempt.
MARK = ".imsgate-store"
_MAX_BYTES = 100

#: Errors of ``link`` on file systems without hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

_ABSENT = "its data directory is not there: its volume is not mounted, or another one is"


class MarkedDirectory:
    """The data directory ``path`` of the store with the id ``store``.

    It is known again by its mark or, until it has one, by its device and inode.
    """

    def __init__(self, store: str, path: str) -> None:
        """Raises OSError if the directory cannot be read."""
        self.path = path
        self._store = store
        self._file = os.path.join(path, MARK)
        self._mark = self._read()
        self._place = self._identify()

    @property
    def marked(self) -> bool:
        """Whether the directory has a mark."""
        return self._mark is not None

    def mark(self) -> None:
        """Create the mark if it does not exist. Raises OSError."""
        if self._mark is None:
            self._mark = self._read() or self._make()

    def verify(self) -> None:
        """Raises StoreUnavailable if another directory is in this one's place, and OSError."""
        marked = self._mark is not None
        if self._read() == self._mark if marked else self._identify() == self._place:
            return
        raise errors.StoreUnavailable(store=self._store, problem=_ABSENT)

    def _identify(self) -> tuple[int, int]:
        status = os.stat(self.path)
        return status.st_dev, status.st_ino

    def _read(self) -> bytes | None:
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            return os.read(fd, _MAX_BYTES)
        finally:
            os.close(fd)

    def _make(self) -> bytes | None:
        """Other processes may do this at the same time: the first one's mark counts."""
        content = secrets.token_hex(16).encode() + b"\n"
        draft = f"{self._file}.{secrets.token_hex(4)}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            try:
                os.write(fd, content)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._publish(draft)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
        self._sync()
        return self._read()

    def _publish(self, draft: str) -> None:
        try:
            os.link(draft, self._file)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.rename(draft, self._file)

    def _sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
