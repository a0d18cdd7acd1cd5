"""Verifies resumable uploads whose requests reached several processes.

No process has examined all of their data. So it is read once more, with the same inspection as any
upload, before it becomes the image's data. If the image's store cannot suspend uploads, the data is
in another store and is copied while it is read.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from imsgate import errors
from imsgate.http import upload_headers
from imsgate.jobs.arguments import UploadArguments
from imsgate.jobs.context import Context
from imsgate.jobs.import_cleanup import ImportCleanup
from imsgate.jobs.progress import ProgressTap
from imsgate.jobs.work import Work
from imsgate.model import Identity, Image, Job, Location, Upload, UploadState
from imsgate.sources.base import lost_data_fails_source
from imsgate.sources.stored import StoredSources
from imsgate.stores.base import Sink
from imsgate.transfer.copy import copy, data_fields
from imsgate.transfer.digests import Digests
from imsgate.transfer.examination import check_digests
from imsgate.transfer.repeat import fields_of_uploader
from imsgate.transfer.resumable import ResumableUploads, transition
from imsgate.transfer.upload import NO_UPLOAD

#: The kind of these jobs.
KIND = "upload"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VerifyUpload(Work):
    """The work of jobs that verify uploads. ``reauthorize`` raises if the uploader would be refused
    now."""

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
        kept = Location(upload.store, self._committed(upload))
        sink = self._target(upload, job, context)
        fields = self._data_fields(upload, kept, sink, arguments.certificate, context)
        context.retry_while_unavailable(lambda: self.reauthorize(job))
        context.renew()
        location = kept if sink is None else Location(str(upload.target), sink.commit())
        context.succeed(lambda image: _activated(image, upload, location, fields))
        self.uploads.close(upload, UploadState.COMPLETE)
        if sink is not None:
            self.uploads.discard(upload)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """Remove all data; the image, if it still exists, is ``queued`` again."""
        upload = self.uploads.registry.get_upload(UploadArguments.of(job).upload_id)
        if upload.target is not None:
            cleanup = ImportCleanup(self.uploads.stores, job, context)
            cleanup.clear_earlier_attempts([upload.target])
            cleanup.clear_this_attempt(upload.target)
        self.uploads.close(upload, UploadState.ENDED, str(error))
        self.uploads.release(upload)
        context.fail(error)

    def _target(self, upload: Upload, job: Job, context: Context) -> Sink | None:
        """The sink that the data is copied into; None if it is already in the right store."""
        if upload.target is None:
            return None
        cleanup = ImportCleanup(self.uploads.stores, job, context)
        cleanup.clear_earlier_attempts([upload.target])
        return self.uploads.stores.target(upload.target).create(cleanup.key, upload.offset)

    def _committed(self, upload: Upload) -> str:
        """Commit the upload, unless an earlier attempt at this job has; return the location."""
        store = self.uploads.store(upload)
        with lost_data_fails_source(Location(upload.store, "")):
            size, offset = upload.planned_size, upload.offset
            return store.resume(upload.key, size, offset, upload.epoch).commit()

    def _data_fields(
        self,
        upload: Upload,
        location: Location,
        sink: Sink | None,
        certificate: bytes | None,
        context: Context,
    ) -> Mapping[str, Any]:
        """The fields of a record that has the object, or its copy in ``sink``, as its data.

        Raises to refuse it; the sink is aborted then.
        """
        algorithms = self.uploads.settings.algorithms
        expected = upload_headers.digests(upload.digest)
        digests = Digests(tuple(dict.fromkeys((*algorithms.names(), *expected))))
        with (
            contextlib.ExitStack() as until_read,
            lost_data_fails_source(location),
            self.sources.open(
                context.image(), location, certificate=certificate, is_signed=not upload.staged
            ) as source,
        ):
            if sink is not None:
                until_read.push(sink)
            source.body.join(ProgressTap(context.report, source.size))
            size = copy(source.body, sink, digests, context.check)
            if size != upload.offset:
                raise errors.SizeMismatch(announced=upload.offset, received=size)
            check_digests(digests, expected)
            fields = {**data_fields(size, digests, algorithms), **source.content_fields()}
            until_read.pop_all()  # the sink is to be committed
            return fields


def _activated(
    image: Image, upload: Upload, location: Location, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields that make the object this image's data. Raises Conflict."""
    if image.upload_key != upload.key:
        raise errors.Conflict(problem=f"Image {image.id} no longer accepts this upload")
    who = Identity(user_id=upload.user, project_id=upload.project)
    to = {"status": transition(upload).after, "locations": (location,)}
    return {**fields, **to, **fields_of_uploader(who, transition(upload)), **NO_UPLOAD}
