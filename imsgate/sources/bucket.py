"""Objects in users' buckets as images: the source of the jobs that register and create them."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imsgate import errors
from imsgate.buckets.base import Accounts, Buckets, ObjectInfo
from imsgate.buckets.image_url import Allowed, ImageUrl
from imsgate.formats.inspector import Inspector
from imsgate.inspection import declared_format
from imsgate.jobs.context import Context
from imsgate.model import Image, Job
from imsgate.signatures.verify import Signatures
from imsgate.sources.inspected import InspectedSource, sized, verification
from imsgate.stores.base import Copies, Sink, Store

LOG = logging.getLogger(__name__)

#: The kinds of these jobs: into an image that was there, and into one made for it, which
#: does not outlive a failure.
REGISTER, CREATE = "ims-register", "ims-create"

#: What jobs are told to take as a quick import.
QUICK = ("raw", "zvhd2")

#: Bytes that the gate looks at before an object is copied: every header lies in them.
HEAD = 1 << 20

_STANDARD = "STANDARD"


class BucketObject(InspectedSource):
    """An object as it passes the gate. ``formats`` is what it may hold; empty: any image.
    ``copying`` is how a store is asked for a copy."""

    formats: Sequence[str] = ()
    copying: Callable[[Store, str], Sink | None]

    def copied(self, store: Store, key: str) -> Sink | None:
        return self.copying(store, key)

    def facts(self) -> Mapping[str, Any]:
        facts = self._inspection.image_info
        content = "raw" if facts is None else facts.format
        if self.formats and content not in self.formats:
            raise errors.QuickImportFormat(found=content)
        return super().facts()


@dataclasses.dataclass(frozen=True, slots=True)
class BucketSources:
    """Objects to import. ``limit`` is the largest in bytes."""

    accounts: Accounts
    allowed: Allowed
    gate: Inspector
    limit: int
    signatures: Signatures

    def as_is(self, image: Image) -> bool:
        return False

    @contextlib.contextmanager
    def open(self, image: Image, job: Job, context: Context) -> Iterator[InspectedSource]:
        """The object that the job names. That the project may use it is asked once more."""
        url = ImageUrl(*job.arguments["object"])
        self.allowed.check(job.project, url.bucket)
        buckets = self.accounts.of(job.project)
        found = buckets.find(url.bucket, url.key)
        if found is None or found.size == 0:
            raise errors.SourceMissing(bucket=url.bucket, object=url.key)
        if found.storage_class != _STANDARD:
            raise errors.WrongStorageClass(object=url.key, found=found.storage_class)
        with contextlib.closing(_Stream(buckets.read(url.bucket, url.key))) as data:
            inspection = self.gate.begin(declared_format(image))
            watch = verification(self.signatures, image, job)
            stream = BucketObject(
                image, data, found.size, inspection, self.limit, verification=watch
            )
            stream.formats = job.arguments.get("formats", ())
            stream.copying = functools.partial(self._copy, buckets, image, context, found, data)
            yield stream

    def _copy(
        self,
        buckets: Buckets,
        image: Image,
        context: Context,
        found: ObjectInfo,
        data: "_Stream",
        store: Store,
        key: str,
    ) -> Sink | None:
        """Have ``store`` copy the object where that can be, and ``data`` be the copy.

        What is checked and digested is then what the store keeps, whatever becomes of the
        object meanwhile. The object's own first bytes are looked at before: most of what the
        gate refuses is refused by them, and not copied.
        """
        origin = found.copy_source
        if origin is None or not isinstance(store, Copies):
            return None
        head: Any = buckets.read(origin.bucket, origin.key, min(HEAD, found.size))
        with contextlib.closing(head):
            inspection = self.gate.begin(declared_format(image))
            for chunk in head:
                inspection.feed(chunk)
        sink = store.copy(key, origin, found.size, context.check)
        if sink is None:
            return None
        with sink:
            context.renew()  # what was begun before others took over is not committed
            location = sink.commit()
        try:
            data.turn(store.read(location))
        except errors.ObjectNotFound:
            problem = "the copy was discarded"
            raise errors.StoreUnavailable(store=store.name, problem=problem) from None
        LOG.info("%s has copied image %s from bucket %s", store.name, image.id, origin.bucket)
        return CommittedSink(store, key, location)


class CommittedSink(Sink):
    """What a store has copied already. What is written was read from there."""

    def __init__(self, store: Store, key: str, location: str) -> None:
        self._store = store
        self._key = key
        self._location = location
        self._committed = False

    def write(self, chunk: bytes) -> None:
        pass

    def commit(self) -> str:
        self._committed = True
        return self._location

    def abort(self) -> None:
        if self._committed:
            return
        try:
            self._store.discard(self._key)
        except errors.Error as error:
            LOG.warning("attempt %s was aborted but not removed: %s", self._key, error)


class _Stream:
    """Chunks as the file that ``Gated`` reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks: Any = chunks
        self.read = sized(chunks)

    def turn(self, chunks: Iterator[bytes]) -> None:
        """Before the first read: take these instead."""
        self.close()
        self._chunks = chunks
        self.read = sized(chunks)

    def close(self) -> None:
        self._chunks.close()
