"""The S3 driver.

Locations are object keys: buckets can be moved, and a record holds no
credentials. Small images are one PUT, others a multipart upload; both appear
whole or not at all. A dead process leaves at most an unfinished upload, which
``discard`` and ``sweep`` end.

A discarded attempt cannot be committed by any process once it has begun to send
parts. One that is still small enough for a single PUT is stopped in this process
only; in another, its uploader finds that the record is no longer its own, and
removes the object.
"""

import logging
import re
import threading
import urllib.parse
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.stores.base import (
    LOCATION,
    Addressed,
    Copies,
    CopySource,
    DirectUrls,
    Sink,
    Store,
    Sweeps,
    Swept,
)
from imsgate.stores.s3 import failures, options
from imsgate.stores.s3.bucket import Bucket
from imsgate.stores.s3.options import MIB
from imsgate.stores.s3.plan import Plan
from imsgate.stores.s3.reader import RangeReader
from imsgate.stores.s3.sink import S3Sink

_LOG = logging.getLogger(__name__)

#: The keys of attempts. Other software may have uploads in the same bucket.
_ATTEMPT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[0-9a-f]+", re.ASCII)


class S3Store(Store, Addressed, Copies, DirectUrls, Sweeps):
    """A store in one bucket."""

    OPTS = options.OPTS

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        options.check(name, settings)
        self._part = int(settings.s3_store_large_object_chunk_size * MIB)
        self._plan = Plan(self._part, settings.s3_store_max_parts, settings.s3_store_equal_parts)
        self._whole = min(
            int(settings.s3_store_large_object_size * MIB),
            settings.s3_store_thread_pools * self._part,
        )
        self._uncopied: set[str] = set()
        self._lock = threading.Lock()
        self._sinks: weakref.WeakValueDictionary[str, S3Sink] = weakref.WeakValueDictionary()
        self.start()
        self._bucket = Bucket(name, settings, settings.s3_store_attempts)

    def start(self) -> None:
        """Prove that the bucket can be used. Raises BadConfig, naming the option at fault."""
        bucket = Bucket(self.name, self.settings, attempts=1)
        try:
            try:
                bucket.look_well()
            except failures.BucketMissing:
                if not self.settings.s3_store_create_bucket_on_put:
                    raise
                bucket.make()
        except errors.Error as error:
            option = _culprit(error)
            problem = str(error.details.get("problem", error))
            raise BadConfig(f"[{self.name}] {option}", problem) from None
        finally:
            bucket.close()

    def create(self, key: str, size: int | None) -> S3Sink:
        if size is not None and size > self._plan.capacity():
            raise errors.StoreFull(store=self.name)
        threads = self.settings.s3_store_thread_pools
        sink = S3Sink(self._bucket, key, size, self._plan, threads, self._whole)
        with self._lock:
            self._sinks[key] = sink
        return sink

    def copy(
        self, key: str, origin: CopySource, size: int, check: Callable[[], object]
    ) -> Sink | None:
        """None also for what is sent in one piece: that takes fewer requests."""
        if origin.service != options.service(self.settings) or size <= self._whole:
            return None
        sink = self.create(key, size)
        try:
            sink.copy(origin, size, check)
        except failures.NotCopied as error:
            if origin.bucket not in self._uncopied:
                self._uncopied.add(origin.bucket)
                _LOG.warning("what is in bucket %s is sent, not copied: %s", origin.bucket, error)
            return None
        return sink

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Memory is that of the blocks read ahead. ``close`` waits for the step being read."""
        key = self._key(location)
        return RangeReader(self._bucket, key, offset, length, self.settings.s3_store_read_ahead)

    def size(self, location: str) -> int:
        return int(self._bucket.head(self._key(location))["ContentLength"])

    def delete(self, location: str) -> None:
        # The service answers alike whether or not there was something to delete.
        self._bucket.head(self._key(location))
        self._bucket.delete(location)

    def discard(self, key: str) -> None:
        # In this order: what is committed in between is removed in the end, or by
        # its own sink, which looks once more after publishing.
        with self._lock:
            sink = self._sinks.get(key)
        if sink is not None:
            sink.discard()
        self._bucket.abort_all(key)
        self._bucket.delete(key)

    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        swept = Swept(0, 0)
        for upload in list(self._bucket.uploads()):
            if upload.age < age or not _ATTEMPT.fullmatch(upload.key) or living(upload.key):
                continue
            size = self._bucket.held(upload)
            self._bucket.abort(upload)
            swept = Swept(swept.attempts + 1, swept.bytes + size)
        return swept

    def direct_url(self, location: str) -> str | None:
        if not self.settings.s3_store_redirect:
            return None
        key = self._key(location)
        self._bucket.head(key)
        return self._bucket.url(key, self.settings.s3_store_redirect_lifetime)

    def url(self, location: str) -> str:
        """As glance_store's driver writes it, without the keys."""
        service = urllib.parse.urlsplit(options.endpoint(self.settings))
        bucket = self.settings.s3_store_bucket
        return f"s3+{service.scheme}://{service.netloc}/{bucket}/{self._key(location)}"

    def locate(self, url: str) -> str | None:
        service = urllib.parse.urlsplit(options.endpoint(self.settings))
        for scheme in ("s3", f"s3+{service.scheme}"):
            place = f"{scheme}://{service.netloc}/{self.settings.s3_store_bucket}/"
            location = url.removeprefix(place)
            if location != url and LOCATION.fullmatch(location):
                return location
        return None

    def check(self) -> None:
        self._bucket.look()

    def place(self) -> Hashable:
        url = urllib.parse.urlsplit(options.endpoint(self.settings))
        return url.hostname, url.port, self.settings.s3_store_bucket

    def properties(self) -> Mapping[str, Any]:
        shown = (
            "host region_name bucket bucket_url_format large_object_size large_object_chunk_size "
            "thread_pools"
        )
        return {
            f"s3_store_{word}": getattr(self.settings, f"s3_store_{word}") for word in shown.split()
        }

    def close(self) -> None:
        """Free the connections that lie idle; the store stays usable."""
        self._bucket.close()

    def _key(self, location: str) -> str:
        """The object a location stands for. Raises ObjectNotFound for what no sink returned."""
        if not LOCATION.fullmatch(location):
            raise errors.ObjectNotFound(f"store {self.name}")
        return location


def _culprit(error: errors.Error) -> str:
    """The option to look at after ``error``."""
    if isinstance(error, failures.BucketMissing):
        return "s3_store_bucket"
    if isinstance(error, errors.StoreDenied):
        return "s3_store_access_key"
    return "s3_store_host"
