"""One image on its way out: fetched block by block, some ahead of the client.

Blocks are requests of their own, so that a slow client holds no connection to
the service, and one that is cut is taken up at the very byte.
"""

import collections
import concurrent.futures
import threading
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from imsgate import errors
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket
from imsgate.stores.s3.options import MIB

BLOCK = 8 * MIB
#: The first block is small: many downloads are of a header.
FIRST = MIB
_STEP = MIB

#: How often in a row a connection may break without a byte gained.
_PATIENCE = 5


class RangeReader(Iterator[bytes]):
    """``length`` bytes of an object from ``offset`` on, or all the rest.

    Raises ObjectNotFound when it is made, and StoreUnavailable rather than end
    early. Every block is of the object it began with.
    """

    def __init__(
        self, bucket: Bucket, key: str, offset: int, length: int | None, ahead: int
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._ahead = ahead
        self._closed = threading.Event()
        self._chunks: collections.deque[bytes] = collections.deque()
        self._coming: collections.deque[concurrent.futures.Future[list[bytes]]]
        self._coming = collections.deque()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._etag, self._body, self._end = self._first(offset, length)
        self._at = offset

    def _first(self, offset: int, length: int | None) -> tuple[str, Any, int]:
        """The object's ETag, the body of the first block, and where the last one ends."""
        if length == 0:
            return self._bucket.head(self._key)["ETag"], None, offset
        stop = offset + min(FIRST, FIRST if length is None else length)
        try:
            reply = self._bucket.get(self._key, offset, stop, None)
        except failures.OutOfRange:  # nothing lies there, in an empty object above all
            return "", None, offset
        if length is not None:
            return reply["ETag"], reply["Body"], offset + length
        return reply["ETag"], reply["Body"], self._size(reply)

    def _size(self, reply: Any) -> int:
        """The object's size, asked twice: of a number that was cut short, less would be read."""
        size = int(reply["ContentRange"].rpartition("/")[2])
        if self._bucket.head(self._key)["ContentLength"] != size:
            reply["Body"].close()
            problem = "its answers about the object's size differ"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
        return size

    def __next__(self) -> bytes:
        if self._closed.is_set():
            raise StopIteration
        try:
            if not self._chunks:
                self._refill()
        except BaseException:
            self.close()
            raise
        if not self._chunks:
            self.close()
            raise StopIteration
        return self._chunks.popleft()

    def _refill(self) -> None:
        """Take the next block, and ask for those after it."""
        if self._body is not None:
            start, body, self._body = self._at, self._body, None
            end = self._at = min(self._end, start + FIRST)
            self._ask()
            self._chunks.extend(self._fetch(start, end, body))
            return
        self._ask()
        if self._coming:
            self._chunks.extend(self._coming.popleft().result())
            self._ask()

    def _ask(self) -> None:
        """Have as many blocks on their way as may be."""
        while self._at < self._end and len(self._coming) < self._ahead:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(self._ahead, "s3-read")
            start, self._at = self._at, min(self._end, self._at + BLOCK)
            self._coming.append(self._pool.submit(self._fetch, start, self._at))

    def _fetch(self, start: int, end: int, body: Any = None) -> list[bytes]:
        """One block, from ``body`` as far as that goes."""
        chunks: list[bytes] = []
        broken = 0
        while start < end and not self._closed.is_set():
            if body is None:
                body = self._open(start, end)
            chunk = _read(body, min(_STEP, end - start))
            if chunk:
                chunks.append(chunk)
                start, broken = start + len(chunk), 0
                continue
            body.close()
            body, broken = None, broken + 1
            if broken > _PATIENCE:
                problem = "it keeps breaking the connection"
                raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
        if body is not None:
            body.close()
        return chunks

    def _open(self, start: int, end: int) -> Any:
        try:
            return self._bucket.get(self._key, start, end, self._etag)["Body"]
        except (errors.ObjectNotFound, failures.Exists):
            problem = "the object was removed while it was read"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem) from None

    def close(self) -> None:
        """Free all connections; what is on its way is cut short and waited for."""
        self._closed.set()
        self._chunks.clear()
        self._coming.clear()
        if self._body is not None:
            self._body.close()
            self._body = None
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _read(body: Any, count: int) -> bytes:
    """The next bytes, or none where the connection broke."""
    try:
        return bytes(body.read(count))
    except (BotoCoreError, HTTPError, OSError):
        return b""
