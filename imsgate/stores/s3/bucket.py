"""The service's calls for one bucket, in the words of the store contract."""

import dataclasses
import datetime
import email.utils
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from imsgate import errors
from imsgate.stores.base import CopySource
from imsgate.stores.s3 import failures
from imsgate.stores.s3.body import Body, Stopped
from imsgate.stores.s3.checksums import Checksums, Receipt
from imsgate.stores.s3.client import Client

#: What a call that failed may raise.
_FAILURES = (BotoCoreError, ClientError, ResponseParserError, Stopped)

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")

_REPLACED = "the object was replaced while it was copied"

#: How to know that nothing of an answer is missing: a member of it, or a test.
Whole = str | Callable[[Mapping[str, Any]], bool] | None

#: An abort may miss a part that was just being stored: AWS says to look, and repeat it.
_ABORTS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was begun. ``age`` is in seconds by the service's clock."""

    key: str
    id: str
    age: float


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """``repeated`` is whether the request was sent more than once, and may have begun two."""

    id: str
    repeated: bool


class Bucket:
    """Every call raises StoreFull, StoreUnavailable or StoreDenied, and what else it says."""

    def __init__(self, store: str, settings: Any, attempts: int) -> None:
        self.store = store
        self._settings = settings
        self.name = settings.s3_store_bucket
        self._attempts = attempts
        self._client = Client(settings, attempts)
        self._conditional = settings.s3_store_conditional_writes
        self.checksums = Checksums(
            settings.s3_store_request_checksum_calculation, settings.s3_store_etag_is_md5
        )

    def close(self) -> None:
        """Free the connections that lie idle."""
        self._client.close()

    # Objects

    def put(self, key: str, data: bytes | bytearray, stop: threading.Event) -> Receipt:
        """Store a whole object. Raises Exists, or Corrupted."""
        sums, expected = self.checksums.sending(data)
        reply = self._write(
            "put_object", "ETag", **self._created(), Key=key, **sums, Body=Body(data, stop)
        )
        return self._receipt(expected, data, reply)

    def head(self, key: str) -> Mapping[str, Any]:
        """What is known of an object. Raises ObjectNotFound."""
        try:
            reply: Mapping[str, Any] = self._call(
                "head_object", "ETag", Key=key, ChecksumMode="ENABLED"
            )
        except errors.ObjectNotFound:
            # The answer to HEAD has no body that tells a missing object from a missing bucket.
            self.look()
            raise
        return reply

    def get(self, key: str, start: int, end: int, etag: str | None) -> Mapping[str, Any]:
        """Bytes ``start`` to before ``end``, or as many as there are, of the object with this ETag.

        Raises ObjectNotFound, OutOfRange, and Exists when the object has another ETag.
        """
        params = {"Key": key, "Range": f"bytes={start}-{end - 1}"}
        if etag is not None:
            params["IfMatch"] = etag
        reply: Mapping[str, Any] = self._call("get_object", _in_range(start, end), **params)
        return reply

    def delete(self, key: str) -> None:
        """Remove an object; there need be none."""
        self._call("delete_object", Key=key)

    def url(self, key: str, lifetime: int) -> str:
        """An address with which anyone may GET the object for ``lifetime`` seconds."""
        params = {"Bucket": self.name, "Key": key}
        client = self._client.get()
        return str(client.generate_presigned_url("get_object", params, ExpiresIn=lifetime))

    # Multipart uploads

    def begin(self, key: str) -> Begun:
        begun = self.checksums.beginning()
        created = self._created()
        reply = self._call("create_multipart_upload", "UploadId", **created, Key=key, **begun)
        return Begun(reply["UploadId"], reply["ResponseMetadata"]["RetryAttempts"] > 0)

    def part(
        self, key: str, upload: str, number: int, data: bytes | bytearray, stop: threading.Event
    ) -> Receipt:
        """Store one part. Raises UploadGone, or Corrupted."""
        sums, expected = self.checksums.sending(data)
        named = {"Key": key, "UploadId": upload, "PartNumber": number}
        reply = self._call("upload_part", "ETag", **named, **sums, Body=Body(data, stop))
        return self._receipt(expected, data, reply)

    def copy_part(
        self, key: str, upload: str, number: int, origin: CopySource, start: int, end: int
    ) -> Receipt:
        """Have the service make a part of the bytes ``start`` to before ``end`` of ``origin``.

        Raises NotCopied, SourceFailed when that was replaced, and UploadGone.
        """
        copied = {
            "CopySource": {"Bucket": origin.bucket, "Key": origin.key},
            "CopySourceIfMatch": origin.etag,
            "CopySourceRange": f"bytes={start}-{end - 1}",
        }
        named = {"Key": key, "UploadId": upload, "PartNumber": number}
        try:
            reply = self._call("upload_part_copy", **named, **copied)
        except failures.UploadGone:
            raise
        except failures.Exists:
            raise errors.SourceFailed(problem=_REPLACED) from None
        except errors.StoreUnavailable as error:
            problem = str(error.details["problem"])
            raise failures.NotCopied(store=self.store, problem=problem) from None
        except errors.ObjectNotFound:
            raise failures.NotCopied(store=self.store, problem="it finds no such object") from None
        receipt = self.checksums.copied(reply.get("CopyPartResult", {}))
        if receipt is None:
            # It has stored an empty part: there are services that see no copy in the request.
            raise failures.NotCopied(store=self.store, problem="it does not say what it copied")
        return receipt

    def unchanged(self, origin: CopySource) -> None:
        """Raises SourceFailed when ``origin`` was replaced: Ceph heeds no condition of a copy."""
        try:
            found = self._call("head_object", "ETag", Bucket=origin.bucket, Key=origin.key)
        except errors.ObjectNotFound:
            found = {}
        if found.get("ETag") != origin.etag:
            raise errors.SourceFailed(problem=_REPLACED)

    def complete(self, key: str, upload: str, receipts: Sequence[Receipt]) -> None:
        """Make an object of all parts. Raises UploadGone, or Exists."""
        parts = [receipt.completing(number) for number, receipt in enumerate(receipts, 1)]
        named = {"Key": key, "UploadId": upload}
        self._write("complete_multipart_upload", **named, MultipartUpload={"Parts": parts})

    def uploads(self, prefix: str = "") -> Iterator[Upload]:
        """Every multipart upload not yet ended whose key begins so; several may have one key."""
        for page in self._pages("list_multipart_uploads", Prefix=prefix):
            now = _clock(page)
            for found in page.get("Uploads", ()):
                # The time of the answer is in whole seconds.
                age = max(0.0, (now - found["Initiated"]).total_seconds())
                yield Upload(found["Key"], found["UploadId"], age)

    def held(self, upload: Upload) -> int:
        """Bytes of the parts of an upload."""
        try:
            pages = self._pages("list_parts", Key=upload.key, UploadId=upload.id)
            return sum(part["Size"] for page in pages for part in page.get("Parts", ()))
        except (failures.UploadGone, errors.ObjectNotFound):
            return 0

    def abort(self, upload: Upload) -> None:
        """End an upload and free its parts; it may have ended already."""
        for _ in range(_ABORTS):
            try:
                self._call("abort_multipart_upload", Key=upload.key, UploadId=upload.id)
                self._call("list_parts", Key=upload.key, UploadId=upload.id, MaxParts=1)
            except (failures.UploadGone, errors.ObjectNotFound):
                return
        raise errors.StoreUnavailable(store=self.store, problem="an aborted upload did not go")

    def abort_all(self, key: str) -> None:
        """End every upload of exactly this key."""
        for upload in list(self.uploads(key)):
            if upload.key == key:
                self.abort(upload)

    # The bucket itself

    def look(self) -> None:
        """Raises BucketMissing."""
        self._call("head_bucket")

    def look_well(self) -> None:
        """``look`` with a request whose refusal says why. The sweep needs this permission."""
        self._call("list_multipart_uploads", MaxUploads=1)

    def make(self) -> None:
        """Create the bucket."""
        region = self._settings.s3_store_region_name
        params = {}
        if region and region != "us-east-1":
            params["CreateBucketConfiguration"] = {"LocationConstraint": region}
        self._call("create_bucket", **params)

    # How calls are made

    def _call(self, operation: str, whole: Whole = None, /, **params: Any) -> Any:
        """The answer, in which what ``whole`` asks for is found.

        Where the connection ends within the header of an answer, the rest of it
        is missing and nothing says so.
        """
        for repeated in range(self._attempts):
            try:
                reply = getattr(self._client.get(), operation)(**{"Bucket": self.name, **params})
            except _FAILURES as error:
                raise failures.translate(self.store, operation, error) from None
            if whole is None or (whole(reply) if callable(whole) else whole in reply):
                reply["ResponseMetadata"]["RetryAttempts"] += repeated
                return reply
            if "Body" in params:
                params["Body"].seek(0)
        raise failures.Unreachable(store=self.store, problem="its answers are cut short")

    def _write(self, operation: str, whole: Whole = None, /, **params: Any) -> Any:
        """A call that must not overwrite an object, where the service knows how to."""
        if self._conditional:
            try:
                return self._call(operation, whole, **params, IfNoneMatch="*")
            except failures.OperationUnsupported:
                self._conditional = False
                if "Body" in params:
                    params["Body"].seek(0)
        return self._call(operation, whole, **params)

    def _pages(self, operation: str, **params: Any) -> Iterator[Mapping[str, Any]]:
        paginator = self._client.get().get_paginator(operation)
        pages = iter(paginator.paginate(Bucket=self.name, **params))
        while True:
            try:
                page = next(pages, None)
            except _FAILURES as error:
                raise failures.translate(self.store, operation, error) from None
            if page is None:
                return
            if "IsTruncated" not in page:
                raise failures.Unreachable(store=self.store, problem="its answers are cut short")
            yield page

    def _receipt(
        self, expected: Receipt, data: bytes | bytearray, reply: Mapping[str, Any]
    ) -> Receipt:
        receipt = self.checksums.received(expected, data, reply)
        if receipt is None:
            raise failures.corrupted(self.store)
        return receipt

    def _created(self) -> dict[str, str]:
        """What an object is made with."""
        wanted = {
            "ContentType": "application/octet-stream",
            "StorageClass": self._settings.s3_store_storage_class,
            "ServerSideEncryption": self._settings.s3_store_server_side_encryption,
            "SSEKMSKeyId": self._settings.s3_store_sse_kms_key_id,
        }
        return {name: value for name, value in wanted.items() if value}


def _in_range(start: int, end: int) -> Callable[[Mapping[str, Any]], bool]:
    def whole(reply: Mapping[str, Any]) -> bool:
        told = _CONTENT_RANGE.fullmatch(reply.get("ContentRange", ""))
        if told is None or "ETag" not in reply:
            return False
        first, last, size = map(int, told.groups())
        return first == start and last == min(end, size) - 1

    return whole


def _clock(reply: Mapping[str, Any]) -> datetime.datetime:
    """The service's time, by which it dates uploads; ours may differ."""
    text = reply["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return email.utils.parsedate_to_datetime(text)
    except ValueError:
        return datetime.datetime.now(datetime.UTC)
