"""Images into users' buckets."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from imsgate import errors
from imsgate.buckets.base import Accounts, Buckets
from imsgate.buckets.image_url import Allowed, ImageUrl
from imsgate.jobs.context import Context
from imsgate.model import Image, Job, Status
from imsgate.sources.inspected import sized
from imsgate.stores.loader import Stores
from imsgate.transfer import upload
from imsgate.transfer.digests import Digests

#: The kind of these jobs.
KIND = "ims-export"

#: The argument that names what the last attempt began in the bucket.
_BEGUN = "begun"


@dataclasses.dataclass(frozen=True, slots=True)
class ExportWork:
    """The work of export jobs: the bytes as they are in the store, compared on the way.

    ``recheck`` raises why a job is to be refused after all.
    """

    stores: Stores
    accounts: Accounts
    allowed: Allowed
    recheck: Callable[[Job], object]

    def __call__(self, job: Job, context: Context) -> None:
        url = ImageUrl(*job.arguments["object"])
        buckets = self.accounts.of(job.project)
        if begun := job.arguments.get(_BEGUN):
            buckets.discard(url.bucket, url.key, begun)
        context.check()
        self.allowed.check(job.project, url.bucket)
        image = _active(context)
        if (found := buckets.find(url.bucket, url.key)) is not None:
            # It may be what a worker wrote that died before it could say so.
            if (
                job.epoch > 1
                and found.size == image.size
                and _is_there(buckets, image, url, context)
            ):
                return
            raise errors.TargetExists(bucket=url.bucket, object=url.key)
        self._write(buckets, image, url, job, context)

    def _write(
        self, buckets: Buckets, image: Image, url: ImageUrl, job: Job, context: Context
    ) -> None:
        location = self.stores.preferred(image.copies)[0]
        size, algorithm = image.size or 0, str(image.os_hash_algo)
        try:
            chunks: Any = self.stores.get(location.store).read(location.url)
        except errors.ObjectNotFound as error:
            raise errors.CopyDiffers(store=location.store) from error
        with (
            contextlib.closing(chunks),
            buckets.create(url.bucket, url.key, size) as sink,
        ):
            digests = Digests([algorithm])
            if sink.begun is not None:
                context.note({_BEGUN: sink.begun})
            read, done = sized(chunks), 0

            def counted(size: int) -> bytes:
                nonlocal done
                chunk = read(size)
                done += len(chunk)
                context.report(done, image.size)
                return chunk

            count = upload.copy(counted, sink, digests, context.check)
            if (count, digests.values()[algorithm]) != (image.size, image.os_hash_value):
                raise errors.CopyDiffers(store=location.store)
            context.ask(self.recheck)
            _active(context)
            if buckets.find(url.bucket, url.key) is not None:
                # Not every service refuses to replace an object.
                raise errors.TargetExists(bucket=url.bucket, object=url.key)
            context.renew()  # a stale worker finds out before it commits
            sink.commit()


def _active(context: Context) -> Image:
    """The image. Raises WrongStatus when it was deactivated meanwhile: nobody may read it then."""
    image = context.image()
    image.require(Status.ACTIVE)
    return image


def _is_there(buckets: Buckets, image: Image, url: ImageUrl, context: Context) -> bool:
    chunks: Any = buckets.read(url.bucket, url.key)
    with contextlib.closing(chunks):
        return _digest(image, chunks, context) == image.os_hash_value


def _digest(image: Image, chunks: Iterable[bytes], context: Context) -> str:
    digest = hashlib.new(str(image.os_hash_algo), usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
        context.check()
    return digest.hexdigest()
