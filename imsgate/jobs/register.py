"""Objects in users' buckets as images: the source of the jobs that register and create them."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imsgate import errors, gating
from imsgate.formats.gate import Gate
from imsgate.image_url import Allowed, ImageUrl
from imsgate.jobs.context import Context
from imsgate.jobs.sources import Gated, sized, verification
from imsgate.model import Image, Job
from imsgate.signatures import Signatures
from imsgate.stores.buckets import Buckets

#: The kinds of these jobs: into an image that was there, and into one made for it, which
#: does not outlive a failure.
REGISTER, CREATE = "ims-register", "ims-create"

#: What jobs are told to take as a quick import.
QUICK = ("raw", "zvhd2")

_STANDARD = "STANDARD"


class _Object(Gated):
    """An object as it passes the gate. ``formats`` is what it may hold; empty: any image."""

    formats: Sequence[str] = ()

    def facts(self) -> Mapping[str, Any]:
        facts = self._inspection.facts
        content = "raw" if facts is None else facts.format
        if self.formats and content not in self.formats:
            raise errors.QuickImportFormat(found=content)
        return super().facts()


@dataclasses.dataclass(frozen=True, slots=True)
class BucketSources:
    """Objects to import. ``limit`` is the largest in bytes."""

    buckets: Buckets
    allowed: Allowed
    gate: Gate
    limit: int
    signatures: Signatures

    def as_is(self, image: Image) -> bool:
        return False

    @contextlib.contextmanager
    def open(self, image: Image, job: Job, context: Context) -> Iterator[Gated]:
        """The object that the job names. That the project may use it is asked once more."""
        url = ImageUrl(*job.arguments["object"])
        self.allowed.check(job.project, url.bucket)
        found = self.buckets.find(url.bucket, url.key)
        if found is None or found.size == 0:
            raise errors.SourceMissing(bucket=url.bucket, object=url.key)
        if found.storage_class != _STANDARD:
            raise errors.WrongStorageClass(object=url.key, found=found.storage_class)
        chunks: Any = self.buckets.read(url.bucket, url.key)
        with contextlib.closing(chunks):
            inspection = self.gate.begin(gating.declared(image))
            watch = verification(self.signatures, image, job)
            data = _Stream(chunks)
            stream = _Object(image, data, found.size, inspection, self.limit, verification=watch)
            stream.formats = job.arguments.get("formats", ())
            yield stream


class _Stream:
    """Chunks as the file that ``Gated`` reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.read = sized(chunks)
