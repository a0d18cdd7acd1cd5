"""One file that is being written in an attempt that can be suspended."""

import contextlib
import logging
import os
from collections.abc import Iterator

from imsgate import errors
from imsgate.stores.base import ResumableSink
from imsgate.stores.filesystem import disk
from imsgate.stores.filesystem.directory import DataDirectory
from imsgate.stores.filesystem.fence import Fence, Record, this_kernel

_LOG = logging.getLogger(__name__)

_CLOSED = -1


class ResumableFileSink(ResumableSink):
    """Appends to the temporary file of an attempt. The fence guards each step.

    The kernel reports a failed write to disk once to each open file, and an ``fsync`` after that
    report succeeds. Therefore ``fsync`` uses a file of its own, the *witness*, to which nothing
    else is reported. Data that may be lost is cut off.
    """

    def __init__(
        self,
        directory: DataDirectory,
        key: str,
        epoch: int,
        fence: Fence,
        fd: int,
        *,
        offset: int,
        sparse: bool,
        new: bool,
    ) -> None:
        """Continue at ``offset`` in the file ``fd``, which has this size.

        The sink closes ``fence`` and ``fd``, unless this raises OSError. ``sparse`` stores zeros
        as holes. ``new`` is whether the names of the files are yet to be made durable.
        """
        self._directory = directory
        self._key = key
        self._epoch = epoch
        self._fence = fence
        self._fd = fd
        self._start = self._written = offset
        self._write = disk.write_sparsely if sparse else disk.write
        self._new = new
        self._failed = self._ended = self._committed = False
        os.lseek(fd, offset, os.SEEK_SET)
        self._writeback = disk.Writeback(fd, offset)
        flags = os.O_RDONLY | os.O_NOFOLLOW
        self._witness = os.open(directory.temporary(key), flags)

    def write(self, chunk: bytes) -> None:
        self._check()
        with self._stepping():
            self._write(self._fd, chunk)
            self._written += len(chunk)
            self._writeback.reached(self._written)

    def suspend(self) -> int:
        self._check(failed=False)
        try:
            with self._stepping():
                self._cut()
                os.fsync(self._witness)
                self._fence.save(Record(self._epoch, self._written, this_kernel()))
                if self._new:
                    self._directory.sync()
            return self._written
        finally:
            self._end()

    def commit(self) -> str:
        if not self._committed:
            self._check()
            with self._stepping():
                # Unlike _cut, this always frees the space that is reserved beyond the end.
                os.ftruncate(self._fd, self._written)
                os.fsync(self._witness)
                self._publish()
            self._committed = True
            self._end()
        return self._key

    def abort(self) -> None:
        if self._ended:
            return
        try:
            with self._directory.reporting(), self._fence.holding(self._epoch):
                self._directory.discard(self._key)
        except errors.Fenced:
            pass  # the attempt belongs to somebody else
        except errors.Error as error:
            _LOG.warning("Attempt %s was aborted, but not removed: %s", self._key, error)
        finally:
            self._end()

    def _check(self, *, failed: bool = True) -> None:
        if self._ended or (failed and self._failed):
            problem = "this attempt was suspended, aborted or committed, or a write failed"
            raise errors.StoreUnavailable(store=self._directory.store, problem=problem)

    @contextlib.contextmanager
    def _stepping(self) -> Iterator[None]:
        """Do one step under the lock. If it fails, cut off the data that may be lost."""
        try:
            with self._directory.reporting(), self._fence.holding(self._epoch):
                try:
                    yield
                except OSError:
                    self._cut_what_may_be_lost()
                    raise
        except BaseException:
            self._failed = True
            raise

    def _cut_what_may_be_lost(self) -> None:
        try:
            os.fsync(self._witness)
        except OSError:
            self._written = self._start
        with contextlib.suppress(OSError):  # then suspend, which does it again, fails
            self._cut()

    def _cut(self) -> None:
        """Make the file end where the written data ends: after a hole, and before half a chunk.

        Only if necessary, because this frees the space that is reserved beyond the end.
        """
        if os.fstat(self._fd).st_size != self._written:
            os.ftruncate(self._fd, self._written)

    def _publish(self) -> None:
        temporary, final = self._directory.temporary(self._key), self._directory.final(self._key)
        os.rename(temporary, final)
        try:
            self._directory.sync()
        except OSError:
            with contextlib.suppress(OSError):
                os.rename(final, temporary)
            raise
        Fence.remove(self._directory, self._key)

    def _end(self) -> None:
        self._ended = True
        self._fence.close()
        for fd in (self._fd, self._witness):
            if fd != _CLOSED:
                with contextlib.suppress(OSError):  # what matters was synced
                    os.close(fd)
        self._fd = self._witness = _CLOSED
