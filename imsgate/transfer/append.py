"""One request of a resumable upload: it appends its content, and may complete the upload."""

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.model import Limits, Upload
from imsgate.transfer.part import Appended, Part
from imsgate.transfer.part_writer import PartWriter
from imsgate.transfer.resumable import ResumableUploads, unchanged


def append(uploads: ResumableUploads, upload: Upload, body: Tapped, part: Part) -> Appended:
    """Append a request's content to an upload; complete it if that was asked for.

    Nothing of ``body`` may have been read. Raises MismatchingOffset, InconsistentLength,
    CompletedUpload, UploadEnded, UploadTakenOver, and whatever reading and storing raise. After a
    temporary failure, the bytes that have arrived are kept. If the data is refused, the upload ends
    and everything is removed.
    """
    upload = uploads.settled(upload)
    _check_offset(upload, part)
    length = _length(uploads, upload, body, part)
    if body.length == 0 and not part.completes(upload.offset, length):
        return Appended(_with_length(uploads, upload, length), False, None)
    warm = uploads.examinations.take(upload.id, upload.epoch, upload.offset)
    upload = _claim(uploads, upload, part, length)
    return PartWriter(uploads, upload, part, warm).receive(body)


def _check_offset(upload: Upload, part: Part) -> None:
    if part.offset != upload.offset:
        raise errors.MismatchingOffset(expected_offset=upload.offset, provided_offset=part.offset)


def _length(uploads: ResumableUploads, upload: Upload, body: Tapped, part: Part) -> int | None:
    """The length of the complete upload, if anything tells. Raises InconsistentLength."""
    length = upload.length
    end = None if body.length is None else upload.offset + body.length
    for given in (part.length, end if part.complete else None):
        if given is not None and length is not None and given != length:
            raise errors.InconsistentLength(length=length, given=given)
        length = given if length is None else length
    if length is not None and length > (limit := uploads.limit()):
        raise errors.TooLarge(limit=limit)
    if length is not None and max(upload.offset, end or 0) > length:
        # The draft requires the upload to end then (section 4.4.2).
        error = errors.InconsistentLength(length=length, given=max(upload.offset, end or 0))
        uploads.cancel(upload, str(error))
        raise error
    return length


def _with_length(uploads: ResumableUploads, upload: Upload, length: int | None) -> Upload:
    if length == upload.length:
        return upload
    limits, to = _reservation(uploads, upload, length)
    return uploads.registry.change_upload(
        upload.id, upload.epoch, {"length": length}, unchanged(upload), limits, **to
    )


def _claim(uploads: ResumableUploads, upload: Upload, part: Part, length: int | None) -> Upload:
    """Give this request the sole right to write. Raises what ``append`` raises."""
    expires = uploads.expiry()
    fields = {"writing": True, "length": length, "expires": expires}

    def claim(current: Upload) -> Upload:
        if current.writing:  # otherwise it was checked just now
            current = uploads.settled(current)
        _check_offset(current, part)
        limits, to = _reservation(uploads, current, length)
        return uploads.registry.change_upload(
            current.id,
            current.epoch,
            {**fields, "epoch": current.epoch + 1},
            unchanged(current),
            limits,
            upload_expires=expires,
            **to,
        )

    return uploads.retried(upload, claim)


def _reservation(
    uploads: ResumableUploads, upload: Upload, length: int | None
) -> tuple[Limits | None, dict[str, int]]:
    """The limits of the image's owner, and what to reserve when the length becomes known."""
    if length is None or upload.length is not None:
        return None, {}
    image = uploads.registry.get(upload.image_id)
    return uploads.quotas.of(image.owner), {"upload_reserved": length}
