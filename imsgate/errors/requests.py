"""What is wrong with a request itself: its path, header, query, or body."""

from imsgate.errors.base import BadRequest, Conflict, Error, NotFound, Unavailable


class NoRoute(NotFound):
    code = "APIGW.0101"


class MethodNotAllowed(Error):
    status, reason = 405, "method_not_allowed"
    code = "APIGW.0101"
    message = "Method not allowed; this resource supports: {allowed}"


class BadHeader(BadRequest):
    reason = "bad_header"
    message = "Invalid header {header}: {problem}"


#: The page that defines Idempotency-Key. Its sections are the types of problems with it.
_KEYS = "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07"


class BadIdempotencyKey(BadHeader):
    problem_type = _KEYS + "#section-2.1"


class KeyReused(Error):
    status, reason = 422, "idempotency_key_reused"
    code = "IMG.0001"
    problem_type = _KEYS + "#section-2.2"
    message = "This Idempotency-Key was used for another request; use a new one"


class KeyInUse(Conflict):
    """Another request with the same key is at work, or has taken the key over."""

    reason = "idempotency_key_in_use"
    problem_type = _KEYS + "#section-2.6"
    message = "The first request with this Idempotency-Key is still being processed; ask again"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class BadQuery(BadRequest):
    reason = "bad_query"
    message = "Invalid query parameter {parameter}: {problem}"


class BadJson(BadRequest):
    reason = "bad_json"
    message = "Invalid request body: {problem}"


class EmptyBody(BadJson):
    code = "IMG.0007"


class UnsupportedMediaType(Error):
    status, reason = 415, "unsupported_media_type"
    code = "IMG.0001"
    message = "Content-Type must be one of: {accepted}"


class UnsupportedCoding(Error):
    """``accepted`` lists the codings that this resource accepts (RFC 9110 section 15.5.16)."""

    status, reason = 415, "unsupported_content_coding"
    code = "IMG.0001"
    message = "Content-Encoding must be one of: {accepted}"

    def __init__(self, *, accepted: str) -> None:
        super().__init__(accepted=accepted, headers={"Accept-Encoding": accepted})


# Bodies


class LengthRequired(Error):
    status, reason = 411, "length_required"
    code = "IMG.0001"
    message = "Content-Length is required: this server cannot detect the end of a chunked body"


class TooLarge(Error):
    status, reason = 413, "too_large"
    code = "IMG.0059"
    message = "The request body is larger than the limit of {limit} bytes"


class SizeMismatch(BadRequest):
    reason = "size_mismatch"
    code = "IMG.0057"
    message = "{announced} bytes were announced, but {received} bytes were received"


class BodyCut(BadRequest):
    """The client closed the connection, or the body ended before its announced length."""

    reason = "body_cut"
    code = "IMG.0057"
    message = "The request body is incomplete: it ended after {received} bytes"


class BadCoding(BadRequest):
    """The body is not what its Content-Encoding says, or decodes to too much."""

    reason = "bad_content_coding"
    code = "IMG.0057"
    message = "The Content-Encoding of the request body is {coding}, and {problem}"


class TooSlow(Error):
    """The client sent too slowly, or nothing at all."""

    status, reason = 408, "too_slow"
    code = "IMG.0057"
    message = "The request body was sent too slowly: {received} bytes were received"


class Busy(Unavailable):
    reason = "busy"
    message = "Too many uploads are in progress; try again later"


class BusyBodies(Busy):
    message = "Too many requests are waiting for their bodies; try again later"


class BusyResponses(Busy):
    message = "Too many long responses are being sent; try again later"


class BusyDownloads(Busy):
    message = "Too many downloads are in progress; try again later"


# Ranges


class BadRange(Error):
    """Glance answers 416 to GET of image data with an invalid range, which RFC 9110 says to
    ignore. On all other requests it is ignored."""

    status, reason = 416, "bad_range"
    code = "IMG.0001"
    message = "{header} must be one byte range, such as bytes=0-499, bytes=500- or bytes=-500"


class RangeNotSatisfiable(Error):
    status, reason = 416, "range_not_satisfiable"
    code = "IMG.0001"
    message = "The requested range is outside the {size} bytes of this image"
