"""The S3 driver for users' buckets: any bucket that the one access key opens."""

import contextlib
from collections.abc import Iterator
from typing import Any

from imsgate import errors
from imsgate.buckets.base import Buckets, ObjectInfo, ObjectWriter
from imsgate.config import Section
from imsgate.stores.base import CopySource
from imsgate.stores.s3 import failures, options
from imsgate.stores.s3.bucket import Bucket, Upload
from imsgate.stores.s3.options import MIB
from imsgate.stores.s3.plan import Plan
from imsgate.stores.s3.reader import RangeReader
from imsgate.stores.s3.sink import S3Sink

#: What a store's section says of its one bucket, or of what clients fetch themselves.
_NOT_HERE = frozenset(
    f"s3_store_{word}" for word in "bucket create_bucket_on_put redirect redirect_lifetime".split()
)


class S3Buckets(Buckets):
    """A service by its endpoint and the operator's credentials there."""

    OPTS = tuple(option for option in options.OPTS if option.dest not in _NOT_HERE)

    def __init__(self, name: str, settings: Any) -> None:
        self._name = name
        self._settings = settings
        options.check(name, self._of("some-bucket"))
        self._part = int(settings.s3_store_large_object_chunk_size * MIB)
        self._plan = Plan(self._part, settings.s3_store_max_parts, settings.s3_store_equal_parts)

    def _of(self, bucket: str) -> Section:
        """The settings of a store that would lie in this bucket."""
        return Section(**{**vars(self._settings), "s3_store_bucket": bucket})

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[Bucket]:
        """The bucket, while it is used; what it raises is in the words of the contract."""
        with self._telling(name), contextlib.closing(self._bucket(name)) as bucket:
            yield bucket

    def _bucket(self, name: str) -> Bucket:
        return Bucket(self._name, self._of(name), self._settings.s3_store_attempts)

    @staticmethod
    @contextlib.contextmanager
    def _telling(name: str) -> Iterator[None]:
        try:
            yield
        except (failures.BucketMissing, errors.StoreDenied):
            raise errors.BucketNotAccessible(bucket=name) from None
        except errors.StoreUnavailable as error:
            raise errors.SourceFailed(problem=str(error.details["problem"])) from None

    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        with self._open(bucket) as opened:
            try:
                reply = opened.head(key)
            except errors.ObjectNotFound:
                return None
            origin = None
            if self._settings.server_side_copy:
                origin = CopySource(options.service(self._settings), bucket, key, reply["ETag"])
            # The service says nothing of the class that is the usual one.
            return ObjectInfo(reply["ContentLength"], reply.get("StorageClass", "STANDARD"), origin)

    def read(self, bucket: str, key: str, length: int | None = None) -> Iterator[bytes]:
        with self._open(bucket) as opened:
            try:
                reader = RangeReader(opened, key, 0, length, self._settings.s3_store_read_ahead)
            except errors.ObjectNotFound:
                raise errors.SourceMissing(bucket=bucket, object=key) from None
            with contextlib.closing(reader):
                yield from reader

    def create(self, bucket: str, key: str, size: int) -> ObjectWriter:
        if size > self._plan.capacity():
            raise errors.StoreFull(store=self._name)
        threads = self._settings.s3_store_thread_pools
        whole = min(int(self._settings.s3_store_large_object_size * MIB), threads * self._part)
        opened = self._bucket(bucket)
        with self._telling(bucket), contextlib.ExitStack() as stack:
            stack.callback(opened.close)
            sink = _Target(opened, key, size, self._plan, threads, whole)
            stack.pop_all()  # the sink closes it
            return sink

    def discard(self, bucket: str, key: str, begun: str) -> None:
        with self._open(bucket) as opened:
            opened.abort(Upload(key, begun, 0))


class _Target(S3Sink, ObjectWriter):
    """A sink whose connection to the bucket is used for nothing else."""

    _sole = False

    @property
    def begun(self) -> str | None:  # type: ignore[override]
        return None if self._upload is None else self._upload.id

    def commit(self) -> str:
        try:
            return super().commit()
        except failures.Exists:
            raise errors.TargetExists(bucket=self._bucket.name, object=self._key) from None

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        self._bucket.close()
