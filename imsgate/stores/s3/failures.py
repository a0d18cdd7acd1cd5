"""What the service's refusals and silences mean in the store contract's words.

Messages of botocore hold URLs and those of services hold access keys: neither
is passed on, nor kept as a cause that a traceback would print.
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
_DENIED = frozenset(
    """AccessDenied AccountProblem AllAccessDisabled AuthorizationHeaderMalformed ExpiredToken
    InvalidAccessKeyId InvalidSecurity InvalidToken NotSignedUp SignatureDoesNotMatch
    UserSuspended""".split()
)
_BUSY = frozenset("503 429 Busy RequestLimitExceeded SlowDown Throttling TooManyRequests".split())
_SKEWED = frozenset("RequestTimeTooSkewed RequestExpired".split())
#: What codes and ids of requests look like; anything else could forge lines of a log.
_WORD = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")


class UploadGone(errors.StoreUnavailable):
    """The multipart upload was completed, aborted, or never was."""


class Exists(errors.StoreUnavailable):
    """A conditional write found an object under its key."""


class OutOfRange(errors.StoreUnavailable):
    """The object ends before what was asked for."""


class OperationUnsupported(errors.StoreUnavailable):
    """The service does not know what it was asked for."""


class NotCopied(errors.StoreUnavailable):
    """The service, or what the access key may do, does not let an object be copied."""


class Corrupted(errors.StoreUnavailable):
    """What arrived is not what was sent."""


class BucketMissing(errors.StoreUnavailable):
    """The bucket does not exist, or not in this region."""


class Unreachable(errors.StoreUnavailable):
    """There was no answer."""


def corrupted(store: str) -> Corrupted:
    return Corrupted(store=store, problem="it received other bytes than were sent")


def translate(store: str, operation: str, error: Exception) -> Exception:
    """The failure of the contract, or ObjectNotFound, that ``error`` stands for."""
    if isinstance(error, exceptions.ClientError):
        return _refusal(store, operation, error)
    _LOG.info("store %s: %s failed: %s", store, operation, type(error).__name__)
    return Unreachable(store=store, problem=_silence(error))


def _silence(error: Exception) -> str:
    if isinstance(error, exceptions.SSLError):
        return "its certificate was refused, or the encrypted connection broke"
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
        "store %s: %s was answered %s %s (request %s)",
        *(store, operation, status, code, _word(meta.get("RequestId")) or "-"),
    )
    if code == "NoSuchBucket" or (operation == "head_bucket" and status == 404):
        return BucketMissing(store=store, problem="its bucket is missing")
    if code == "NoSuchUpload":
        return UploadGone(store=store, problem="this upload was ended by another request")
    if status == 404:
        return errors.ObjectNotFound(f"store {store}")
    if status in (409, 412) and code not in _FULL:
        return Exists(store=store, problem=f"it answered {code or status}")
    if status == 416:
        return OutOfRange(store=store, problem="the object ends before its size")
    if status == 501:
        return OperationUnsupported(store=store, problem=f"it does not offer {operation}")
    if code in ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"):
        return corrupted(store)
    return _trouble(store, code, status, meta.get("HTTPHeaders", {}).get("retry-after", ""))


def _word(text: object) -> str:
    return str(text) if _WORD.fullmatch(str(text or "")) else ""


def _trouble(store: str, code: str, status: int, retry_after: str) -> errors.Error:
    if code in _FULL or status in (413, 507):
        return errors.StoreFull(store=store)
    # int() refuses thousands of digits.
    wait = int(retry_after[:9]) if retry_after.isascii() and retry_after.isdigit() else 30
    if code in _BUSY or status in (429, 503):
        return errors.StoreUnavailable(
            store=store, problem="it is overloaded", retry_after=min(wait, 3600)
        )
    if code in _SKEWED:
        problem = "its clock and this gateway's differ too much"
        return errors.StoreDenied(store=store, problem=problem)
    if code in _DENIED or status in (401, 403):
        return errors.StoreDenied(store=store, problem=f"it answered {code or status}")
    return errors.StoreUnavailable(store=store, problem=f"it answered {code or status}")
