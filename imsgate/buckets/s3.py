"""The S3 driver for users' buckets: all buckets that one access key can use."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from imsgate import errors
from imsgate.buckets.base import Buckets, ObjectInfo, ObjectWriter
from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.stores.base import CopySource
from imsgate.stores.s3 import failures, options
from imsgate.stores.s3.bucket import Bucket, MultipartUpload
from imsgate.stores.s3.options import S3Settings
from imsgate.stores.s3.plan import Plan
from imsgate.stores.s3.reader import RangeReader
from imsgate.stores.s3.sink import S3Sink

_LOG = logging.getLogger(__name__)

#: Options of a store that concern its one bucket or direct downloads by clients.
_STORE_ONLY = frozenset(
    f"s3_store_{word}" for word in "bucket create_bucket_on_put redirect redirect_lifetime".split()
)


class S3Buckets(Buckets):
    """The buckets of one S3 service, with one access key."""

    OPTS = tuple(option for option in options.OPTS if option.dest not in _STORE_ONLY)

    def __init__(self, name: str, settings: Section) -> None:
        self._name = name
        self._options = S3Settings(
            **{opt.dest: getattr(settings, opt.dest) for opt in self.OPTS},
            s3_store_bucket="some-bucket",  # in place of the bucket of each request
        )
        self._server_side_copy: bool = settings.server_side_copy
        self._minimum_rate: int = settings.minimum_rate
        options.check(name, self._options)
        self._plan = Plan.of(self._options)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[Bucket]:
        """The bucket with this name, closed after the block; translates errors in the block."""
        with self._reporting(name), contextlib.closing(self._bucket(name)) as bucket:
            yield bucket

    def _bucket(self, name: str) -> Bucket:
        settings = dataclasses.replace(self._options, s3_store_bucket=name)
        return Bucket(self._name, settings, settings.s3_store_attempts)

    @contextlib.contextmanager
    def _reporting(self, name: str) -> Iterator[None]:
        try:
            yield
        except failures.BucketMissing:
            raise errors.BucketNotAccessible(bucket=name) from None
        except errors.StoreDenied:
            # The user is told the same in any case, but keys that are wrong are no user's fault.
            self._report_wrong_keys(name)
            raise errors.BucketNotAccessible(bucket=name) from None
        except errors.StoreUnavailable as error:
            kind = (
                errors.SourceFailed
                if isinstance(error, failures.PERMANENT)
                else errors.SourceUnavailable
            )
            raise kind(problem=str(error.details["problem"])) from None

    def check(self) -> None:
        settings = dataclasses.replace(self._options, s3_store_attempts=1)
        with contextlib.closing(Bucket(self._name, settings, attempts=1)) as service:
            try:
                service.check_keys()
            except failures.KeysRefused as error:
                raise BadConfig(
                    f"[{self._name}] s3_store_access_key",
                    f"{error.details['problem']}; check s3_store_access_key, "
                    "s3_store_secret_key and this host's clock",
                ) from None
            except errors.StoreUnavailable as error:
                raise errors.SourceFailed(problem=str(error.details["problem"])) from None

    def _report_wrong_keys(self, bucket: str) -> None:
        """The refusal of some requests does not tell whether the keys or the bucket is wrong."""
        try:
            self.check()
        except BadConfig as problem:
            _LOG.error("Bucket %s was not accessible: %s", bucket, problem)
        except errors.SourceFailed as error:
            _LOG.warning("Bucket %s was not accessible, and then: %s", bucket, error)

    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        with self._open(bucket) as opened:
            try:
                reply = opened.head(key)
            except errors.ObjectNotFound:
                return None
            source = None
            if self._server_side_copy:
                source = CopySource(options.service(self._options), bucket, key, reply["ETag"])
            # S3 leaves the class out of its response if it is STANDARD.
            return ObjectInfo(reply["ContentLength"], reply.get("StorageClass", "STANDARD"), source)

    def read(self, bucket: str, key: str, length: int | None = None) -> Iterator[bytes]:
        with self._open(bucket) as opened:
            try:
                ahead = self._options.s3_store_read_ahead
                reader = RangeReader(opened, key, 0, length, ahead, self._minimum_rate)
            except errors.ObjectNotFound:
                raise errors.SourceMissing(bucket=bucket, object=key) from None
            with contextlib.closing(reader):
                yield from reader

    def create(self, bucket: str, key: str, size: int) -> ObjectWriter:
        if size > self._plan.capacity():
            raise errors.StoreFull(store=self._name)
        opened = self._bucket(bucket)
        with self._reporting(bucket), contextlib.ExitStack() as stack:
            stack.callback(opened.close)
            sink = _S3ObjectWriter(
                opened,
                key,
                size,
                plan=self._plan,
                threads=self._options.s3_store_thread_pools,
                memory=options.upload_memory_bytes(self._options),
                single_put=options.single_put_bytes(self._options),
            )
            stack.pop_all()  # the sink closes the connection
            return sink

    def discard(self, bucket: str, key: str, begun: str) -> None:
        with self._open(bucket) as opened:
            opened.abort(MultipartUpload(key, begun, 0))


class _S3ObjectWriter(S3Sink, ObjectWriter):
    """A sink that closes its bucket's connections at the end."""

    _exclusive = False

    @property
    def begun(self) -> str | None:  # type: ignore[override]
        return None if self._upload is None else self._upload.id

    def commit(self) -> str:
        try:
            return super().commit()
        except failures.Exists:
            raise errors.TargetExists(bucket=self._bucket.name, object=self._key) from None

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._bucket.close()
