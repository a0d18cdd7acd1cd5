"""One image on its way into a bucket: in one piece while it is small, then in parts."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from imsgate import errors
from imsgate.stores.base import CopySource, Sink
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket
from imsgate.stores.s3.checksums import Receipt
from imsgate.stores.s3.multipart import Budget, Multipart
from imsgate.stores.s3.plan import Plan

_LOG = logging.getLogger(__name__)


class S3Sink(Sink):
    """After any failure it is aborted."""

    #: Whether nobody else writes under this key.
    _sole = True

    def __init__(
        self, bucket: Bucket, key: str, size: int | None, plan: Plan, threads: int, whole: int
    ) -> None:
        """``whole`` is the largest announced size that is sent in one piece."""
        self._bucket = bucket
        self._key = key
        self._size = size
        self._plan = plan
        self._threads = threads
        self._budget = Budget((threads + 1) * plan.part)
        self._whole = max(size, plan.part) if size is not None and size <= whole else 0
        self._buffer = bytearray()
        self._room = 0
        self._written = 0
        self._upload: Multipart | None = None
        self._stop = threading.Event()
        self._publishing = self._committed = self._ended = False
        if size is not None and size > whole:
            # Begun now, so that a refusal comes before the first byte.
            self._begin()

    def write(self, chunk: bytes) -> None:
        with self._aborting():
            self._check()
            self._written += len(chunk)
            if self._size is not None and self._written > self._size:
                raise errors.SizeMismatch(announced=self._size, received=self._written)
            rest = memoryview(chunk)
            while rest:
                if len(self._buffer) == self._room:
                    self._turn()
                count = min(len(rest), self._room - len(self._buffer))
                self._buffer += rest[:count]
                rest = rest[count:]

    def copy(self, origin: CopySource, size: int, check: Callable[[], object]) -> None:
        """Instead of ``write``: the announced ``size`` from ``origin``, by the service itself.

        ``check`` is called before each part. Raises NotCopied, and SourceFailed when ``origin``
        was replaced.
        """
        with self._aborting():
            upload = self._upload or self._begin()
            while self._written < size:
                check()
                self._check()
                part = self._plan.size(upload.parts + 1, size)
                count = min(part, size - self._written)
                self._budget.take(count)
                upload.copy(origin, self._written, count)
                self._written += count
            upload.finish()
            self._bucket.unchanged(origin)

    def commit(self) -> str:
        if not self._committed:
            with self._aborting():
                self._check()
                if self._upload is None:
                    self._put()
                else:
                    self._complete(self._upload)
                # An attempt discarded in between may have been published after it was removed.
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
            _LOG.warning("attempt %s was aborted but not removed: %s", self._key, error)

    def discard(self) -> None:
        """Have a commit fail that was not made yet. For the store, from any thread."""
        self._stop.set()

    def _check(self) -> None:
        if self._ended or self._stop.is_set():
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
        if self._upload is not None:
            self._upload.check()

    def _turn(self) -> None:
        """The buffer is full: send it as a part, and make room for the next."""
        if self._room:
            self._part()
        number = 1 if self._upload is None else self._upload.parts + 1
        if number > self._plan.max_parts:
            raise errors.StoreFull(store=self._bucket.store)
        self._room = self._whole or self._plan.size(number, self._size)
        self._budget.take(self._room)

    def _part(self) -> None:
        upload = self._upload or self._begin()
        data, taken = self._buffer, self._room
        self._buffer, self._room = bytearray(), 0
        upload.send(data, taken)

    def _begin(self) -> Multipart:
        self._upload = Multipart(
            self._bucket, self._key, self._threads, self._budget, self._stop, sole=self._sole
        )
        return self._upload

    def _put(self) -> None:
        self._publishing = True
        receipts = [self._bucket.checksums.sending(self._buffer)[1]]
        with self._recognising(receipts, parts=False):
            self._bucket.put(self._key, self._buffer, self._stop)

    def _complete(self, upload: Multipart) -> None:
        if self._buffer:
            self._part()
        receipts = upload.finish()
        self._publishing = True
        with self._recognising(receipts, parts=True):
            upload.complete(receipts)
        upload.clean()

    @contextlib.contextmanager
    def _recognising(self, receipts: list[Receipt], parts: bool) -> Iterator[None]:
        """Around the request that publishes: what then lies there decides, not the answer.

        That may be lost, and a request that was sent again fails because the
        first had succeeded.
        """
        try:
            yield
        except errors.StoreUnavailable as error:
            with contextlib.suppress(errors.Error):
                if self._landed(receipts, parts):
                    return
            # Of another's object, which was not overwritten, nothing is removed.
            self._publishing = not isinstance(error, failures.Exists)
            raise
        if not self._landed(receipts, parts):
            raise failures.corrupted(self._bucket.store)

    def _landed(self, receipts: list[Receipt], parts: bool) -> bool:
        """Whether the object is there, with the size and the checksums of what was sent."""
        try:
            found = self._bucket.head(self._key)
        except errors.ObjectNotFound:
            return False
        proven = self._bucket.checksums.proves(found, receipts, parts)
        return proven and found["ContentLength"] == self._written

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
