"""Scratch space: unnamed files, for which space is reserved before they are written.

The files have no names, so the kernel frees them whenever the last process that uses them ends.
What is reserved is recorded in a ledger: a small file for each conversion, locked by the process
that converts. The lock ends with the process, so every other process can tell what is left over.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from typing import IO

from imsgate import errors
from imsgate.errors import BadConfig

_LEDGER, _PREFIX = "ledger", "reserved-"

#: Unit of st_blocks in stat(2), whatever the file system's block size is.
_BLOCK_UNIT_BYTES = 512


class Scratch:
    """The scratch directory, shared by all processes of a host."""

    def __init__(self, directory: str, limit: int) -> None:
        """``limit`` is the most bytes that may be reserved; 0 means no limit except the free space.

        Raises BadConfig if the directory cannot be used.
        """
        self.directory = directory
        self._limit = limit
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()
            with self._locked():
                self._others()
        except OSError as error:
            problem = f"{directory}: {error.strerror}"
            raise BadConfig("[image_conversion] scratch_dir", problem) from error

    @contextlib.contextmanager
    def reservation(self) -> Iterator["Reservation"]:
        """Space for one conversion: nothing at first. At the end its files and space are freed."""
        with _reporting(), self._locked():
            path = os.path.join(self.directory, f"{_PREFIX}{secrets.token_hex(8)}")
            entry = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(entry, fcntl.LOCK_EX)
            os.pwrite(entry, _encode(0, 0), 0)
        reservation = Reservation(self, entry)
        try:
            yield reservation
        finally:
            reservation.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(entry)

    def record(self, entry: int, size: int, unwritten: int) -> None:
        """Set what a reservation has, if it fits: ``size`` bytes, of which ``unwritten`` are not
        on the disk yet.

        Raises ScratchTooSmall if it can never fit, and ScratchFull if it does not fit now.
        """
        if self._limit and size > self._limit:
            raise errors.ScratchTooSmall(needed=size, limit=self._limit)
        with _reporting(), self._locked():
            reserved, promised = self._others(entry)
            status = os.statvfs(self.directory)
            free = status.f_bavail * status.f_frsize
            if (self._limit and reserved + size > self._limit) or promised + unwritten > free:
                raise errors.ScratchFull(problem="the gateway's scratch space is full")
            os.pwrite(entry, _encode(size, unwritten), 0)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = os.path.join(self.directory, _LEDGER)
        ledger = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(ledger, fcntl.LOCK_EX)
            yield
        finally:
            os.close(ledger)

    def _others(self, own: int | None = None) -> tuple[int, int]:
        """The bytes that all reservations except ``own`` have, and those not written yet.

        Removes the entries of processes that have died.
        """
        size = unwritten = 0
        inode = None if own is None else os.fstat(own).st_ino
        for found in list(os.scandir(self.directory)):
            if not found.name.startswith(_PREFIX) or found.inode() == inode:
                continue
            with contextlib.suppress(FileNotFoundError), _opened(found.path) as entry:
                if _try_lock(entry):
                    os.unlink(found.path)
                    continue
                its_size, its_unwritten = map(int, os.pread(entry, 100, 0).split())
                size, unwritten = size + its_size, unwritten + its_unwritten
        return size, unwritten


class Reservation:
    """The space and the files of one conversion."""

    def __init__(self, scratch: Scratch, entry: int) -> None:
        self._scratch = scratch
        self._entry = entry
        self._files: list[IO[bytes]] = []

    def file(self) -> IO[bytes]:
        """A new, empty, unnamed file. It is closed with the reservation."""
        with _reporting():
            file = tempfile.TemporaryFile(  # noqa: SIM115 - closed with the reservation
                dir=self._scratch.directory, buffering=0
            )
        self._files.append(file)
        return file

    def reserve(self, size: int) -> None:
        """Reserve ``size`` bytes for all files together. Raises ScratchTooSmall, ScratchFull."""
        used = sum(os.fstat(file.fileno()).st_blocks for file in self._files) * _BLOCK_UNIT_BYTES
        self._scratch.record(self._entry, size, max(0, size - used))

    def close(self) -> None:
        """Free the files."""
        for file in self._files:
            file.close()


class ScratchTap:
    """A tap that writes a body into a scratch file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def feed(self, chunk: bytes) -> None:
        """Raises ScratchFull."""
        view = memoryview(chunk)
        with _reporting():
            while view:
                view = view[self._file.write(view) :]

    def finish(self) -> None:
        pass


def _encode(size: int, unwritten: int) -> bytes:
    return f"{size} {unwritten}".ljust(50).encode()


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    entry = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield entry
    finally:
        os.close(entry)


def _try_lock(entry: int) -> bool:
    try:
        fcntl.flock(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """Raises ScratchFull for a failure of the scratch directory, which may be over later."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = "is full" if is_full else "cannot be used"
        raise errors.ScratchFull(problem=f"the gateway's scratch space {problem}") from error
