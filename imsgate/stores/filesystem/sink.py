"""One file that is being written."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

from imsgate import errors
from imsgate.stores.base import Sink
from imsgate.stores.filesystem import disk
from imsgate.stores.filesystem.directory import DataDirectory

_LOG = logging.getLogger(__name__)

#: Permissions of a new file before the umask applies.
DEFAULT_MODE = 0o640

#: Bytes that the kernel copies at a time.
_COPY_BYTES = 16 << 20

#: An invalid descriptor: every later write and commit fails with EBADF.
_CLOSED = -1


class FileSink(Sink):
    """Writes a temporary file and renames it on commit.

    Any failure aborts the attempt: a file that lacks a write must not be published, and a second
    fsync reports success for data that the first one lost.
    """

    def __init__(
        self,
        directory: DataDirectory,
        key: str,
        *,
        mode: int | None,
        sparse: bool,
        reserve: Callable[[int], None] | None,
    ) -> None:
        """Create the temporary file of the attempt ``key``.

        ``mode`` are its permissions, or None to leave them to the umask; ``sparse`` stores
        zeros as holes; ``reserve`` is called with the file's descriptor before the first write
        and may raise StoreFull or OSError.
        """
        self._directory = directory
        self._key = key
        self._fd = _CLOSED
        self._written = 0
        self._write = disk.write_sparsely if sparse else disk.write
        self._committed = False
        with directory.reporting():  # not _aborting: an existing file belongs to another attempt
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._fd = os.open(directory.temporary(key), flags, DEFAULT_MODE)
        with self._aborting():
            if mode is not None:
                os.fchmod(self._fd, mode)
        if reserve is not None:
            self.reserve(reserve)
        self._writeback = disk.Writeback(self._fd)

    def write(self, chunk: bytes) -> None:
        with self._aborting():
            self._write(self._fd, chunk)
            self._written += len(chunk)
            self._writeback.reached(self._written)

    def reserve(self, reserve: Callable[[int], None]) -> None:
        """Call ``reserve`` with the file's descriptor. It may raise StoreFull or OSError."""
        with self._aborting():
            reserve(self._fd)

    def clone(self, source: int, size: int) -> bool:
        """Have the file system share the ``size`` bytes of ``source``; replaces ``write``.

        Returns False where it cannot.
        """
        with self._aborting():
            if not disk.clone(self._fd, source):
                return False
            self._written = size
            return True

    def copy(self, source: int, size: int, check: Callable[[], object]) -> bool:
        """Have the kernel copy ``size`` bytes from ``source``; replaces ``write``.

        Returns False where it cannot. ``check`` is called from time to time and may raise. Raises
        SourceFailed if ``source`` is shorter.
        """
        with self._aborting():
            while self._written < size:
                check()
                step = min(_COPY_BYTES, size - self._written)
                count = disk.copy_range(self._fd, source, step)
                if count is None and not self._written:
                    return False
                if not count:
                    raise errors.SourceFailed(problem="the file is shorter than its size")
                self._written += count
                self._writeback.reached(self._written)
            return True

    def commit(self) -> str:
        if not self._committed:
            with self._aborting():
                # The announced size may have been larger, and a hole at the end sets no size.
                os.ftruncate(self._fd, self._written)
                os.fsync(self._fd)
                self._close()
                os.rename(self._directory.temporary(self._key), self._directory.final(self._key))
                self._directory.sync()
            self._committed = True
        return self._key

    def abort(self) -> None:
        if self._committed:
            return
        with contextlib.suppress(OSError):  # the data is discarded anyway
            self._close()
        try:
            self._directory.discard(self._key)
        except errors.Error as error:
            _LOG.warning("Attempt %s was aborted, but not removed: %s", self._key, error)

    def _close(self) -> None:
        # Linux frees the descriptor even if close fails.
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            os.close(fd)

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            with self._directory.reporting():
                yield
        except BaseException:
            self.abort()
            raise
