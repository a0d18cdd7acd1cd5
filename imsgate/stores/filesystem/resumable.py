"""Begins resumable attempts and takes them over."""

import os

from imsgate import errors
from imsgate.stores.base import ResumableSink
from imsgate.stores.committed import CommittedAttempt
from imsgate.stores.filesystem.directory import DataDirectory, regular
from imsgate.stores.filesystem.fence import Fence, Record, this_kernel
from imsgate.stores.filesystem.resumable_sink import ResumableFileSink
from imsgate.stores.filesystem.sink import DEFAULT_MODE
from imsgate.stores.filesystem.space import Space


class ResumableFiles:
    """The resumable attempts of one data directory.

    The size of the temporary file is the number of bytes that were written, so space is reserved
    beyond the end of the file.
    """

    def __init__(
        self, directory: DataDirectory, space: Space, *, mode: int | None, sparse: bool
    ) -> None:
        """``mode`` are the permissions of the files; ``sparse`` stores zeros as holes."""
        self._directory = directory
        self._space = space
        self._mode = mode
        self._sparse = sparse

    def begin(self, key: str, size: int | None, epoch: int) -> ResumableSink:
        """See Resumable."""
        with self._directory.reporting():
            self._directory.medium.verify()
            self._directory.refuse_existing(key)
            if size is not None and not self._sparse:
                self._space.check(size)  # before a file is created
            fence = Fence(self._directory, key, create=True)
            try:
                fence.save(Record(epoch, 0, this_kernel()), sync=False)  # suspend does that
                return self._begin(key, size, epoch, fence)
            except BaseException:
                fence.close()
                os.unlink(self._directory.fence(key))
                raise

    def _begin(self, key: str, size: int | None, epoch: int, fence: Fence) -> ResumableSink:
        path = self._directory.temporary(key)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(path, flags, DEFAULT_MODE)
        try:
            if self._mode is not None:
                os.fchmod(fd, self._mode)
            return self._sink(key, size, epoch, fence, fd, offset=0, new=True)
        except BaseException:
            os.close(fd)
            os.unlink(path)
            raise

    def durable(self, key: str, size: int | None, epoch: int) -> int:
        """See Resumable."""
        with self._directory.finding():
            try:
                fence = Fence(self._directory, key)
                try:
                    with fence.taking(epoch) as record:
                        return self._make_durable(key, epoch, fence, record)
                finally:
                    fence.close()
            except FileNotFoundError:
                return self._committed_size(key)

    def _make_durable(self, key: str, epoch: int, fence: Fence, record: Record) -> int:
        fd = self._open(key)
        try:
            count = self._counted(fd, record)
            try:
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, record.safe)  # the next fsync would report success
                raise
            self._directory.sync()
            fence.save(Record(epoch, count, this_kernel()))
            return count
        finally:
            os.close(fd)

    def resume(self, key: str, size: int | None, offset: int, epoch: int) -> ResumableSink:
        """See Resumable."""
        with self._directory.finding():
            try:
                fence = Fence(self._directory, key)
                try:
                    with fence.taking(epoch) as record:
                        return self._resume(key, size, offset, epoch, fence, record)
                except BaseException:
                    fence.close()
                    raise
            except FileNotFoundError:
                return self._resume_committed(key, offset)

    def _resume(
        self, key: str, size: int | None, offset: int, epoch: int, fence: Fence, record: Record
    ) -> ResumableSink:
        fd = self._open(key)
        try:
            count = self._counted(fd, record)
            if count < offset:
                problem = f"it has {count} bytes of this attempt instead of {offset}"
                raise errors.StoreUnavailable(store=self._directory.store, problem=problem)
            # In this order: the file is never shorter than the fence says.
            safe = min(record.safe, offset)
            fence.save(Record(epoch, safe, this_kernel()), sync=safe < record.safe)
            if count > offset:
                os.ftruncate(fd, offset)
            return self._sink(key, size, epoch, fence, fd, offset=offset, new=False)
        except BaseException:
            os.close(fd)
            raise

    def _resume_committed(self, key: str, offset: int) -> ResumableSink:
        sink = CommittedAttempt(self._directory.store, key, self._committed_size(key), offset)
        self._directory.sync()
        # It is there if a process died right after it committed.
        Fence.remove(self._directory, key)
        return sink

    def _committed_size(self, key: str) -> int:
        return regular(os.stat(self._directory.final(key), follow_symlinks=False)).st_size

    def _open(self, key: str) -> int:
        fd = os.open(self._directory.temporary(key), os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            regular(os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _counted(self, fd: int, record: Record) -> int:
        """How many bytes of the file count; the others are cut off.

        Raises StoreUnavailable if bytes are missing that were durable.
        """
        size = os.fstat(fd).st_size
        if size < record.safe:
            problem = f"it has {size} bytes of this attempt instead of {record.safe}"
            raise errors.StoreUnavailable(store=self._directory.store, problem=problem)
        count = record.trusted(size)
        if count < size:
            os.ftruncate(fd, count)
        return count

    def _sink(
        self,
        key: str,
        size: int | None,
        epoch: int,
        fence: Fence,
        fd: int,
        *,
        offset: int,
        new: bool,
    ) -> ResumableSink:
        if size and not self._sparse:
            self._space.reserve_rest(fd, size)
        return ResumableFileSink(
            self._directory,
            key,
            epoch,
            fence,
            fd,
            offset=offset,
            sparse=self._sparse,
            new=new,
        )
