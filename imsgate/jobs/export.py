"""Exports: images into users' buckets."""

import contextlib
import dataclasses
from collections.abc import Callable

from imsgate import errors
from imsgate.buckets.base import Accounts, Buckets
from imsgate.buckets.image_url import Allowed, ImageUrl
from imsgate.http.body import Tapped
from imsgate.jobs.arguments import ExportArguments, when_begun
from imsgate.jobs.context import Context
from imsgate.jobs.progress import ProgressTap
from imsgate.jobs.work import Work
from imsgate.model import Image, Job, Status
from imsgate.sources.base import ByteStream
from imsgate.stores.enabled import Stores
from imsgate.transfer.copy import copy
from imsgate.transfer.digests import Digests

#: The kind of these jobs.
KIND = "ims-export"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExportWork(Work):
    """The work of export jobs: the bytes as they are in the store, compared with the record.

    ``reauthorize`` raises if the requester would be refused now.
    """

    stores: Stores
    accounts: Accounts
    allowed: Allowed
    reauthorize: Callable[[Job], object]

    def is_transient(self, error: errors.Error) -> bool:
        """The bucket that is written to may be unavailable as well."""
        away = isinstance(error, errors.SourceUnavailable | errors.StoreUnavailable)
        return away and not isinstance(error, errors.StoreDenied)

    def run(self, job: Job, context: Context) -> None:
        arguments = ExportArguments.of(job)
        url, buckets = arguments.url, self.accounts.of(job.project)
        if arguments.begun:
            buckets.discard(url.bucket, url.key, arguments.begun)
        context.check()
        self.allowed.check(job.project, url.bucket)
        image = _active(context)
        info = buckets.find(url.bucket, url.key)
        if info is None:
            self._write(buckets, image, url, job, context)
        # A worker that died may have written it before it could record that.
        elif not (
            job.epoch > 1 and info.size == image.size and _has_data(buckets, url, image, context)
        ):
            raise errors.TargetExists(bucket=url.bucket, object=url.key)

    def _write(
        self, buckets: Buckets, image: Image, url: ImageUrl, job: Job, context: Context
    ) -> None:
        location = self.stores.preferred(image.copies)[0]
        try:
            stream = ByteStream.of(self.stores.get(location.store).read(location.url))
        except errors.ObjectNotFound as error:
            raise errors.CopyDiffers(store=location.store) from error
        with (
            contextlib.closing(stream),
            buckets.create(url.bucket, url.key, image.size or 0) as sink,
        ):
            if sink.begun is not None:
                context.add_arguments(when_begun(sink.begun))
            body, digests = Tapped(stream, None), Digests([str(image.os_hash_algo)])
            body.join(ProgressTap(context.report, image.size))
            count = copy(body, sink, digests, context.check)
            if (count, digests.values()[str(image.os_hash_algo)]) != (
                image.size,
                image.os_hash_value,
            ):
                raise errors.CopyDiffers(store=location.store)
            context.retry_while_unavailable(lambda: self.reauthorize(job))
            _active(context)
            if buckets.find(url.bucket, url.key) is not None:
                # Some services replace an existing object when another is committed.
                raise errors.TargetExists(bucket=url.bucket, object=url.key)
            context.renew()  # a stale worker notices before it commits
            sink.commit()


def _active(context: Context) -> Image:
    """The image. Raises WrongStatus if it was deactivated: nobody may read it then."""
    image = context.image()
    image.require(Status.ACTIVE)
    return image


def _has_data(buckets: Buckets, url: ImageUrl, image: Image, context: Context) -> bool:
    """Whether the object is a copy of the image's data."""
    algorithm = str(image.os_hash_algo)
    digests = Digests([algorithm])
    with contextlib.closing(ByteStream.of(buckets.read(url.bucket, url.key))) as stream:
        copy(Tapped(stream, None), None, digests, context.check)
        return digests.values()[algorithm] == image.os_hash_value
