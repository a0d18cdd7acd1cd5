"""What imsgate asks of one bucket."""

import contextlib
import dataclasses
import datetime
import email.utils
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imsgate import errors
from imsgate.stores.base import CopySource
from imsgate.stores.s3 import failures
from imsgate.stores.s3.body import Body
from imsgate.stores.s3.checksums import Checksums, Receipt
from imsgate.stores.s3.options import S3Settings
from imsgate.stores.s3.requests import Requests

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")

_REPLACED = "the object was replaced while it was copied"

#: Times that an abort is sent. It may miss a part that was just being stored; AWS's reference
#: (AbortMultipartUpload) says to list the parts and to repeat the abort.
_MAX_ABORTS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class MultipartUpload:
    """A multipart upload in progress. ``age`` is in seconds by the service's clock."""

    key: str
    id: str
    age: float


@dataclasses.dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in the bucket. ``age`` is in seconds by the service's clock."""

    key: str
    size: int
    age: float


@dataclasses.dataclass(frozen=True, slots=True)
class NewUpload:
    """A multipart upload that was just begun.

    ``repeated`` is whether the request was sent more than once and may have begun two uploads.
    """

    id: str
    repeated: bool


class Bucket:
    """A bucket and the requests that imsgate makes.

    Every request raises StoreFull, StoreUnavailable or StoreDenied, in addition to what its
    docstring names.
    """

    def __init__(self, store: str, settings: S3Settings, attempts: int) -> None:
        """``store`` is named in errors; ``attempts`` is how often a request is sent at most."""
        self.store = store
        self._settings = settings
        self.name = str(settings.s3_store_bucket)
        self._requests = Requests(store, settings, attempts)
        self.checksums = Checksums(
            settings.s3_store_request_checksum_calculation, settings.s3_store_etag_is_md5
        )

    def close(self) -> None:
        """Close idle connections."""
        self._requests.close()

    # Objects

    def put(self, key: str, data: bytes | bytearray, stop: threading.Event) -> Receipt:
        """Store an object in a single request. Raises Exists or Corrupted."""
        sums, expected = self.checksums.of_body(data)
        reply = self._requests.write(
            "put_object", "ETag", **self._created(), Key=key, **sums, Body=Body(data, stop)
        )
        return self._receipt(expected, data, reply)

    def replace(self, key: str, data: bytes | bytearray, stop: threading.Event) -> None:
        """Like ``put``, whether or not the object exists. Raises Corrupted."""
        sums, expected = self.checksums.of_body(data)
        named = {**self._created(), "Key": key}
        self._receipt(
            expected,
            data,
            self._requests.call("put_object", "ETag", **named, **sums, Body=Body(data, stop)),
        )

    def head(self, key: str) -> Mapping[str, Any]:
        """The attributes of an object, as HeadObject returns them. Raises ObjectNotFound."""
        with self._finding():
            reply: Mapping[str, Any] = self._requests.call(
                "head_object", "ETag", Key=key, ChecksumMode="ENABLED"
            )
        return reply

    def get(self, key: str, start: int, end: int, etag: str | None) -> Mapping[str, Any]:
        """The bytes from ``start`` up to, but not including, ``end`` or the end of the object.

        Raises ObjectNotFound, OutOfRange, and Exists if the object's ETag is not ``etag``.
        """
        params = {"Key": key, "Range": f"bytes={start}-{end - 1}"}
        if etag is not None:
            params["IfMatch"] = etag
        with self._finding():
            reply: Mapping[str, Any] = self._requests.call(
                "get_object", _in_range(start, end), **params
            )
        return reply

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        with contextlib.suppress(errors.ObjectNotFound):  # Google's service says so
            self._requests.call("delete_object", Key=key)

    def url(self, key: str, lifetime: int) -> str:
        """A URL with which anyone can GET the object for ``lifetime`` seconds."""
        return self._requests.url(key, lifetime)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose keys begin with ``prefix``."""
        for page in self._requests.pages("list_objects_v2", Prefix=prefix):
            now = _clock(page)
            for entry in page.get("Contents", ()):
                age = _age(now, entry["LastModified"])
                yield StoredObject(entry["Key"], entry["Size"], age)

    # Multipart uploads

    def begin(self, key: str) -> NewUpload:
        """Begin a multipart upload."""
        params = {**self._created(), **self.checksums.upload_params()}
        reply = self._requests.call("create_multipart_upload", "UploadId", Key=key, **params)
        return NewUpload(reply["UploadId"], reply["ResponseMetadata"]["RetryAttempts"] > 0)

    def put_part(
        self, key: str, upload: str, number: int, data: bytes | bytearray, stop: threading.Event
    ) -> Receipt:
        """Store one part. Raises UploadGone or Corrupted."""
        sums, expected = self.checksums.of_body(data)
        named = {"Key": key, "UploadId": upload, "PartNumber": number}
        reply = self._requests.call("upload_part", "ETag", **named, **sums, Body=Body(data, stop))
        return self._receipt(expected, data, reply)

    def copy_part(
        self, key: str, upload: str, number: int, source: CopySource, start: int, end: int
    ) -> Receipt:
        """Have the service copy a part from ``source``: bytes ``start`` up to before ``end``.

        Raises NotCopied, UploadGone, and SourceFailed if ``source`` was replaced.
        """
        copied = {
            "CopySource": {"Bucket": source.bucket, "Key": source.key},
            "CopySourceIfMatch": source.etag,
            "CopySourceRange": f"bytes={start}-{end - 1}",
        }
        named = {"Key": key, "UploadId": upload, "PartNumber": number}
        try:
            reply = self._requests.call("upload_part_copy", **named, **copied)
        except failures.UploadGone:
            raise
        except failures.Exists:
            raise errors.SourceFailed(problem=_REPLACED) from None
        except errors.StoreUnavailable as error:
            problem = str(error.details["problem"])
            raise failures.NotCopied(store=self.store, problem=problem) from None
        except errors.ObjectNotFound:
            problem = "it does not find the source object"
            raise failures.NotCopied(store=self.store, problem=problem) from None
        receipt = self.checksums.of_copy(reply.get("CopyPartResult", {}))
        if receipt is None:
            # Some services ignore the copy headers and store an empty part.
            raise failures.NotCopied(store=self.store, problem="it did not copy the source object")
        return receipt

    def check_unchanged(self, source: CopySource, size: int) -> None:
        """Raises SourceFailed if ``source`` was replaced or does not have ``size`` bytes.

        Ceph ignores the condition of a copy.
        """
        try:
            reply = self._requests.call("head_object", "ETag", Bucket=source.bucket, Key=source.key)
        except errors.ObjectNotFound:
            reply = {}
        if (reply.get("ETag"), reply.get("ContentLength")) != (source.etag, size):
            raise errors.SourceFailed(problem=_REPLACED)

    def complete(self, key: str, upload: str, receipts: Sequence[Receipt]) -> None:
        """Make the object from all parts. Raises UploadGone or Exists."""
        parts = [receipt.part_entry(number) for number, receipt in enumerate(receipts, 1)]
        named = {"Key": key, "UploadId": upload}
        self._requests.write("complete_multipart_upload", **named, MultipartUpload={"Parts": parts})

    def uploads(self, prefix: str = "") -> Iterator[MultipartUpload]:
        """The uploads in progress whose keys begin with ``prefix``; a key may have several."""
        for page in self._requests.pages("list_multipart_uploads", Prefix=prefix):
            now = _clock(page)
            for entry in page.get("Uploads", ()):
                yield MultipartUpload(
                    entry["Key"], entry["UploadId"], _age(now, entry["Initiated"])
                )

    def parts(self, upload: MultipartUpload) -> Iterator[Mapping[str, Any]]:
        """An upload's parts, as ListParts describes them. Raises UploadGone.

        Also raises ObjectNotFound, which some services say instead.
        """
        for page in self._requests.pages("list_parts", Key=upload.key, UploadId=upload.id):
            yield from page.get("Parts", ())

    def check_upload(self, key: str, upload: str) -> None:
        """Raises UploadGone if the upload was completed or aborted."""
        try:
            self._requests.call("list_parts", Key=key, UploadId=upload, MaxParts=1)
        except errors.ObjectNotFound:
            self.check()
            problem = "another request has ended this upload"
            raise failures.UploadGone(store=self.store, problem=problem) from None

    def stored_bytes(self, upload: MultipartUpload) -> int:
        """The total size of an upload's parts."""
        try:
            return sum(part["Size"] for part in self.parts(upload))
        except (failures.UploadGone, errors.ObjectNotFound):
            return 0

    def abort(self, upload: MultipartUpload) -> None:
        """Abort an upload and remove its parts, unless it has ended already."""
        for _ in range(_MAX_ABORTS):
            try:
                self._requests.call("abort_multipart_upload", Key=upload.key, UploadId=upload.id)
                self._requests.call("list_parts", Key=upload.key, UploadId=upload.id, MaxParts=1)
            except failures.UploadGone:
                return
            except errors.ObjectNotFound:
                self.check()
                return
        raise errors.StoreUnavailable(store=self.store, problem="it still lists an aborted upload")

    def abort_all(self, key: str) -> None:
        """Abort every upload with exactly this key."""
        for upload in list(self.uploads(key)):
            if upload.key == key:
                self.abort(upload)

    # The bucket itself

    def check(self) -> None:
        """Raises BucketMissing if the bucket does not exist."""
        self._requests.call("head_bucket")

    def probe(self) -> None:
        """Like ``check``, with a request whose error response names the reason.

        The sweep needs the permission for this request.
        """
        self._requests.call("list_multipart_uploads", MaxUploads=1)

    def check_keys(self) -> None:
        """Raises KeysRefused if no request with these keys can succeed, for any bucket."""
        self._requests.check_keys()

    def make(self) -> None:
        """Create the bucket."""
        region = self._settings.s3_store_region_name
        params = {}
        if region and region != "us-east-1":
            params["CreateBucketConfiguration"] = {"LocationConstraint": region}
        self._requests.call("create_bucket", **params)

    @contextlib.contextmanager
    def _finding(self) -> Iterator[None]:
        """Raise ObjectNotFound only if the bucket exists.

        A response to HEAD has no body that tells a missing object from a missing bucket, and a
        404 without a known code may come from a proxy that does not find the service.
        """
        try:
            yield
        except errors.ObjectNotFound:
            self.check()
            raise

    def _receipt(
        self, expected: Receipt, data: bytes | bytearray, reply: Mapping[str, Any]
    ) -> Receipt:
        receipt = self.checksums.verify(expected, data, reply)
        if receipt is None:
            raise failures.corrupted(self.store)
        return receipt

    def _created(self) -> dict[str, str]:
        """Parameters of a request that creates an object."""
        params = {
            "ContentType": "application/octet-stream",
            "StorageClass": self._settings.s3_store_storage_class,
            "ServerSideEncryption": self._settings.s3_store_server_side_encryption,
            "SSEKMSKeyId": self._settings.s3_store_sse_kms_key_id,
        }
        return {name: value for name, value in params.items() if value}


def _in_range(start: int, end: int) -> Callable[[Mapping[str, Any]], bool]:
    def complete(reply: Mapping[str, Any]) -> bool:
        match = _CONTENT_RANGE.fullmatch(reply.get("ContentRange", ""))
        if match is None or "ETag" not in reply:
            return False
        first, last, size = map(int, match.groups())
        return first == start and last == min(end, size) - 1

    return complete


def _age(now: datetime.datetime, then: datetime.datetime) -> float:
    # The time of a response is in whole seconds, so the difference may be negative.
    return max(0.0, (now - then).total_seconds())


def _clock(reply: Mapping[str, Any]) -> datetime.datetime:
    """The service's clock, by which it dates uploads; this host's clock may differ."""
    text = reply["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return email.utils.parsedate_to_datetime(text)
    except ValueError:
        return datetime.datetime.now(datetime.UTC)
