"""Translates the service's error responses and failed connections to the store contract.

Messages of botocore contain URLs, and those of services contain access keys. Neither is passed on
or kept as the cause of an exception, which a traceback would print.
"""

import logging
import re

from botocore import exceptions

from imsgate import errors

_LOG = logging.getLogger(__name__)

_FULL = frozenset(
    """EntityTooLarge InsufficientCapacity InsufficientStorage InsufficientStorageSpace
    QuotaExceeded ServiceQuotaExceeded StorageFull XMinioStorageFull""".split()
)
_DENIED = frozenset("AccessDenied AccountProblem AllAccessDisabled NotSignedUp".split())
_KEYS_REFUSED = frozenset(
    """AuthorizationHeaderMalformed ExpiredToken InvalidAccessKeyId InvalidSecurity InvalidToken
    SignatureDoesNotMatch UserSuspended""".split()
)
_BUSY = frozenset("503 429 Busy RequestLimitExceeded SlowDown Throttling TooManyRequests".split())
_CLOCK_SKEW = frozenset("RequestTimeTooSkewed RequestExpired".split())

#: The operations whose 404, even without a code, may mean that an object or upload is missing.
#: Other operations create what they name, or name only the bucket.
_OF_AN_OBJECT = frozenset(
    "abort_multipart_upload get_object head_object list_parts upload_part_copy".split()
)

#: Retry-After in seconds if the service sends none, and the maximum that is passed on.
_DEFAULT_RETRY_SECONDS, _MAX_RETRY_SECONDS = 30, 3600

#: Error codes and request ids. Other text could forge lines in a log.
_WORD = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")


class UploadGone(errors.StoreUnavailable):
    """The multipart upload was completed or aborted, or never existed."""


class Exists(errors.StoreUnavailable):
    """The condition of a request failed: an object exists, or has another ETag."""


class OutOfRange(errors.StoreUnavailable):
    """The object ends before the requested range."""


class OperationUnsupported(errors.StoreUnavailable):
    """The service does not support the operation."""


class KeysRefused(errors.StoreDenied):
    """The service refuses every request with these keys, for any bucket."""


class NotCopied(errors.StoreUnavailable):
    """The service does not copy the object, or the access key lacks the permission."""


class Corrupted(errors.StoreUnavailable):
    """The service received other data than was sent."""


class BucketMissing(errors.StoreUnavailable):
    """The bucket does not exist, or not in this region."""


class Unreachable(errors.StoreUnavailable):
    """There was no complete response."""


class Rejected(errors.StoreUnavailable):
    """The service answered 4xx: it would do so again."""


#: What the same request would fail with again.
PERMANENT = (Exists, OutOfRange, OperationUnsupported, NotCopied, Rejected)


def corrupted(store: str) -> Corrupted:
    """The error for a checksum that does not match."""
    return Corrupted(store=store, problem="it received other bytes than were sent")


def cut_short(store: str) -> Unreachable:
    """The error for a response whose end is missing."""
    return Unreachable(store=store, problem="its responses are incomplete")


def translate(store: str, operation: str, error: Exception) -> Exception:
    """The error of the store contract, or ObjectNotFound, for an exception of botocore."""
    if isinstance(error, exceptions.ClientError):
        return _refusal(store, operation, error)
    _LOG.info("Store %s: %s failed: %s", store, operation, type(error).__name__)
    return Unreachable(store=store, problem=_connection_problem(error))


def _connection_problem(error: Exception) -> str:
    if isinstance(error, exceptions.SSLError):
        return "its certificate is not trusted, or the TLS connection failed"
    if isinstance(error, exceptions.ReadTimeoutError | exceptions.ConnectTimeoutError):
        return "it did not answer in time"
    if isinstance(error, exceptions.ConnectionError):
        return "it cannot be reached"
    if isinstance(error, exceptions.HTTPClientError):
        return "the connection broke"
    return f"the request failed: {type(error).__name__}"


def _refusal(store: str, operation: str, error: exceptions.ClientError) -> Exception:
    reply = error.response
    code = _word(reply.get("Error", {}).get("Code"))
    meta = reply.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    _LOG.info(
        "Store %s: %s was answered with %s %s (request %s)",
        *(store, operation, status, code, _word(meta.get("RequestId")) or "-"),
    )
    if code == "NoSuchBucket" or (operation == "head_bucket" and status == 404):
        return BucketMissing(store=store, problem="the bucket does not exist")
    if code == "NoSuchUpload":
        return UploadGone(store=store, problem="another request has ended this upload")
    if code == "NoSuchKey" or (status == 404 and operation in _OF_AN_OBJECT):
        return errors.ObjectNotFound(f"store {store}")
    if status in (409, 412) and code not in _FULL:
        return Exists(store=store, problem=f"it answered {code or status}")
    if status == 416:
        return OutOfRange(store=store, problem="the object is shorter than its size")
    if status == 501:
        return OperationUnsupported(store=store, problem=f"it does not support {operation}")
    if code in ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"):
        return corrupted(store)
    return _general_refusal(store, code, status, meta.get("HTTPHeaders", {}).get("retry-after", ""))


def _word(text: object) -> str:
    return str(text) if _WORD.fullmatch(str(text or "")) else ""


def _general_refusal(store: str, code: str, status: int, retry_after: str) -> errors.Error:
    if code in _FULL or status in (413, 507):
        return errors.StoreFull(store=store)
    if code in _BUSY or status in (429, 503):
        wait = _retry_seconds(retry_after)
        return errors.StoreUnavailable(store=store, problem="it is overloaded", retry_after=wait)
    if code in _CLOCK_SKEW:
        problem = "its clock and this host's clock differ too much"
        return KeysRefused(store=store, problem=problem)
    if code in _KEYS_REFUSED or status == 401:
        return KeysRefused(store=store, problem=f"it answered {code or status}")
    if code in _DENIED or status == 403:
        return errors.StoreDenied(store=store, problem=f"it answered {code or status}")
    if 300 <= status < 400:
        problem = f"it answered {code or status}, a redirect: see s3_store_host"
        return errors.StoreUnavailable(store=store, problem=problem)
    kind = Rejected if 400 <= status < 500 and status != 408 else errors.StoreUnavailable
    return kind(store=store, problem=f"it answered {code or status}")


def _retry_seconds(header: str) -> int:
    # Cut to nine digits, because int() refuses thousands of them.
    number = header.isascii() and header.isdigit()
    return min(int(header[:9]) if number else _DEFAULT_RETRY_SECONDS, _MAX_RETRY_SECONDS)
