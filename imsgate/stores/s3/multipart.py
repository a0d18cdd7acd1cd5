"""One object sent in parts, several at a time, in bounded memory."""

import concurrent.futures
import contextlib
import logging
import threading

from imsgate import errors
from imsgate.stores.base import CopySource
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket, Upload
from imsgate.stores.s3.checksums import Receipt

_LOG = logging.getLogger(__name__)


class Budget:
    """How many bytes one upload may hold: whoever takes more waits until some were given back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Two of any size fit, so that one can be filled while the other is sent."""
        with self._changed:
            limit = max(self._limit, 2 * count)
            self._changed.wait_for(lambda: self._used + count <= limit)
            self._used += count

    def give(self, count: int) -> None:
        with self._changed:
            self._used -= count
            self._changed.notify_all()


class Multipart:
    """A multipart upload. Parts are numbered in the order they are sent."""

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        threads: int,
        budget: Budget,
        stop: threading.Event,
        *,
        sole: bool,
    ) -> None:
        """Begins the upload; raises what that raises. Parts are cut short once ``stop`` is set.

        ``sole`` is whether every upload of this key is this one's, so that one whose id never
        arrived can be ended too. It has no parts.
        """
        self._bucket = bucket
        self._key = key
        self._budget = budget
        self._stop = stop
        self._sole = sole
        self._failure: BaseException | None = None
        self._receipts: dict[int, Receipt] = {}
        try:
            self._begun = bucket.begin(key)
        except failures.Unreachable:
            with contextlib.suppress(errors.Error):
                self._abort_all()  # only the answer may have been lost
            raise
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "s3-part")
        self.parts = 0

    @property
    def id(self) -> str:
        """The service's name of the upload."""
        return self._begun.id

    def send(self, data: bytearray, taken: int) -> None:
        """Send a part in the background, and then give ``taken`` bytes back to the budget.

        Raises what any part before it failed with.
        """
        self.check()
        self.parts += 1
        self._pool.submit(self._send, self.parts, data, taken)

    def copy(self, origin: CopySource, start: int, taken: int) -> None:
        """As ``send``, but of that many bytes of ``origin``, by the service itself."""
        self.check()
        self.parts += 1
        self._pool.submit(self._copy, self.parts, origin, start, taken)

    def check(self) -> None:
        """Raises what a part failed with."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> list[Receipt]:
        """Wait for all parts, in whose order the receipts are. Raises what one failed with."""
        self._pool.shutdown()
        self.check()
        return [self._receipts[number] for number in range(1, self.parts + 1)]

    def complete(self, receipts: list[Receipt]) -> None:
        """Make the object of its parts."""
        self._bucket.complete(self._key, self._begun.id, receipts)

    def clean(self) -> None:
        """After completion: a request to begin that was sent twice may have begun two."""
        if self._begun.repeated:
            try:
                self._abort_all()
            except errors.Error as error:
                _LOG.warning("attempt %s may have left an upload: %s", self._key, error)

    def abort(self) -> None:
        """Leave no part: those on their way are cut short and waited for first."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
        self._bucket.abort(Upload(self._key, self._begun.id, 0))
        self._abort_all()

    def _abort_all(self) -> None:
        if self._sole:
            self._bucket.abort_all(self._key)

    def _send(self, number: int, data: bytearray, taken: int) -> None:
        try:
            if self._failure is None:
                self._receipts[number] = self._bucket.part(
                    self._key, self._begun.id, number, data, self._stop
                )
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            del data  # before the next part may take its place in memory
            self._budget.give(taken)

    def _copy(self, number: int, origin: CopySource, start: int, taken: int) -> None:
        try:
            if self._failure is None:
                self._receipts[number] = self._bucket.copy_part(
                    self._key, self._begun.id, number, origin, start, start + taken
                )
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            self._budget.give(taken)
