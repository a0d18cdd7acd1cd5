"""Verifying a resumable upload whose requests came to several processes.

The data is complete, and lies in its store. No process has examined all of it, so it is read
once more, with the same inspection as any upload, before it becomes the image's data.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from imsgate import errors, hashing
from imsgate.http import upload_headers
from imsgate.jobs.arguments import UploadArguments
from imsgate.jobs.context import Context
from imsgate.jobs.engine import Work
from imsgate.jobs.progress import ProgressTap
from imsgate.model import Image, Job, Location, Upload, UploadState
from imsgate.sources.base import lost_data_fails_source
from imsgate.sources.stored import StoredSources
from imsgate.transfer.copy import copy, data_fields
from imsgate.transfer.digests import Digests
from imsgate.transfer.examination import check_digests
from imsgate.transfer.resumable import ResumableUploads, transition
from imsgate.transfer.upload import NO_UPLOAD

#: The kind of these jobs.
KIND = "upload"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VerifyUpload(Work):
    """The work of jobs that verify uploads. ``reauthorize`` raises what the uploader would be
    refused with now."""

    uploads: ResumableUploads
    sources: StoredSources
    reauthorize: Callable[[Job], object] = lambda job: None

    def is_transient(self, error: errors.Error) -> bool:
        """The source is a store."""
        return isinstance(error, errors.StoreUnavailable)

    def run(self, job: Job, context: Context) -> None:
        arguments = UploadArguments.of(job)
        upload = self.uploads.registry.get_upload(arguments.upload_id)
        context.check()
        upload = self.uploads.verifying(upload, job.id)
        if upload.state is UploadState.ENDED:
            raise errors.UploadEnded(why=upload.reason)
        location = Location(upload.store, self._committed(upload))
        fields = self._data_fields(upload, location, arguments.certificate, context)
        context.retry_while_unavailable(lambda: self.reauthorize(job))
        context.renew()
        context.succeed(lambda image: _activated(image, upload, location, fields))
        self.uploads.close(upload, UploadState.COMPLETE)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """Nothing is left of the data, and the image, if it still exists, is ``queued`` again."""
        upload = self.uploads.registry.get_upload(UploadArguments.of(job).upload_id)
        self.uploads.close(upload, UploadState.ENDED, str(error))
        self.uploads.release(upload)
        context.fail(error)

    def _committed(self, upload: Upload) -> str:
        """The object; this attempt at the job, or one before it, makes it from the upload."""
        store = self.uploads.store(upload)
        with lost_data_fails_source(Location(upload.store, "")):
            size, offset = upload.planned_size, upload.offset
            return store.resume(upload.key, size, offset, upload.epoch).commit()

    def _data_fields(
        self, upload: Upload, location: Location, certificate: bytes | None, context: Context
    ) -> Mapping[str, Any]:
        """The fields of a record that has the object as its data. Raises to refuse it."""
        algorithm = self.uploads.settings.hashing_algorithm
        expected = upload_headers.digests(upload.digest)
        digests = Digests(tuple(dict.fromkeys((hashing.CHECKSUM, algorithm, *expected))))
        with (
            lost_data_fails_source(location),
            self.sources.open(
                context.image(), location, certificate=certificate, is_signed=not upload.staged
            ) as source,
        ):
            source.body.join(ProgressTap(context.report, source.size))
            size = copy(source.body, None, digests, context.check)
            if size != upload.offset:
                raise errors.SizeMismatch(announced=upload.offset, received=size)
            check_digests(digests, expected)
            return {**data_fields(size, digests, algorithm), **source.content_fields()}


def _activated(
    image: Image, upload: Upload, location: Location, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields that make the object this image's data. Raises Conflict."""
    if image.upload_key != upload.key:
        raise errors.Conflict(problem=f"Image {image.id} no longer takes this upload")
    to = {"status": transition(upload).after, "locations": (location,)}
    return {**fields, **to, **NO_UPLOAD}
