"""One object that is sent in parts, several at a time, in bounded memory."""

import concurrent.futures
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence

from imsgate import errors
from imsgate.stores.base import CopySource
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket, MultipartUpload, NewUpload
from imsgate.stores.s3.checksums import Receipt
from imsgate.telemetry.trace_context import carried

_LOG = logging.getLogger(__name__)


class MemoryBudget:
    """Limits the bytes that one upload keeps in memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    def acquire(self, count: int) -> None:
        """Wait until ``count`` bytes are available.

        Two buffers of any size fit, so that one can be filled while the other is sent.
        """
        with self._changed:
            limit = max(self._limit, 2 * count)
            self._changed.wait_for(lambda: self._used + count <= limit)
            self._used += count

    def release(self, count: int) -> None:
        """Make ``count`` bytes available again."""
        with self._changed:
            self._used -= count
            self._changed.notify_all()


@dataclasses.dataclass(frozen=True, slots=True)
class ResumedUpload:
    """A multipart upload that another process began. ``receipts`` are those of its parts."""

    id: str
    receipts: Sequence[Receipt]


class Multipart:
    """A multipart upload. Parts are numbered in the order in which they are sent."""

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        threads: int,
        budget: MemoryBudget,
        stop: threading.Event,
        *,
        exclusive: bool,
        resumed: ResumedUpload | None = None,
        check: Callable[[], object] | None = None,
    ) -> None:
        """Begin the upload, or go on with ``resumed``; raises what ``Bucket.begin`` raises.

        When ``stop`` is set, parts in transit are cut off. ``exclusive`` is whether nobody else
        uploads to this key. Then an upload without parts, whose id was lost with the response, can
        be aborted too. ``check`` is called by several threads before they send a part, and may
        raise.
        """
        self._bucket = bucket
        self._key = key
        self._budget = budget
        self._stop = stop
        self._exclusive = exclusive
        self._check_part = check
        self._failure: BaseException | None = None
        self._receipts: dict[int, Receipt] = {}
        self._upload = NewUpload(resumed.id, repeated=False) if resumed else self._begin()
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "s3-part")
        self.parts = 0
        if resumed:
            self._receipts.update(enumerate(resumed.receipts, 1))
            self.parts = len(resumed.receipts)

    def _begin(self) -> NewUpload:
        try:
            return self._bucket.begin(self._key)
        except failures.Unreachable:
            with contextlib.suppress(errors.Error):
                self._abort_all()  # perhaps only the response was lost
            raise

    @property
    def id(self) -> str:
        """The service's id of the upload."""
        return self._upload.id

    def send(self, data: bytearray, reserved: int) -> None:
        """Send a part in the background and then release ``reserved`` bytes of the budget.

        Raises the failure of an earlier part.
        """
        self.check()
        self.parts += 1
        self._pool.submit(carried(self._send), self.parts, data, reserved)

    def copy(self, source: CopySource, start: int, count: int) -> None:
        """Like ``send``, but the service copies ``count`` bytes of ``source`` from ``start``."""
        self.check()
        self.parts += 1
        self._pool.submit(carried(self._copy), self.parts, source, start, count)

    def check(self) -> None:
        """Raises the failure of a part."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> list[Receipt]:
        """Wait for all parts and return their receipts in order. Raises the failure of a part."""
        self._pool.shutdown()
        self.check()
        return [self._receipts[number] for number in range(1, self.parts + 1)]

    def stored(self) -> int:
        """Wait for all parts and return how many of them, from the first one, were stored."""
        self._pool.shutdown()
        numbers = range(1, self.parts + 1)
        return next((number - 1 for number in numbers if number not in self._receipts), self.parts)

    def stop(self) -> None:
        """Cut off the parts in transit and wait for that; the upload stays."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def complete(self, receipts: list[Receipt]) -> None:
        """Make the object from its parts."""
        self._bucket.complete(self._key, self._upload.id, receipts)

    def clean(self) -> None:
        """After completion, remove a second upload that a repeated request may have begun."""
        if self._upload.repeated:
            try:
                self._abort_all()
            except errors.Error as error:
                _LOG.warning("Attempt %s may have left an upload: %s", self._key, error)

    def abort(self) -> None:
        """Remove all parts, after cutting off and awaiting those in transit."""
        self.stop()
        self._bucket.abort(MultipartUpload(self._key, self._upload.id, 0))
        self._abort_all()

    def _abort_all(self) -> None:
        if self._exclusive:
            self._bucket.abort_all(self._key)

    def _send(self, number: int, data: bytearray, reserved: int) -> None:
        try:
            if self._failure is None:
                if self._check_part is not None:
                    self._check_part()
                self._receipts[number] = self._bucket.put_part(
                    self._key, self._upload.id, number, data, self._stop
                )
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            del data  # before the budget lets the next part take its place in memory
            self._budget.release(reserved)

    def _copy(self, number: int, source: CopySource, start: int, count: int) -> None:
        try:
            if self._failure is None:
                self._receipts[number] = self._bucket.copy_part(
                    self._key, self._upload.id, number, source, start, start + count
                )
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            self._budget.release(count)
