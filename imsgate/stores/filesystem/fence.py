"""The fence of a resumable attempt: a small file that says which process may write.

It lies beside the data and contains the newest epoch. A writer takes a lock on this file and checks
the epoch before each step, so a writer that was overtaken cannot change anything, whichever process
or host it runs on.

A process that is killed leaves the bytes that it wrote in the kernel's cache, where every other
process of this host finds them. If the power fails or the host is another one, only what was
written to disk counts. Therefore the fence also contains the number of bytes that are certainly on
disk, and an identifier of the running kernel whose cache may contain more.
"""

import contextlib
import dataclasses
import fcntl
import functools
import os
import time
import uuid
from collections.abc import Iterator
from typing import Self

from imsgate import errors
from imsgate.stores.filesystem.directory import DataDirectory

#: Seconds to wait for the lock. A writer holds it while it writes one chunk, or for an fsync.
LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.005

#: Bytes of the file. A record of constant length is replaced by a single write.
_BYTES = 100

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@functools.cache
def this_kernel() -> str:
    """An identifier of the running kernel, which changes when the host restarts."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return str(uuid.uuid4())  # so that no process trusts another one's cache


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a fence contains. ``safe`` bytes of the attempt are on disk.

    All bytes of the file count on the host where ``kernel`` runs.
    """

    epoch: int
    safe: int
    kernel: str

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The record in a fence. One that was never completely written is below every epoch."""
        try:
            epoch, safe, kernel = content.decode("ascii").split()
            return cls(int(epoch), int(safe), kernel)
        except ValueError:
            return cls(-1, 0, "-")

    def encode(self) -> bytes:
        """The content of the fence."""
        return f"{self.epoch} {self.safe} {self.kernel}".ljust(_BYTES - 1).encode() + b"\n"

    def trusted(self, size: int) -> int:
        """How many bytes of a file of ``size`` bytes count."""
        return size if self.kernel == this_kernel() else min(size, self.safe)


class Fence:
    """An open fence. Close it after use."""

    def __init__(self, directory: DataDirectory, key: str, *, create: bool = False) -> None:
        """Open the fence of the attempt ``key``, or create it. Raises OSError."""
        self._store = directory.store
        flags = os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if create else 0)
        self._fd = os.open(directory.fence(key), flags, 0o600)

    @staticmethod
    def remove(directory: DataDirectory, key: str) -> None:
        """Remove the fence of a committed attempt. If that fails, the sweep finds it."""
        with contextlib.suppress(OSError):
            os.unlink(directory.fence(key))

    def close(self) -> None:
        """Close the file. May be called any number of times."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)

    def save(self, record: Record, *, sync: bool = True) -> None:
        """Replace the record; under the lock. Durable if ``sync`` is true. Raises OSError."""
        os.pwrite(self._fd, record.encode(), 0)
        if sync:
            os.fdatasync(self._fd)

    @contextlib.contextmanager
    def holding(self, epoch: int) -> Iterator[None]:
        """Lock the attempt for one step of the sink with this epoch.

        Raises Fenced, StoreUnavailable and OSError.
        """
        with self._locked():
            if not self._exists():
                problem = "this attempt was aborted or discarded"
                raise errors.Fenced(store=self._store, problem=problem)
            if self._read().epoch != epoch:
                raise self._overtaken()
            yield

    @contextlib.contextmanager
    def taking(self, epoch: int) -> Iterator[Record]:
        """Lock the attempt and take it over; yields the record that was there.

        Raises FileNotFoundError if the attempt has just ended, Fenced, StoreUnavailable and
        OSError.
        """
        with self._locked():
            if not self._exists():
                raise FileNotFoundError
            record = self._read()
            if record.epoch > epoch:
                raise self._overtaken()
            # First: whatever fails after this, the former writer must not continue.
            self.save(dataclasses.replace(record, epoch=epoch), sync=False)
            yield record

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + LOCK_SECONDS
        while not self._try_lock():
            if time.monotonic() >= deadline:
                problem = "another process is writing"
                raise errors.StoreUnavailable(store=self._store, problem=problem)
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _exists(self) -> bool:
        return os.fstat(self._fd).st_nlink > 0

    def _read(self) -> Record:
        return Record.parse(os.pread(self._fd, _BYTES, 0))

    def _overtaken(self) -> errors.Fenced:
        return errors.Fenced(
            store=self._store, problem="a newer request has taken this upload over"
        )
