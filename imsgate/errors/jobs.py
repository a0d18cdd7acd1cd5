"""Jobs: unknown, or failed."""

from imsgate.errors.base import BadRequest, Conflict, Error, NotFound


class JobNotFound(NotFound):
    code = "IMG.0023"
    message = "Job {job_id} could not be found"


class Cancelled(Conflict):
    """A job ends because its image was deleted."""

    reason = "cancelled"
    code = "IMG.0144"
    message = "Image {image_id} was deleted during the job"


class GivenUp(Error):
    reason = "given_up"
    message = "The job failed: its worker died at each of {attempts} attempts"


class CopyDiffers(Error):
    reason = "copy_differs"
    code = "IMG.0014"
    message = "Store {store!r} returned different data than was stored there"


class UriRefused(BadRequest):
    reason = "uri_refused"
    code = "IMG.0017"
    message = "Refused to download from this URI: {problem}"


class SourceFailed(Error):
    """The source of an import did not deliver all of the data."""

    status, reason = 502, "source_failed"
    code = "IMG.1075"
    message = "The data could not be read from its source: {problem}"


class ChecksumUnknown(Error):
    """The file of digests that a download names does not say the digest of the data."""

    status, reason = 502, "checksum_unknown"
    code = "IMG.1075"
    message = "The digest that the data should have is not known: {problem}"


class ChecksumUntrusted(Error):
    """The file of digests that a download names has no valid signature of a trusted key."""

    status, reason = 502, "checksum_untrusted"
    code = "IMG.1075"
    message = "The signature of the file of digests is not accepted: {problem}"


class SourceUnavailable(SourceFailed):
    """The source may deliver the data later: it cannot be reached, or fails by itself. Jobs try
    again for a while."""


class ScratchFull(SourceUnavailable):
    """A conversion has no space now. Jobs try again for a while."""

    reason = "scratch_full"
    message = "The image could not be converted: {problem}"


class ScratchTooSmall(Error):
    status, reason = 413, "scratch_too_small"
    code = "IMG.0014"
    message = (
        "The image could not be converted: that needs {needed} bytes of scratch space, and this "
        "gateway has {limit}"
    )


class ConversionFailed(BadRequest):
    reason = "conversion_failed"
    code = "IMG.1075"
    message = "qemu-img could not convert the image: {problem}"
