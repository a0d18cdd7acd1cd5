"""Refusals of requests to resumable uploads.

The problem types are those of draft-ietf-httpbis-resumable-upload, section 6.
"""

from imsgate.errors.base import BadRequest, Conflict, Error

_TYPES = "https://iana.org/assignments/http-problem-types#"


class MismatchingOffset(Conflict):
    """The client does not continue at the end of what is stored."""

    reason = "mismatching_upload_offset"
    problem_type = _TYPES + "mismatching-upload-offset"
    message = "The upload is at offset {expected_offset}, not {provided_offset}"

    def __init__(self, *, expected_offset: int, provided_offset: int) -> None:
        super().__init__(
            expected_offset=expected_offset,
            provided_offset=provided_offset,
            headers={"Upload-Offset": str(expected_offset), "Upload-Complete": "?0"},
        )


class InconsistentLength(BadRequest):
    reason = "inconsistent_upload_length"
    problem_type = _TYPES + "inconsistent-upload-length"
    message = "The upload has a length of {length} bytes, but this request makes it {given}"

    def __init__(self, *, length: int, given: int) -> None:
        super().__init__(length=length, given=given, headers={"Upload-Complete": "?0"})


class CompletedUpload(BadRequest):
    reason = "completed_upload"
    problem_type = _TYPES + "completed-upload"
    message = "The upload is complete"

    def __init__(self) -> None:
        super().__init__(headers={"Upload-Complete": "?1"})


class UploadEnded(Error):
    """The upload cannot go on. ``why`` is the reason that ended it."""

    status, reason = 410, "upload_ended"
    code = "IMG.0144"
    message = "This upload has ended: {why}"


class UploadTakenOver(Conflict):
    """A later request for the same upload has ended this one."""

    reason = "upload_taken_over"
    message = "A later request continues this upload"


class NotResumable(Conflict):
    reason = "not_resumable"
    message = "Store {store} cannot take an upload in parts; send the image in one request"


class TusVersion(Error):
    status, reason = 412, "tus_version"
    code = "IMG.0001"
    message = "Tus-Resumable must be {version}"


class ContentDigestMismatch(BadRequest):
    """Nothing of the request's content was kept."""

    reason = "content_digest_mismatch"
    message = "The {algorithm} digest of this request's content is {found}, not {expected}"
