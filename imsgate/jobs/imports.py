"""Imports: staged data, a download or an existing copy into one or more stores.

One attempt at a job writes under one key, ``IMAGE.JOB+EPOCH`` in hexadecimal, in every
store. So whoever takes a job over knows what former attempts may have left: it discards
their keys, which also ends whatever a stale worker still writes there.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from imsgate import errors
from imsgate.jobs.context import Context, Interrupted, TakenOver, without_warrant
from imsgate.model import Image, Job, Location, Status
from imsgate.quotas import quota
from imsgate.stores.base import Sink, Store
from imsgate.stores.loader import Stores
from imsgate.transfer import upload

LOG = logging.getLogger(__name__)

#: The kind of these jobs.
KIND = "import"

DIRECT, WEB, COPY = "glance-direct", "web-download", "copy-image"

#: Properties that show how far an import is, as in Glance: store ids with commas.
IMPORTING, FAILED = "os_glance_importing_to_stores", "os_glance_failed_import"

#: The argument with what the image has in addition once the data is its own.
PROPERTIES = "properties"

#: The arguments that a job gets when the image has its data and something may go: what was
#: staged, and what lies in stores that were left out.
_SURPLUS, _LEFT_OUT = "surplus", "left_out"

#: What a record says of data, and says no more when the data has gone.
_FACTS = ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
_NO_DATA: dict[str, Any] = {**dict.fromkeys(_FACTS), "locations": ()}


def reservation(image: Image, method: str, stores: int) -> int:
    """Bytes to reserve when an import into so many stores begins; more as more is known."""
    return quota.FIRST if method == WEB else (image.size or 0) * stores


@contextlib.contextmanager
def held(location: Location) -> Iterator[None]:
    """Raises SourceFailed in place of ObjectNotFound, for data that its store has lost."""
    try:
        yield
    except errors.ObjectNotFound as error:
        raise errors.SourceFailed(problem=f"store {location.store} has lost it") from error


class Source(Protocol):
    """Image data that the gate checks as it is read, with what it then knows of it."""

    size: int | None

    def read(self, size: int, /) -> bytes: ...

    def copied(self, store: Store, key: str) -> Sink | None:
        """Before the first byte: have the data copied into ``store`` and read from there.

        A sink that has it already, which need only be committed; None where it is to be
        written. Raises as ``read`` and what stores raise; then nothing is left.
        """

    def facts(self) -> Mapping[str, Any]:
        """After the last byte: further fields of the record. Raises to refuse the whole."""


class Sources(Protocol):
    """Where image data that is not in its final form yet comes from."""

    def as_is(self, image: Image) -> bool:
        """Whether staged data is the image's just as it lies there."""

    def open(
        self, image: Image, job: Job, context: Context
    ) -> contextlib.AbstractContextManager[Source]:
        """The download, or the staged data, unpacked and verified where need be."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImportWork:
    """The work of import jobs. ``failed`` is what becomes of the image when one fails;
    ``recheck`` raises why a job is to be refused after all."""

    stores: Stores
    algorithm: str
    sources: Sources
    quotas: quota.Quotas = quota.NONE
    recheck: Callable[[Job], object] = lambda job: None
    failed: Status = Status.QUEUED

    def __call__(self, job: Job, context: Context) -> None:
        attempt = _Attempt(self, job, context)
        try:
            if _SURPLUS not in job.arguments:
                context.check()
                attempt.clear()
                attempt.make_copies()
        except Interrupted as interruption:
            attempt.abandon(interruption)
            raise
        except errors.Error as error:
            LOG.info("Job %s failed: %s", job.id, error)
            attempt.undo(error)
        except Exception:
            LOG.exception("Job %s failed", job.id)
            attempt.undo(errors.Error())
        else:
            attempt.tidy()


class _Attempt:
    """``_origin`` is where copies are made from, once there is one; ``_facts`` what is known of
    the data."""

    def __init__(self, imports: ImportWork, job: Job, context: Context) -> None:
        self._stores = imports.stores
        self._algorithm = imports.algorithm
        self._sources = imports.sources
        self._quotas = imports.quotas
        self._undone_status = imports.failed
        self._recheck = imports.recheck
        self._job = job
        self._context = context
        self._wanted: list[str] = list(job.arguments["stores"])
        self._failed: list[str] = []
        self._begun: set[str] = set()
        self._origin: Location | None = None
        self._facts: dict[str, Any] = {}
        self._done = 0
        self._settling = _SURPLUS in job.arguments

    def make_copies(self) -> None:
        """Up to the step that makes them the image's data, or all but that."""
        image = self._context.image()
        if self._job.arguments["method"]["name"] == COPY:
            self._copy_image(image)
        else:
            self._import_data(image)

    def _copy_image(self, image: Image) -> None:
        if not image.copies:
            raise errors.WrongStatus(image_id=image.id, status=image.status, needed=Status.ACTIVE)
        self._begin_with(image, self._stores.preferred(image.copies)[0])
        copies = self._to_each_store(image)
        self._settle(
            lambda image: {
                "locations": (*image.locations, *copies),
                "properties": self._properties(image),
                "upload_reserved": 0,
            }
        )

    def _import_data(self, image: Image) -> None:
        staged = image.locations
        if staged and self._sources.as_is(image):
            self._begin_with(image, staged[0])
        kept = self._to_each_store(image)
        surplus = [one for one in staged if one not in kept]

        def activate(image: Image) -> dict[str, Any]:
            properties = {**self._properties(image), **self._job.arguments.get(PROPERTIES, {})}
            # Not the surplus: what was unpacked is not what is in there.
            return {
                "properties": properties,
                **self._facts,
                "status": Status.ACTIVE,
                "locations": tuple(kept),
                "upload_reserved": 0,
            }

        self._settle(activate, surplus)

    def _begin_with(self, image: Image, origin: Location) -> None:
        self._origin = origin
        self._facts = {field: getattr(image, field) for field in _FACTS}

    def _settle(
        self, changes: Callable[[Image], dict[str, Any]], surplus: Sequence[Location] = ()
    ) -> None:
        """The step that makes what was written the image's data; it also ends most jobs.

        The job keeps surplus (staged) data, and which stores may hold something of what failed,
        and goes on until that has gone, so that nothing is left behind by whoever dies in
        between. The record has it no more.
        """
        self._context.ask(self._recheck)
        left_out = [store_id for store_id in self._failed if not self._is_clear(store_id)]
        self._settling = True
        if not (surplus or left_out):
            self._context.succeed(changes)
            return
        shown = [[one.store, one.url] for one in surplus]
        more = {_SURPLUS: shown, _LEFT_OUT: left_out}
        self._job = self._context.amend(
            changes, {"arguments": {**without_warrant(self._job.arguments), **more}}
        )

    def _is_clear(self, store_id: str) -> bool:
        """Whether nothing of this attempt is in a store that failed, now at the latest."""
        if store_id not in self._begun:
            return True
        try:
            self.discard([self._job.epoch], [store_id])
        except errors.StoreUnavailable as error:
            LOG.warning("Job %s goes on until store %s is clear: %s", self._job.id, store_id, error)
            return False
        return True

    def tidy(self) -> None:
        """Remove what an active image, or one deleted since, does not need; then end the job."""
        surplus = [Location(*one) for one in self._job.arguments.get(_SURPLUS, ())]
        left_out = self._job.arguments.get(_LEFT_OUT, ())
        if not (surplus or left_out):
            return
        with self._or_later():
            self._delete(surplus)
            self.discard(range(1, self._job.epoch + 1), left_out)
            self._context.succeed()

    @contextlib.contextmanager
    def _or_later(self) -> Iterator[None]:
        """What cannot be cleared up now is tried again by whoever takes the job over."""
        try:
            yield
        except (Interrupted, errors.Cancelled):
            raise
        except errors.Error as problem:
            raise Interrupted(str(problem)) from problem
        except Exception as problem:
            LOG.exception("Job %s could not be cleared up", self._job.id)
            raise Interrupted("it could not be cleared up") from problem

    def _to_each_store(self, image: Image) -> list[Location]:
        """A copy in each store that is wanted; some are missing where stores may fail."""
        kept: list[Location] = []
        must = self._job.arguments["all_stores_must_succeed"]
        for number, store_id in enumerate(self._wanted, 1):
            try:
                kept.append(self._to_store(self._stores.choose(store_id), image))
            except (errors.StoreFull, errors.StoreUnavailable) as error:
                self._failed.append(store_id)
                if must or (number == len(self._wanted) and not kept):
                    raise
                LOG.warning("Job %s leaves out store %s: %s", self._job.id, store_id, error)
            if left := self._wanted[number:]:
                self._context.amend(functools.partial(self._show, left))
        return kept

    def _to_store(self, store: Store, image: Image) -> Location:
        if self._origin is None:
            with self._sources.open(image, self._job, self._context) as source:
                read = self._metered(image, source)
                sink = source.copied(store, self._key(self._job.epoch))
                fields = self._write(store, read, source.size, lambda _: source.facts(), sink)
            (self._origin,) = fields.pop("locations")
            self._facts = {**dict.fromkeys(_FACTS), **fields}
            return self._origin
        if self._origin.store == store.name:
            self._done += self._facts["size"]
            return self._origin
        return self._copy(self._origin, store)

    # Bytes

    def _metered(self, image: Image, source: Source) -> Callable[[int], bytes]:
        """Its ``read``, with bytes reserved for every copy that is wanted."""
        limits, copies = self._context.limits(self._quotas, image), len(self._wanted)

        def reserve(count: int) -> None:
            self._context.reserve(limits, count * copies)

        if source.size is not None:
            reserve(source.size)
        return quota.Meter(source.read, source.size, reserve).read

    def _copy(self, source: Location, to: Store) -> Location:
        """One more copy, compared with what is known of the data."""
        known = ("size", "os_hash_value")

        def compare(fields: Mapping[str, Any]) -> Mapping[str, Any]:
            if any(fields[name] != self._facts[name] for name in known):
                raise errors.CopyDiffers(store=source.store)
            return {}

        with held(source):
            chunks: Any = self._stores.get(source.store).read(source.url)
        with contextlib.closing(chunks):
            try:
                fields = self._write(to, lambda _: next(chunks, b""), self._facts["size"], compare)
            except errors.SizeMismatch as error:
                raise errors.CopyDiffers(store=source.store) from error
        (location,) = fields["locations"]
        return location

    def _write(
        self,
        store: Store,
        read: Callable[[int], bytes],
        size: int | None,
        facts: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        sink: Sink | None = None,
    ) -> dict[str, Any]:
        total = None if size is None else size * len(self._wanted)

        def counted(size: int) -> bytes:
            try:
                chunk = read(size)
            except errors.Error:
                self._context.check()  # which a source may have asked: its answer counts
                raise
            self._done += len(chunk)
            self._context.report(self._done, total)
            return chunk

        def settle(fields: Mapping[str, Any]) -> Mapping[str, Any]:
            more = facts(fields)
            self._context.renew()  # a stale worker finds out before it commits
            return more

        sink = sink or store.create(self._key(self._job.epoch), size)
        self._begun.add(store.name)
        return upload.write(
            store,
            sink,
            counted,
            size=size,
            algorithm=self._facts.get("os_hash_algo") or self._algorithm,
            check=self._context.check,
            facts=settle,
        )

    def _key(self, epoch: int) -> str:
        return f"{self._job.image_id}.{self._job.id[:8]}{epoch:04x}"

    # Ends

    def clear(self) -> None:
        """Remove whatever former attempts wrote. Raises Interrupted when that cannot be now."""
        with self._or_later():
            self.discard(range(1, self._job.epoch), self._wanted)

    def discard(self, epochs: Iterable[int], store_ids: Iterable[str]) -> None:
        """Remove whatever these attempts wrote in these stores."""
        for epoch, store_id in itertools.product(epochs, store_ids):
            self._stores.get(store_id).discard(self._key(epoch))

    def _delete(self, locations: Iterable[Location]) -> None:
        for location in locations:
            with contextlib.suppress(errors.ObjectNotFound):
                self._stores.get(location.store).delete(location.url)

    def abandon(self, interruption: Interrupted) -> None:
        """Let another worker go on. Whether the record points at what this one wrote is not
        known once it tried to settle, unless that was refused; then the other one decides, by
        the record.

        What the other one has removed may be here again: a store may not be able to refuse a
        commit that was on its way.
        """
        if self._settling and not isinstance(interruption, TakenOver):
            return
        for store_id in self._wanted:
            try:
                self.discard([self._job.epoch], [store_id])
            except Exception as problem:
                # Whoever goes on looks there again, unless he has begun already.
                LOG.warning("Job %s may have left something: %s", self._job.id, problem)

    def undo(self, error: errors.Error) -> None:
        """End in failure: nothing is left in any store, and the image is ``queued`` again (or
        what else ``Imports.failed`` says).

        Raises Interrupted when that cannot be now.
        """
        try:
            with self._or_later():
                self.discard(range(1, self._job.epoch + 1), self._wanted)
                image = self._context.image()
                if image.status == Status.IMPORTING:
                    self._delete(image.locations)
                self._context.fail(error, self._undone)
        except errors.Cancelled as cancelled:
            self._context.fail(cancelled)

    def _undone(self, image: Image) -> dict[str, Any]:
        fields = {
            "properties": self._properties(image, failed=self._wanted),
            "upload_reserved": 0,
        }
        if image.status == Status.IMPORTING:
            return {**fields, **_NO_DATA, "status": self._undone_status}
        return fields

    def _show(self, left: Sequence[str], image: Image) -> dict[str, Any]:
        return {"properties": self._properties(image, left)}

    def _properties(
        self, image: Image, left: Sequence[str] = (), failed: Sequence[str] | None = None
    ) -> dict[str, str]:
        shown = {IMPORTING: left, FAILED: self._failed if failed is None else failed}
        return {**image.properties, **{name: ",".join(ids) for name, ids in shown.items()}}
