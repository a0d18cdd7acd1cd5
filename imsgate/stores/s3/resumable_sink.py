"""One object that is being written in an attempt that can be suspended."""

import contextlib
import logging
from collections.abc import Iterator

from imsgate import errors
from imsgate.stores.base import ResumableSink
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket
from imsgate.stores.s3.multipart import Multipart, ResumedUpload
from imsgate.stores.s3.plan import Plan
from imsgate.stores.s3.rests import Rest, Rests
from imsgate.stores.s3.sink import S3Sink

_LOG = logging.getLogger(__name__)


class ResumableS3Sink(S3Sink, ResumableSink):
    """Sends parts; ``suspend`` keeps what is left over as a rest. A failure aborts nothing.

    Part N is always the same range of the image. Before each part, and before and after it stores
    a rest, the sink looks for a newer epoch. A stale sink may finish the request that it is
    sending. That does no harm: its data arrived before the takeover, and no other data is moved.
    """

    _upload: Multipart

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        size: int | None,
        epoch: int,
        *,
        plan: Plan,
        threads: int,
        memory: int,
        resumed: ResumedUpload | None = None,
        rest: bytes = b"",
    ) -> None:
        """Begin an upload, or go on with ``resumed`` after its parts and ``rest``."""
        self._epoch = epoch
        self._resumed = resumed
        self._rests = Rests(bucket)
        self._failed = False
        super().__init__(
            bucket, key, size, plan=plan, threads=threads, memory=memory, single_put=-1
        )
        if size is None:
            self._begin()
        self._written = plan.end(self._upload.parts, size)
        self._start = self._written + len(rest)
        if rest:
            self.write(rest)

    def suspend(self) -> int:
        self._check_open()
        try:
            return self._suspend()
        finally:
            self._upload.stop()
            self._end()

    def commit(self) -> str:
        if not self._committed:
            super().commit()
            try:
                if not self._written:
                    self._upload.abort()
                self._rests.delete(self._rests.of(self._key))
            except errors.Error as error:
                _LOG.warning("Attempt %s may have left something: %s", self._key, error)
        return self._key

    def abort(self) -> None:
        if self._committed or self._ended:
            return
        discarded = self._stop.is_set()
        self._end()
        self._upload.stop()
        try:
            rests = self._check_fence()
            self._upload.abort()
            self._rests.delete(rests)
            # Otherwise the object may be what a newer epoch has committed.
            if self._publishing and discarded:
                self._bucket.delete(self._key)
        except errors.Fenced:
            pass  # the attempt belongs to somebody else
        except errors.Error as error:
            _LOG.warning("Attempt %s was aborted, but not removed: %s", self._key, error)

    def _begin(self) -> Multipart:
        self._upload = self._multipart(
            exclusive=True, resumed=self._resumed, check=self._check_fence
        )
        return self._upload

    def _check(self) -> None:
        self._check_open()
        if self._failed:
            problem = "a write of this attempt failed"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
        super()._check()

    def _check_open(self) -> None:
        if self._committed or self._ended or self._stop.is_set():
            problem = "this attempt was suspended, aborted, committed or discarded"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)

    def _check_fence(self) -> list[Rest]:
        """All rests of the attempt. Raises Fenced."""
        return self._rests.check(self._key, self._epoch)

    def _publish(self) -> None:
        self._check_fence()
        if self._written:
            self._complete(self._upload)
        else:
            self._put()  # an upload without parts cannot be completed

    def _suspend(self) -> int:
        if self._buffer and len(self._buffer) == self._capacity and not self._failed:
            self._send_part()
        stored = self._upload.stored()
        if self._failed or stored < self._upload.parts:
            self._check_owned()
            return self._kept_after_failure(stored)
        rest = None
        if self._buffer:
            self._check_fence()
            rest = Rest(self._key, self._epoch, self._written - len(self._buffer))
            self._rests.put(rest, self._buffer, self._stop)
        self._remove_older(self._check_owned(rest), rest)
        return self._written

    def _kept_after_failure(self, stored: int) -> int:
        """The end of the stored parts, or else where this sink began: that rest still exists."""
        end = self._plan.end(stored, self._size)
        if end > self._written:  # the last part, which a failed commit has sent
            end = self._plan.end(stored - 1, self._size)
        return max(end, self._start)

    def _check_owned(self, rest: Rest | None = None) -> list[Rest]:
        """All rests of the attempt.

        Raises StoreUnavailable if the attempt was overtaken, discarded or committed. Then
        removes ``rest`` if nobody else does.
        """
        try:
            self._bucket.check_upload(self._key, self._upload.id)
        except failures.UploadGone:
            self._rests.delete([rest] if rest else [])
            raise
        return self._check_fence()

    def _remove_older(self, found: list[Rest], rest: Rest | None) -> None:
        """Remove older rests and marks, but keep one of this epoch as the fence."""
        superseded = [other for other in found if other.epoch < self._epoch]
        if rest is not None:
            own = (other for other in found if other.epoch == self._epoch)
            superseded += [other for other in own if other.key != rest.key]
        with contextlib.suppress(errors.Error):  # they do no harm
            self._rests.delete(superseded)

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._failed = True
            raise
