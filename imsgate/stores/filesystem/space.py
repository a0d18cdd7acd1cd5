"""The free space of a store, and how much of it is promised to uploads in progress."""

import contextlib
import os
import threading

from imsgate import errors
from imsgate.stores.base import Room
from imsgate.stores.filesystem import disk
from imsgate.stores.filesystem.directory import TEMPORARY_PREFIX, DataDirectory

#: Unit of st_blocks in stat(2), whatever the file system's block size is.
_BLOCK_UNIT_BYTES = 512


class Space:
    """The space of one data directory, shared with all processes and hosts that use it."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._promising = threading.Lock()

    def free(self) -> int | None:
        """Free bytes; None if the directory is unavailable or its file system does not report."""
        try:
            self._directory.medium.verify()
            status = os.statvfs(self._directory.path)
        except (OSError, errors.StoreUnavailable):
            return None
        # Some FUSE file systems report zero for all sizes.
        return status.f_bavail * status.f_frsize if status.f_blocks else None

    def room(self) -> Room:
        """Nothing is known if the directory is unavailable."""
        free = self.free()
        if free is None:
            return Room()
        try:
            status, promised = os.statvfs(self._directory.path), self._promised()
        except OSError:
            return Room(free=free)
        return Room(status.f_blocks * status.f_frsize, free, promised)

    def check(self, size: int) -> None:
        """Raises StoreFull if ``size`` bytes exceed the free space."""
        free = self.free()
        if free is not None and size > free:
            raise errors.StoreFull(store=self._directory.store)

    def reserve(self, fd: int, size: int) -> None:
        """Promise ``size`` bytes to the attempt that writes ``fd``. Raises StoreFull and OSError.

        Where the file system cannot reserve space, the size of each unfinished file records
        what it was promised, so every process and host can see it.
        """
        if disk.reserve(fd, size):
            return
        with self._promising:
            os.ftruncate(fd, size)
            try:
                self.check(self._promised())
            except errors.StoreFull:
                os.ftruncate(fd, 0)  # before another attempt adds up the promises
                raise

    def reserve_rest(self, fd: int, size: int) -> None:
        """Promise the rest of ``size`` bytes to a resumable attempt, whose file keeps its size.

        Where the file system cannot reserve space, only the free space is checked. Raises
        StoreFull and OSError.
        """
        if not disk.reserve(fd, size, keep_size=True):
            self.check(size - os.fstat(fd).st_size)

    def _promised(self) -> int:
        """Bytes that were announced by attempts in progress and are not yet written."""
        total = 0
        with os.scandir(self._directory.path) as entries:
            for entry in entries:
                if entry.name.startswith(TEMPORARY_PREFIX):
                    with contextlib.suppress(FileNotFoundError):  # the attempt has just ended
                        status = entry.stat(follow_symlinks=False)
                        total += max(0, status.st_size - status.st_blocks * _BLOCK_UNIT_BYTES)
        return total
