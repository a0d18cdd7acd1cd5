"""Every failure that is reported on purpose.

An error knows its HTTP status, its machine-readable ``reason`` and its message
where it is defined; ``wsgi.refusal`` is the one place that turns it into a
response. Anything raised that is not an :class:`Error` is a bug: ``faults``
logs it with its traceback and answers a plain 500.

``details`` given to the constructor fill the message template and are shown to
the client beside the reason, so they must never hold credentials or paths.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class Error(Exception):
    """Base of all reported failures.

    ``status`` is the HTTP status (RFC 9110), ``reason`` a stable word for
    programs, ``message`` a template filled with the details. ``headers`` are
    sent with the response. ``code`` is what Huawei's image service calls it: ``IMG.…``, or
    ``APIGW.…`` for what the API gateway before that service answers. With ``gateway_code``
    it is answered in the form of that gateway, whatever the client.
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal_error"
    code = "IMG.0061"
    message: ClassVar[str] = "The server could not complete the request"
    gateway_code: ClassVar[str | None] = None

    def __init__(self, *, headers: Mapping[str, str] | None = None, **details: Any) -> None:
        super().__init__(self.message.format(**details))
        self.details = details
        self.headers: dict[str, str] = dict(headers or {})


class BadConfig(Exception):
    """The configuration cannot work; the process must not start.

    ``key`` names the option, as ``[group] option`` or as the Paste key.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


# 400


class BadRequest(Error):
    status, reason = 400, "bad_request"
    code = "IMG.0001"
    message = "{problem}"


class BadHeader(BadRequest):
    reason = "bad_header"
    message = "Header {header} cannot be used: {problem}"


class BadJson(BadRequest):
    reason = "bad_json"
    message = "The request body is not what this call takes: {problem}"


class EmptyBody(BadJson):
    code = "IMG.0007"


class BadQuery(BadRequest):
    reason = "bad_query"
    message = "Query parameter {parameter} cannot be used: {problem}"


class UnknownStore(BadRequest):
    reason = "unknown_store"
    message = "There is no store {store!r} here; the stores are: {stores}"


class SizeMismatch(BadRequest):
    reason = "size_mismatch"
    code = "IMG.0057"
    message = "{announced} bytes were announced but {received} arrived"


class BodyCut(BadRequest):
    """The client went away, or the body ended before the length it promised."""

    reason = "body_cut"
    code = "IMG.0057"
    message = "The body ended after {received} bytes, before its announced end"


class UriRefused(BadRequest):
    reason = "uri_refused"
    code = "IMG.0017"
    message = "Nothing is downloaded from this URI: {problem}"


class DigestMismatch(BadRequest):
    reason = "digest_mismatch"
    code = "IMG.0057"
    message = "The data has the {algorithm} digest {found}, not {expected}"


class SignatureRefused(BadRequest):
    reason = "signature_refused"
    code = "IMG.0057"
    message = "The signature of the image cannot be verified: {problem}"


class LocationRefused(BadRequest):
    """Never shows the URL, which may hold what its sender should not have sent."""

    reason = "location_refused"
    message = "No image data is taken from this location: {problem}"


class LocationTaken(LocationRefused):
    message = "No image data is taken from this location: it holds the data of an image"


class FormatsNotSet(BadRequest):
    reason = "formats_not_set"
    code = "IMG.0057"
    message = "disk_format and container_format must be set before data is uploaded"


# 400 in the words of Huawei's image service


class Coded(BadRequest):
    """A refusal for which the service has several codes: the one given says what is wrong."""

    def __init__(self, code: str, **details: Any) -> None:
        super().__init__(**details)
        self.code = code


class BadImageUrl(Coded):
    reason = "bad_image_url"
    message = "It must name an object as bucket:object: {problem}"


class BadAttribute(Coded):
    reason = "bad_attribute"


class NotOffered(BadRequest):
    reason = "not_offered"
    code = "IMG.0105"
    message = "This is not offered here: {problem}"


class BucketNotAccessible(BadRequest):
    """The same answer whether a bucket is another project's, or missing, or closed to us."""

    reason = "bucket_not_accessible"
    code = "IMG.0069"
    message = "Bucket {bucket!r} does not exist or is not open to this project"


class SourceMissing(BadRequest):
    reason = "source_missing"
    code = "IMG.0057"
    message = "There is no object {object!r} in bucket {bucket!r}, or nothing is in it"


class WrongStorageClass(BadRequest):
    reason = "wrong_storage_class"
    code = "IMG.0057"
    message = "Object {object!r} is in the storage class {found}; this needs STANDARD"


class TargetExists(BadRequest):
    reason = "target_exists"
    code = "IMG.0070"
    message = "Bucket {bucket!r} has an object {object!r} already"


class ExportFormat(BadRequest):
    reason = "export_format"
    code = "IMG.0072"
    message = "The image is {found} and is exported as that: nothing is converted here"


class QuickImportFormat(BadRequest):
    reason = "quick_import_format"
    code = "IMG.0158"
    message = "A quick import takes raw and zvhd2, and the content is {found}"


# 401, 403, 404, 405


class Unauthenticated(Error):
    status, reason = 401, "unauthenticated"
    code = "APIGW.0301"
    message = "This request needs a valid token"


class RequestNotSigned(Unauthenticated):
    """Base of what is wrong with a signed request; the texts are the vendor's where it has one."""

    reason, gateway_code = "signature_missing", "APIGW.0301"
    message = "Incorrect IAM authentication information: x-auth-token not found"

    def __init__(self, **details: Any) -> None:
        super().__init__(headers={"WWW-Authenticate": "SDK-HMAC-SHA256"}, **details)


class SignatureMalformed(RequestNotSigned):
    reason = "signature_malformed"
    message = "Incorrect IAM authentication information: {problem}"


class KeyUnknown(RequestNotSigned):
    reason = "key_unknown"
    message = (
        "Incorrect IAM authentication information: "
        "Get secretKey failed,ak:{access},err:ak not exist"
    )


class SignatureExpired(RequestNotSigned):
    reason = "signature_expired"
    message = (
        "Incorrect IAM authentication information: calc aksk signature fail:signature expired, "
        "signature time:{signed},server time:{now}"
    )


class SignatureMismatch(RequestNotSigned):
    reason = "signature_mismatch"
    message = (
        "Incorrect IAM authentication information: "
        "verify aksk signature fail, canonicalRequest:{canonical}"
    )


class SecurityTokenRefused(RequestNotSigned):
    reason = "security_token_refused"
    message = (
        "Incorrect IAM authentication information: "
        "the security token is missing or not that of ak {access}"
    )


class SignedBodyTooLarge(RequestNotSigned):
    reason = "signed_body_too_large"
    message = "Incorrect IAM authentication information: calc aksk signature fail:body too large"


class SignedBodyDiffers(RequestNotSigned):
    reason = "signed_body_differs"
    message = (
        "Incorrect IAM authentication information: verify aksk signature fail, "
        "the body has the hash {found}, not {signed}"
    )


class Forbidden(Error):
    status, reason = 403, "forbidden"
    code = "IMG.0026"
    message = "You are not allowed to {action}"


class KeyForbidden(Forbidden):
    reason, gateway_code = "key_forbidden", "APIGW.0302"
    message = "The access key {access} is not for project {project}"


class ReadOnly(Forbidden):
    reason = "read_only"
    code = "IMG.0035"
    message = "Attribute '{name}' is read-only."


class LocationsInvisible(Forbidden):
    """Glance's words while ``show_multiple_locations`` is off, which here it always is."""

    reason = "locations_invisible"
    message = "It's not allowed to {verb} locations if locations are invisible."


class Reserved(Forbidden):
    reason = "reserved"
    code = "IMG.0035"
    message = "Attribute '{name}' is reserved."


class Protected(Forbidden):
    reason = "protected"
    code = "IMG.0091"
    message = "Image {image_id} is protected and cannot be deleted."


class Deactivated(Forbidden):
    reason = "deactivated"
    code = "IMG.0046"
    message = "The image data of {image_id} is deactivated and cannot be downloaded"


class NotFound(Error):
    status, reason = 404, "not_found"
    code = "IMG.0027"
    message = "{what} could not be found"


class NoRoute(NotFound):
    code = "APIGW.0101"


class JobNotFound(NotFound):
    code = "IMG.0023"
    message = "Job {job_id} could not be found"


class MethodNotAllowed(Error):
    status, reason = 405, "method_not_allowed"
    code = "APIGW.0101"
    message = "This resource takes only: {allowed}"


# 408


class TooSlow(Error):
    """Also of a client that has gone silent."""

    status, reason = 408, "too_slow"
    code = "IMG.0057"
    message = "The body came too slowly; {received} bytes of it were read"


# 409, 410, 411, 413, 415, 416


class Conflict(Error):
    status, reason = 409, "conflict"
    code = "IMG.0046"
    message = "{problem}"


class NoSuchProperty(Conflict):
    code = "IMG.0035"
    message = "Property {name} does not exist."


class PropertyExists(Conflict):
    code = "IMG.0035"
    message = "Property {name} already present."


class WrongStatus(Conflict):
    reason = "wrong_status"
    message = "Image {image_id} is {status}; this needs it to be {needed}"


class Cancelled(Conflict):
    """A job ends because its image is gone."""

    reason = "cancelled"
    code = "IMG.0144"
    message = "Image {image_id} was deleted meanwhile"


class AlreadyExists(Conflict):
    reason = "already_exists"
    code = "IMG.0035"
    message = "{what} exists already or existed before"


class MemberExists(AlreadyExists):
    """One that was removed may be added again."""

    message = "Image {image_id} is shared with project {member_id} already"


class Gone(Error):
    status, reason = 410, "image_gone"
    code = "IMG.0144"
    message = "Image {image_id} was deleted while its data was being uploaded"


class LengthRequired(Error):
    status, reason = 411, "length_required"
    code = "IMG.0001"
    message = "The end of this body cannot be known: send Content-Length, or chunked where served"


class TooLarge(Error):
    status, reason = 413, "too_large"
    code = "IMG.0059"
    message = "The body is larger than the {limit} bytes allowed"


class StoreFull(Error):
    status, reason = 413, "store_full"
    code = "IMG.0014"
    message = "Store {store!r} has no space left for this image"


class QuotaExceeded(Error):
    status, reason = 413, "quota_exceeded"
    code = "IMG.0015"
    message = "This would exceed the quota on {resource}: {limit}"


class MemberQuotaExceeded(QuotaExceeded):
    code = "IMG.0088"


class TagQuotaExceeded(QuotaExceeded):
    code = "IMG.0116"


class OverLimit(QuotaExceeded):
    """A limit on what the images of a project add up to; in oslo.limit's words, as in Glance."""

    reason = "limit_exceeded"
    message = (
        "Project {project} is over a limit for [Resource {resource} is over limit of {limit} "
        "due to current usage {usage} and delta {delta}]"
    )


class UnsupportedMediaType(Error):
    status, reason = 415, "unsupported_media_type"
    code = "IMG.0001"
    message = "Content-Type must be one of: {accepted}"


class BadImage(Error):
    """The image itself is refused: its content, never its transport.

    ``check`` names the inspection that failed, ``offset`` the byte at which the
    evidence stands, ``hint`` what the user can do about it.
    """

    status, reason = 415, "image_refused"
    code = "IMG.0057"
    message = "The image was refused ({check} at byte {offset}): {problem}. {hint}"

    def __init__(self, *, check: str, offset: int, problem: str, hint: str = "") -> None:
        super().__init__(check=check, offset=offset, problem=problem, hint=hint)


class FormatMismatch(BadImage):
    reason = "format_mismatch"


class BadRange(Error):
    """Glance answers 416 to a range it cannot read, where RFC 9110 would ignore it."""

    status, reason = 416, "bad_range"
    code = "IMG.0001"
    message = "{header} must be one byte range, such as bytes=0-499, bytes=500- or bytes=-500"


class RangeNotSatisfiable(Error):
    status, reason = 416, "range_not_satisfiable"
    code = "IMG.0001"
    message = "The requested range lies outside the {size} bytes of this image"


# What ends a job


class GivenUp(Error):
    reason = "given_up"
    message = "The worker died at each of {attempts} attempts"


class CopyDiffers(Error):
    reason = "copy_differs"
    code = "IMG.0014"
    message = "Store {store!r} gave other bytes than were stored there"


class SourceFailed(Error):
    """Where an import reads from did not give the whole of it."""

    status, reason = 502, "source_failed"
    code = "IMG.1075"
    message = "The data could not be read from its source: {problem}"


# 503


class Unavailable(Error):
    status, reason = 503, "unavailable"
    code = "IMG.0014"
    message = "{what} is not available now; try again later"

    def __init__(self, *, retry_after: int = 30, **details: Any) -> None:
        """``retry_after`` is in seconds."""
        super().__init__(headers={"Retry-After": str(retry_after)}, **details)


class Busy(Unavailable):
    reason = "busy"
    message = "As many uploads as may be are running here; try again later"


class StoreUnavailable(Unavailable):
    reason = "store_unavailable"
    message = "Store {store!r} cannot be used now: {problem}"


class StoreDenied(StoreUnavailable):
    reason = "store_denied"
    message = "Store {store!r} refuses this gateway: {problem}"


class ObjectNotFound(Exception):
    """A store holds nothing at this location. Callers decide what it means."""


def code_of(reason: str) -> str:
    """The code of the errors with this reason, as jobs remember it."""
    return _codes(Error).get(reason, Error.code)


def _codes(kind: type[Error]) -> dict[str, str]:
    codes: dict[str, str] = {}
    for sub in kind.__subclasses__():
        codes = {**_codes(sub), **codes}
    return {**codes, kind.reason: kind.code}
