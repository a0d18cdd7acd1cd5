"""One object that is being read: fetched block by block, some of them ahead of the client.

Each block is a request of its own, so that a slow client does not occupy a connection to the
service, and an interrupted block continues at the byte where it stopped.
"""

import collections
import concurrent.futures
import threading
import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from imsgate import errors
from imsgate.http.rate import Rate
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket
from imsgate.stores.s3.options import MIB
from imsgate.telemetry.trace_context import carried

BLOCK_BYTES = 8 * MIB
#: The first block is small, because many clients only read the header of an image.
FIRST_BLOCK_BYTES = MIB
_READ_BYTES = MIB

#: Broken connections in a row, without a byte received, after which reading fails.
_MAX_BREAKS = 5


class RangeReader(Iterator[bytes]):
    """``length`` bytes of an object from ``offset``, or up to its end if ``length`` is None.

    The constructor raises ObjectNotFound. Iteration raises StoreUnavailable rather than end
    early. All blocks are of the same version of the object.
    """

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        offset: int,
        length: int | None,
        ahead: int,
        minimum_rate: int = 0,
    ) -> None:
        """``ahead`` is the number of blocks to fetch ahead of the client. ``minimum_rate`` is the
        lowest rate of the service for each of them, in bytes per second; 0 means no limit."""
        self._bucket = bucket
        self._key = key
        self._ahead = ahead
        self._minimum_rate = minimum_rate
        self._closed = threading.Event()
        self._chunks: collections.deque[bytes] = collections.deque()
        self._pending: collections.deque[concurrent.futures.Future[list[bytes]]]
        self._pending = collections.deque()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._etag, self._body, self._end = self._first(offset, length)
        self._at = offset

    def _first(self, offset: int, length: int | None) -> tuple[str, Any, int]:
        """The object's ETag, the body of the first block, and the end of the range."""
        if length == 0:
            return self._bucket.head(self._key)["ETag"], None, offset
        stop = offset + min(FIRST_BLOCK_BYTES, FIRST_BLOCK_BYTES if length is None else length)
        try:
            reply = self._bucket.get(self._key, offset, stop, None)
        except failures.OutOfRange:  # there are no bytes at offset: usually an empty object
            if length is not None:
                raise
            return "", None, offset
        if length is not None:
            return reply["ETag"], reply["Body"], offset + length
        return reply["ETag"], reply["Body"], self._size(reply)

    def _size(self, reply: Any) -> int:
        """The object's size from two responses: a truncated number would end the read early."""
        size = int(reply["ContentRange"].rpartition("/")[2])
        if self._bucket.head(self._key)["ContentLength"] != size:
            reply["Body"].close()
            problem = "its responses disagree about the object's size"
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
        """Take the next block and request the ones after it."""
        if self._body is not None:
            start, body, self._body = self._at, self._body, None
            end = self._at = min(self._end, start + FIRST_BLOCK_BYTES)
            self._request()
            self._chunks.extend(self._fetch(start, end, body))
            return
        self._request()
        if self._pending:
            self._chunks.extend(self._pending.popleft().result())
            self._request()

    def _request(self) -> None:
        """Request blocks until ``ahead`` of them are pending."""
        while self._at < self._end and len(self._pending) < self._ahead:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(self._ahead, "s3-read")
            start, self._at = self._at, min(self._end, self._at + BLOCK_BYTES)
            self._pending.append(self._pool.submit(carried(self._fetch), start, self._at))

    def _fetch(self, start: int, end: int, body: Any = None) -> list[bytes]:
        """One block. ``body`` is a response to start with, if there is one."""
        chunks: list[bytes] = []
        breaks, rate = 0, Rate(self._minimum_rate) if self._minimum_rate else None
        while start < end and not self._closed.is_set():
            if body is None:
                body = self._open(start, end)
            count = min(_READ_BYTES, end - start)
            chunk = self._read_timed(body, count, rate) if rate else _read(body, count)
            if chunk:
                chunks.append(chunk)
                start, breaks = start + len(chunk), 0
                continue
            body.close()
            body, breaks = None, breaks + 1
            if breaks > _MAX_BREAKS:
                problem = "the connection breaks again and again"
                raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
        if body is not None:
            body.close()
        return chunks

    def _read_timed(self, body: Any, count: int, rate: Rate) -> bytes:
        """As ``_read``, but what has arrived counts at once: a server that sends a byte now and
        then would keep ``_read`` for hours. Raises StoreUnavailable."""
        pieces: list[bytes] = []
        stream = body.__enter__()  # the response of urllib3; botocore's has no read1
        while count and not self._closed.is_set():
            began = time.monotonic()
            piece = _read(stream, count, "read1")
            if rate.is_too_low(time.monotonic() - began, len(piece)):
                body.close()
                problem = "the server sends too slowly"
                raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
            if not piece:
                break
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _open(self, start: int, end: int) -> Any:
        try:
            return self._bucket.get(self._key, start, end, self._etag)["Body"]
        except (errors.ObjectNotFound, failures.Exists):
            problem = "the object was removed while it was read"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem) from None

    def close(self) -> None:
        """Close all connections, after cutting off and awaiting the pending blocks."""
        self._closed.set()
        self._chunks.clear()
        self._pending.clear()
        if self._body is not None:
            self._body.close()
            self._body = None
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _read(body: Any, count: int, method: str = "read") -> bytes:
    """Up to ``count`` bytes; empty if the connection broke."""
    try:
        return bytes(getattr(body, method)(count))
    except (BotoCoreError, HTTPError, OSError):
        return b""
