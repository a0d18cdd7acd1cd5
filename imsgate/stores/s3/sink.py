"""One object that is being written: a single PUT if it is small, otherwise parts."""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator

from imsgate import errors
from imsgate.stores.base import CopySource, Sink
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket
from imsgate.stores.s3.checksums import Receipt
from imsgate.stores.s3.multipart import MemoryBudget, Multipart
from imsgate.stores.s3.plan import Plan

_LOG = logging.getLogger(__name__)


class S3Sink(Sink):
    """Writes one object. Any failure aborts the attempt."""

    #: Whether nobody else writes to this key.
    _exclusive = True

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        size: int | None,
        *,
        plan: Plan,
        threads: int,
        memory: int,
        single_put: int,
    ) -> None:
        """Write to ``key``.

        Up to ``threads`` parts are sent in parallel and fill up to ``memory`` bytes. ``single_put``
        is the largest announced size, in bytes, that is sent in a single PUT.
        """
        self._bucket = bucket
        self._key = key
        self._size = size
        self._plan = plan
        self._budget = MemoryBudget(memory)
        single = size is not None and size <= single_put
        #: The buffer's size for an object that fits in a single PUT; 0 for others.
        self._single_bytes = max(size or 0, plan.part) if single else 0
        self._buffer = bytearray()
        self._capacity = 0
        self._written = 0
        self._upload: Multipart | None = None
        self._stop = threading.Event()
        self._multipart = functools.partial(
            Multipart, bucket, key, threads, self._budget, self._stop
        )
        self._publishing = self._committed = self._ended = False
        if size is not None and not single:
            # Begin now, so that a refusal comes before the first byte is received.
            self._begin()

    def write(self, chunk: bytes) -> None:
        with self._aborting():
            self._check()
            self._written += len(chunk)
            if self._size is not None and self._written > self._size:
                raise errors.SizeMismatch(announced=self._size, received=self._written)
            rest = memoryview(chunk)
            while rest:
                if len(self._buffer) == self._capacity:
                    self._next_buffer()
                count = min(len(rest), self._capacity - len(self._buffer))
                self._buffer += rest[:count]
                rest = rest[count:]

    def copy(self, source: CopySource, size: int, check: Callable[[], object]) -> None:
        """Have the service copy ``size`` bytes from ``source``; replaces ``write``.

        ``check`` is called before each part and may raise. Raises NotCopied, and SourceFailed if
        ``source`` was replaced.
        """
        with self._aborting():
            upload = self._upload or self._begin()
            while self._written < size:
                check()
                self._check()
                part = self._plan.size(upload.parts + 1, size)
                count = min(part, size - self._written)
                self._budget.acquire(count)
                upload.copy(source, self._written, count)
                self._written += count
            upload.finish()
            self._bucket.check_unchanged(source, size)

    def commit(self) -> str:
        if not self._committed:
            with self._aborting():
                self._check()
                self._publish()
                # If the attempt was discarded meanwhile, the object may have been published
                # after discard removed it.
                self._check()
            self._committed = True
            self._end()
        return self._key

    def abort(self) -> None:
        if self._committed or self._ended:
            return
        self._end()
        try:
            if self._upload is not None:
                self._upload.abort()
            if self._publishing:
                self._bucket.delete(self._key)
        except errors.Error as error:
            _LOG.warning("Attempt %s was aborted, but not removed: %s", self._key, error)

    def discard(self) -> None:
        """Make a later commit fail. For the store; may be called from any thread."""
        self._stop.set()

    def _check(self) -> None:
        if self._ended or self._stop.is_set():
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
        if self._upload is not None:
            self._upload.check()

    def _next_buffer(self) -> None:
        """Send the full buffer as a part and reserve memory for the next one."""
        if self._capacity:
            self._send_part()
        number = 1 if self._upload is None else self._upload.parts + 1
        if number > self._plan.max_parts:
            raise errors.StoreFull(store=self._bucket.store)
        self._capacity = self._single_bytes or self._plan.size(number, self._size)
        self._budget.acquire(self._capacity)

    def _send_part(self) -> None:
        upload = self._upload or self._begin()
        data, reserved = self._buffer, self._capacity
        self._buffer, self._capacity = bytearray(), 0
        upload.send(data, reserved)

    def _begin(self) -> Multipart:
        self._upload = self._multipart(exclusive=self._exclusive)
        return self._upload

    def _publish(self) -> None:
        if self._upload is None:
            self._put()
        else:
            self._complete(self._upload)

    def _put(self) -> None:
        self._publishing = True
        receipts = [self._bucket.checksums.of_body(self._buffer)[1]]
        with self._verifying(receipts, parts=False):
            self._bucket.put(self._key, self._buffer, self._stop)

    def _complete(self, upload: Multipart) -> None:
        if self._buffer:
            self._send_part()
        receipts = upload.finish()
        self._publishing = True
        with self._verifying(receipts, parts=True):
            upload.complete(receipts)
        upload.clean()

    @contextlib.contextmanager
    def _verifying(self, receipts: list[Receipt], parts: bool) -> Iterator[None]:
        """Wrap the request that publishes: the object in the bucket decides, not the response.

        The response may be lost, and a repeated request fails if the first one has succeeded.
        """
        try:
            yield
        except errors.StoreUnavailable as error:
            with contextlib.suppress(errors.Error):
                if self._is_stored(receipts, parts):
                    return
            # An object that was not overwritten belongs to somebody else: abort must keep it.
            self._publishing = not isinstance(error, failures.Exists)
            raise
        if not self._is_stored(receipts, parts):
            raise failures.corrupted(self._bucket.store)

    def _is_stored(self, receipts: list[Receipt], parts: bool) -> bool:
        """Whether the object exists, with the size and the checksums of the data sent."""
        try:
            reply = self._bucket.head(self._key)
        except errors.ObjectNotFound:
            return False
        matches = self._bucket.checksums.match_object(reply, receipts, parts)
        return matches and bool(reply["ContentLength"] == self._written)

    def _end(self) -> None:
        self._ended = True
        self._buffer = bytearray()

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise
