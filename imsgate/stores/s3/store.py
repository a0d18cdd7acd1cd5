"""The S3 driver.

Locations are object keys: a bucket can be moved, and records contain no credentials. Small images
are sent in a single PUT, others in a multipart upload; either way an object appears complete or
not at all. A process that dies leaves at most an unfinished upload, which ``discard`` and
``sweep`` abort.

After ``discard``, no process can commit an attempt that has begun to send parts. An attempt that
is small enough for a single PUT is stopped only if it runs in the same process. In another
process, the uploader notices that the record no longer belongs to it and removes the object.
"""

import logging
import threading
import urllib.parse
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar

from imsgate import errors
from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.stores.abilities import without_credentials
from imsgate.stores.base import (
    ATTEMPT,
    LOCATION,
    Addressed,
    Adopts,
    Copies,
    CopySource,
    DirectUrls,
    Resumable,
    ResumableSink,
    Sink,
    Store,
    Sweeps,
    Swept,
)
from imsgate.stores.s3 import failures, options
from imsgate.stores.s3.bucket import Bucket
from imsgate.stores.s3.options import S3Settings
from imsgate.stores.s3.plan import Plan
from imsgate.stores.s3.reader import RangeReader
from imsgate.stores.s3.rests import Rests, is_rest
from imsgate.stores.s3.resumable import ResumableAttempts
from imsgate.stores.s3.sink import S3Sink

AnySink = TypeVar("AnySink", bound=S3Sink)

_LOG = logging.getLogger(__name__)


class S3Store(Store, Addressed, Adopts, Copies, DirectUrls, Resumable, Sweeps):
    """A store whose objects are in one bucket."""

    OPTS = options.OPTS

    def __init__(self, name: str, settings: Section) -> None:
        super().__init__(name, settings)
        self._options = S3Settings.of(settings)
        options.check(name, self._options)
        self._plan = Plan.of(self._options)
        self._single_put = options.single_put_bytes(self._options)
        #: Buckets from which the service does not copy; each is logged once.
        self._uncopied: set[str] = set()
        self._lock = threading.Lock()
        self._sinks: weakref.WeakValueDictionary[str, S3Sink] = weakref.WeakValueDictionary()
        #: Whether the bucket is yet to be created.
        self._missing = False
        self.start()
        self._bucket = Bucket(name, self._options, self._options.s3_store_attempts)
        threads = self._options.s3_store_thread_pools
        self._memory = options.upload_memory_bytes(self._options)
        self._resumable = ResumableAttempts(
            self._bucket, self._plan.aligned(), threads, self._memory
        )

    def start(self) -> None:
        """Check that the bucket can be used. Raises BadConfig, naming the option at fault."""
        bucket = Bucket(self.name, self._options, attempts=1)
        try:
            try:
                bucket.probe()
            except failures.BucketMissing:
                if not self._options.s3_store_create_bucket_on_put:
                    raise
                # It may have been deleted with all images, so mark creates it.
                self._missing = True
        except errors.Error as error:
            raise _bad_config(self.name, error) from None
        finally:
            bucket.close()

    def create(self, key: str, size: int | None) -> S3Sink:
        self._admit(size)
        sink = S3Sink(
            self._bucket,
            key,
            size,
            plan=self._plan,
            threads=self._options.s3_store_thread_pools,
            memory=self._memory,
            single_put=self._single_put,
        )
        return self._known(key, sink)

    def begin(self, key: str, size: int | None, epoch: int) -> ResumableSink:
        self._admit(size)
        return self._known(key, self._resumable.begin(key, size, epoch))

    def durable(self, key: str, size: int | None, epoch: int) -> int:
        return self._resumable.durable(key, size, epoch)

    def resume(self, key: str, size: int | None, offset: int, epoch: int) -> ResumableSink:
        sink = self._resumable.resume(key, size, offset, epoch)
        return self._known(key, sink) if isinstance(sink, S3Sink) else sink

    def _admit(self, size: int | None) -> None:
        if size is not None and size > self._plan.capacity():
            raise errors.StoreFull(store=self.name)
        self.mark()

    def _known(self, key: str, sink: AnySink) -> AnySink:
        """Remember the sink of a key, for ``discard``."""
        with self._lock:
            self._sinks[key] = sink
        return sink

    def copy_source(self, location: str) -> CopySource:
        key = self._key(location)
        etag = self._bucket.head(key)["ETag"]
        return CopySource(options.service(self._options), self._bucket.name, key, etag)

    def copies_from(self, source: CopySource) -> bool:
        return source.service == options.service(self._options)

    def copy(
        self, key: str, source: CopySource, size: int, check: Callable[[], object]
    ) -> Sink | None:
        """See Copies. Also returns None if a single PUT suffices: that takes fewer requests."""
        if not self.copies_from(source) or size <= self._single_put:
            return None
        sink = self.create(key, size)
        try:
            sink.copy(source, size, check)
        except failures.NotCopied as error:
            if source.bucket not in self._uncopied:
                self._uncopied.add(source.bucket)
                _LOG.warning(
                    "The service does not copy objects of bucket %s, so their data is transferred: "
                    "%s",
                    source.bucket,
                    error,
                )
            return None
        return sink

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Store. Keeps the blocks that are read ahead in memory."""
        key = self._key(location)
        return RangeReader(self._bucket, key, offset, length, self._options.s3_store_read_ahead)

    def size(self, location: str) -> int:
        return int(self._bucket.head(self._key(location))["ContentLength"])

    def delete(self, location: str) -> None:
        # The service's response to a deletion does not tell whether the object existed.
        self._bucket.head(self._key(location))
        self._bucket.delete(location)

    def discard(self, key: str) -> None:
        # In this order: if the attempt is committed meanwhile, either the last step removes the
        # object, or its own sink does, which checks for this after publishing.
        with self._lock:
            sink = self._sinks.get(key)
        if sink is not None:
            sink.discard()
        self._resumable.remove(key)
        self._bucket.delete(key)

    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        swept = Swept(0, 0)
        uploading = set()
        for upload in list(self._bucket.uploads()):
            if upload.age < age or not ATTEMPT.fullmatch(upload.key) or living(upload.key):
                uploading.add(upload.key)
                continue
            size = self._bucket.stored_bytes(upload)
            self._bucket.abort(upload)
            swept = Swept(swept.attempts + 1, swept.bytes + size)
        rests = Rests(self._bucket)
        for rest in list(rests.all()):
            key = rest.attempt
            if rest.age < age or key in uploading or not ATTEMPT.fullmatch(key) or living(key):
                continue
            rests.delete([rest])
            swept = Swept(swept.attempts, swept.bytes + rest.size)
        return swept

    def sweep_objects(self, orphaned: Callable[[str], bool]) -> Swept:
        swept = Swept(0, 0)
        for found in self._bucket.objects():
            if ATTEMPT.fullmatch(found.key) and orphaned(found.key):
                self._bucket.delete(found.key)
                swept = Swept(swept.attempts + 1, swept.bytes + found.size)
        return swept

    def direct_url(self, location: str) -> str | None:
        if not self._options.s3_store_redirect:
            return None
        key = self._key(location)
        self._bucket.head(key)
        return self._bucket.url(key, self._options.s3_store_redirect_lifetime)

    def url(self, location: str) -> str:
        """The URL as glance_store's driver writes it, without the access keys."""
        service = urllib.parse.urlsplit(options.endpoint(self._options))
        bucket = self._options.s3_store_bucket
        return f"s3+{service.scheme}://{service.netloc}/{bucket}/{self._key(location)}"

    def locate(self, url: str) -> str | None:
        service = urllib.parse.urlsplit(options.endpoint(self._options))
        for scheme in ("s3", f"s3+{service.scheme}"):
            place = f"{scheme}://{service.netloc}/{self._options.s3_store_bucket}/"
            location = url.removeprefix(place)
            if location != url and LOCATION.fullmatch(location):
                return location
        return None

    def glance_location(self, url: str) -> str | None:
        return self.locate(without_credentials(url))

    def check(self) -> None:
        self._bucket.check()

    def unmarked(self) -> str | None:
        """See Store. A bucket that exists is known by its name."""
        return f"[{self.name}] s3_store_bucket" if self._missing else None

    def mark(self) -> None:
        """Create the bucket if it was missing at start."""
        with self._lock:
            if self._missing:
                self._make_bucket()
                self._missing = False

    def _make_bucket(self) -> None:
        try:
            self._bucket.check()
        except failures.BucketMissing:
            self._bucket.make()

    def place(self) -> Hashable:
        url = urllib.parse.urlsplit(options.endpoint(self._options))
        return url.hostname, url.port, self._options.s3_store_bucket

    def properties(self) -> Mapping[str, Any]:
        shown = (
            "host region_name bucket bucket_url_format large_object_size large_object_chunk_size "
            "thread_pools"
        )
        return {
            f"s3_store_{word}": getattr(self._options, f"s3_store_{word}") for word in shown.split()
        }

    def close(self) -> None:
        """Close idle connections; the store stays usable."""
        self._bucket.close()

    def _key(self, location: str) -> str:
        """The object key of a location. Raises ObjectNotFound if no sink can have returned it."""
        if not LOCATION.fullmatch(location) or is_rest(location):
            raise errors.ObjectNotFound(f"store {self.name}")
        return location


_DENIED_HINT = (
    "; check s3_store_access_key and s3_store_secret_key, the key's permissions on the bucket "
    "(ListBucket, ListBucketMultipartUploads) and this host's clock"
)


def _bad_config(name: str, error: errors.Error) -> BadConfig:
    """The option at fault if the service refuses a request at start."""
    problem = str(error.details.get("problem", error))
    if isinstance(error, failures.BucketMissing):
        return BadConfig(f"[{name}] s3_store_bucket", problem)
    if isinstance(error, errors.StoreDenied):
        return BadConfig(f"[{name}] s3_store_access_key", problem + _DENIED_HINT)
    return BadConfig(f"[{name}] s3_store_host", problem)
