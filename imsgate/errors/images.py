"""What an image's record or data does not allow."""

from typing import Any

from imsgate.errors.base import BadRequest, Conflict, Error, Forbidden

# Records. The messages that end with a full stop are Glance's.


class ReadOnly(Forbidden):
    reason = "read_only"
    code = "IMG.0035"
    message = "Attribute '{name}' is read-only."


class Reserved(Forbidden):
    reason = "reserved"
    code = "IMG.0035"
    message = "Attribute '{name}' is reserved."


class NoSuchProperty(Conflict):
    code = "IMG.0035"
    message = "Property {name} does not exist."


class PropertyExists(Conflict):
    code = "IMG.0035"
    message = "Property {name} already present."


class AlreadyExists(Conflict):
    reason = "already_exists"
    code = "IMG.0035"
    message = "{what} exists, or existed before"


class MemberExists(AlreadyExists):
    """A member that was removed may be added again."""

    message = "Image {image_id} is already shared with project {member_id}"


# Status


class WrongStatus(Conflict):
    reason = "wrong_status"
    message = "Image {image_id} is {status}, but must be {needed}"


class DataDiffers(Conflict):
    """A repeated upload with other data than the image has."""

    reason = "data_differs"
    message = "Image {image_id} is {status} and has other data: {problem}"


class Protected(Forbidden):
    reason = "protected"
    code = "IMG.0091"
    message = "Image {image_id} is protected and cannot be deleted."


class Deactivated(Forbidden):
    reason = "deactivated"
    code = "IMG.0046"
    message = "Image {image_id} is deactivated; its data cannot be downloaded"


class Gone(Error):
    status, reason = 410, "image_gone"
    code = "IMG.0144"
    message = "Image {image_id} was deleted during the upload"


class LeaseLost(Error):
    """Another process took this upload for dead. The image is free, so the client may try again
    at once."""

    status, reason = 503, "lease_lost"
    code = "IMG.0014"
    message = "This upload to image {image_id} was interrupted for too long; send the data again"

    def __init__(self, **details: Any) -> None:
        super().__init__(headers={"Retry-After": "0"}, **details)


# Data


class ImageDamaged(Error):
    """Clients would find out themselves, by the digest, but only after the download."""

    status, reason = 500, "image_damaged"
    message = "The data of this image is damaged in every store that has it"


class FormatsNotSet(BadRequest):
    reason = "formats_not_set"
    code = "IMG.0057"
    message = "Set disk_format and container_format before you upload data"


class DigestMismatch(BadRequest):
    reason = "digest_mismatch"
    code = "IMG.0057"
    message = "The {algorithm} digest of the data is {found}, not {expected}"


class SignatureRefused(BadRequest):
    reason = "signature_refused"
    code = "IMG.0057"
    message = "The signature of the image cannot be verified: {problem}"


class BadImage(Error):
    """The content of the image is refused.

    ``check`` names the format check that failed, ``offset`` is the byte where the evidence
    begins, and ``hint`` says what the user can do.
    """

    status, reason = 415, "image_refused"
    code = "IMG.0057"
    message = "The image was refused ({check} at byte {offset}): {problem}. {hint}"

    def __init__(self, *, check: str, offset: int, problem: str, hint: str = "") -> None:
        super().__init__(check=check, offset=offset, problem=problem, hint=hint)


class FormatMismatch(BadImage):
    reason = "format_mismatch"


# Locations


class LocationsInvisible(Forbidden):
    """Glance's message if ``show_multiple_locations`` is off, as it always is here."""

    reason = "locations_invisible"
    message = "It's not allowed to {verb} locations if locations are invisible."


class LocationRefused(BadRequest):
    """The message never contains the URL, which may hold credentials."""

    reason = "location_refused"
    message = "This location cannot be used: {problem}"


class LocationTaken(LocationRefused):
    message = "This location cannot be used: it already has the data of an image"
