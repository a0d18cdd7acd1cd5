"""Imports: data from a source, or an existing copy, into one or more stores."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imsgate import errors, hashing
from imsgate.http.body import Tapped
from imsgate.jobs.arguments import ImportArguments, when_settled
from imsgate.jobs.context import Context, Interrupted, TakenOver
from imsgate.jobs.conversion import Conversion
from imsgate.jobs.import_cleanup import DATA_FIELDS, ImportCleanup
from imsgate.jobs.methods import METHODS, ImportSources
from imsgate.jobs.progress import ProgressTap, with_progress
from imsgate.jobs.work import Work
from imsgate.model import Image, Job, Location, Status
from imsgate.quotas import quota
from imsgate.sources.base import ByteStream, Source, lost_data_fails_source
from imsgate.sources.copied import copy_by_service
from imsgate.stores.base import Copies, Sink, Store
from imsgate.stores.enabled import Stores
from imsgate.transfer.copy import write
from imsgate.transfer.reservation import ReservationTap

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportWork(Work):
    """The work of import jobs. ``algorithms`` are those of new records; ``reauthorize`` raises if
    the requester would be refused now. If ``says_why``, an image whose import has failed gets a
    message. ``conversion`` is None if no data is converted."""

    stores: Stores
    algorithms: hashing.RecordAlgorithms
    sources: ImportSources
    quotas: quota.Quotas = quota.NONE
    reauthorize: Callable[[Job], object] = lambda job: None
    says_why: bool = True
    conversion: Conversion | None = None

    def run(self, job: Job, context: Context) -> None:
        arguments = ImportArguments.of(job)
        cleanup = ImportCleanup(self.stores, job, context)
        if not arguments.settled:
            arguments = self._import(job, arguments, context, cleanup)
        if arguments.settled:
            cleanup.finish(arguments)

    def _import(
        self, job: Job, arguments: ImportArguments, context: Context, cleanup: ImportCleanup
    ) -> ImportArguments:
        """Give the image its data; return the arguments of the job after that."""
        attempt = _Attempt(self, job, arguments, context, cleanup)
        try:
            context.check()
            cleanup.clear_earlier_attempts(arguments.store_ids)
            return attempt.run()
        except Interrupted as interruption:
            # In its last step, this worker does not know whether the record refers to what it
            # has written, unless that was refused. Then the next worker decides, by the record.
            if not attempt.settling or isinstance(interruption, TakenOver):
                cleanup.abandon(arguments.store_ids)
            raise
        except errors.SourceUnavailable:
            cleanup.abandon(arguments.store_ids)  # the next attempt has another key
            raise

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        arguments = ImportArguments.of(job)
        if arguments.settled:  # the image has its data, which must stay
            context.fail(error)
        else:
            cleanup = ImportCleanup(self.stores, job, context, says_why=self.says_why)
            cleanup.undo(arguments, error)


class _Attempt:
    """Copies the data to each store, and makes the copies the image's data.

    ``_origin`` is the copy from which further copies are made, once there is one, and
    ``_data_fields`` are the fields of a record with the data.
    """

    def __init__(
        self,
        work: ImportWork,
        job: Job,
        arguments: ImportArguments,
        context: Context,
        cleanup: ImportCleanup,
    ) -> None:
        self._work = work
        self._job = job
        self._arguments = arguments
        self._method = METHODS[arguments.method["name"]]
        self._context = context
        self._cleanup = cleanup
        self._failed: list[str] = []
        self._begun: set[str] = set()
        self._origin: Location | None = None
        self._data_fields: dict[str, Any] = {}
        self._properties: dict[str, str] = dict(arguments.properties)
        self._progress = ProgressTap(context.report, None)
        #: Whether the last step has begun, which makes the copies the image's data.
        self.settling = False

    def run(self) -> ImportArguments:
        """Return the job's arguments after the last step."""
        image = self._context.image()
        if self._method.open is None:
            return self._copy_image(image)
        return self._import_data(image)

    def _copy_image(self, image: Image) -> ImportArguments:
        if not image.copies:
            raise errors.WrongStatus(image_id=image.id, status=image.status, needed=Status.ACTIVE)
        self._start_from(image, self._work.stores.preferred(image.copies)[0])
        copies = self._copy_to_each_store(image)

        def add_copies(image: Image) -> dict[str, Any]:
            return {
                "locations": (*image.locations, *copies),
                "properties": with_progress(image, failed=self._failed),
                "upload_reserved": 0,
            }

        return self._settle(add_copies)

    def _import_data(self, image: Image) -> ImportArguments:
        staged = image.locations
        if staged and not self._converts(image) and self._work.sources.staged.is_final(image):
            self._start_from(image, staged[0])
        copies = self._copy_to_each_store(image)

        def activate(image: Image) -> dict[str, Any]:
            properties = with_progress(image, failed=self._failed)
            return {
                "properties": {**properties, **self._properties},
                **self._data_fields,
                "status": Status.ACTIVE,
                "locations": tuple(copies),  # without surplus data, which may differ
                "upload_reserved": 0,
            }

        surplus = [location for location in staged if location not in copies]
        return self._settle(activate, surplus)

    def _converts(self, image: Image) -> bool:
        conversion = self._work.conversion
        return self._method.converts and conversion is not None and conversion.concerns(image)

    def _start_from(self, image: Image, origin: Location) -> None:
        self._origin = origin
        self._data_fields = {field: getattr(image, field) for field in DATA_FIELDS}

    def _settle(
        self, changes: Callable[[Image], dict[str, Any]], surplus: Sequence[Location] = ()
    ) -> ImportArguments:
        """The step that makes what was written the image's data; it also ends most jobs.

        If there is surplus (staged) data, or a store may hold part of a failed copy, the job
        continues until that is removed. The record does not refer to it any more, so nothing else
        would remove it if this worker died.
        """
        self._context.retry_while_unavailable(lambda: self._work.reauthorize(self._job))
        left_out = [store_id for store_id in self._failed if not self._is_clear(store_id)]
        self.settling = True
        if not (surplus or left_out):
            self._context.succeed(changes)
            return self._arguments
        arguments = when_settled(self._job, surplus, left_out)
        return ImportArguments.of(self._context.change_image(changes, {"arguments": arguments}))

    def _is_clear(self, store_id: str) -> bool:
        return store_id not in self._begun or self._cleanup.clear_this_attempt(store_id)

    def _copy_to_each_store(self, image: Image) -> list[Location]:
        """The copies; some stores have none if not all of them must succeed."""
        copies: list[Location] = []
        store_ids = self._arguments.store_ids
        for number, store_id in enumerate(store_ids, 1):
            try:
                copies.append(self._copy_to(self._work.stores.target(store_id), image))
            except (errors.StoreFull, errors.StoreReadOnly, errors.StoreUnavailable) as error:
                self._failed.append(store_id)
                is_last_chance = number == len(store_ids) and not copies
                if self._arguments.all_stores_must_succeed or is_last_chance:
                    raise
                LOG.warning("Job %s leaves out store %s: %s", self._job.id, store_id, error)
            if remaining := store_ids[number:]:
                self._context.change_image(functools.partial(self._show_progress, remaining))
        return copies

    def _show_progress(self, remaining: Sequence[str], image: Image) -> dict[str, Any]:
        return {"properties": with_progress(image, importing=remaining, failed=self._failed)}

    def _copy_to(self, store: Store, image: Image) -> Location:
        if self._origin is None:
            self._origin = self._import_to(store, image)
            return self._origin
        if self._origin.store == store.name:
            self._progress.done += self._data_fields["size"]
            return self._origin
        return self._copy(self._origin, store)

    def _import_to(self, store: Store, image: Image) -> Location:
        """Write the source's data into the first store."""
        assert self._method.open is not None
        with contextlib.ExitStack() as opened:
            source = opened.enter_context(
                self._method.open(self._work.sources, image, self._job, self._context)
            )
            if self._work.conversion is not None and self._converts(image):
                converting = self._work.conversion.convert(
                    image,
                    source,
                    check=self._context.check,
                    progress=self._progress,
                    copies=len(self._arguments.store_ids),
                )
                source = opened.enter_context(converting)
            self._reserve_copies(image, source)
            sink = source.copy_into(store, self._cleanup.key)
            fields = self._write(
                store,
                source.body,
                source.size,
                self._work.algorithms,
                lambda _: source.content_fields(),
                sink,
            )
        location: Location = fields.pop("locations")[0]
        self._properties |= fields.pop("properties", {})
        self._data_fields = {**dict.fromkeys(DATA_FIELDS), **fields}
        return location

    def _reserve_copies(self, image: Image, source: Source) -> None:
        """Have bytes reserved for the copies in all stores."""
        limits = self._context.limits(self._work.quotas, image)

        def reserve(total: int) -> None:
            self._context.reserve(limits, total * len(self._arguments.store_ids))

        if source.size is not None:
            reserve(source.size)
        source.body.join(ReservationTap(source.size, reserve))

    def _copy(self, origin: Location, store: Store) -> Location:
        """Make one more copy. Raises CopyDiffers if it differs from what the record says.

        One digest of the record is enough to tell.
        """
        digests = hashing.recorded(*(self._data_fields[name] for name in hashing.DIGEST_FIELDS))
        algorithm, expected = next(iter(digests.items()), (None, None))
        algorithms = hashing.RecordAlgorithms(algorithm, checksum=None)

        def compare(fields: Mapping[str, Any]) -> Mapping[str, Any]:
            if fields["os_hash_value"] != expected:
                raise errors.CopyDiffers(store=origin.store)
            return {}

        size = self._data_fields["size"]
        with self._postponing(origin), contextlib.ExitStack() as stack:
            with lost_data_fails_source(origin):
                sink, stream = self._open_copy(origin, store, size)
            stack.enter_context(contextlib.closing(stream))
            body = Tapped(stream, None)
            try:
                fields = self._write(store, body, size, algorithms, compare, sink)
            except errors.SizeMismatch as error:
                raise errors.CopyDiffers(store=origin.store) from error
        location: Location = fields["locations"][0]
        return location

    def _open_copy(
        self, origin: Location, store: Store, size: int
    ) -> tuple[Sink | None, ByteStream]:
        """The data to compare: a copy that the storage service has made itself, with its sink, or
        the data at ``origin``, which has to be written."""
        source = self._work.stores.get(origin.store)
        if isinstance(source, Copies) and isinstance(store, Copies):
            original = source.copy_source(origin.url)
            check, renew = self._context.check, self._context.renew
            if original is not None and store.copies_from(original):
                self._begun.add(store.name)
                copied = copy_by_service(
                    store, self._cleanup.key, original, size, check=check, renew=renew
                )
                if copied is not None:
                    return copied
        return None, ByteStream.of(source.read(origin.url))

    @contextlib.contextmanager
    def _postponing(self, origin: Location) -> Iterator[None]:
        """An image's own copy is the source of a job that copies it; its store may come back."""
        try:
            yield
        except errors.StoreUnavailable as error:
            if self._method.open is None and error.details.get("store") == origin.store:
                raise errors.SourceUnavailable(problem=str(error)) from error
            raise

    def _write(
        self,
        store: Store,
        body: Tapped,
        size: int | None,
        algorithms: hashing.RecordAlgorithms,
        complete: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        sink: Sink | None = None,
    ) -> dict[str, Any]:
        """Write ``body`` under this attempt's key; return the fields of a record that has it."""
        stores = len(self._arguments.store_ids)
        self._progress.total = None if size is None else self._progress.prepared + size * stores
        body.join(self._progress)

        def complete_and_renew(fields: Mapping[str, Any]) -> Mapping[str, Any]:
            further = complete(fields)
            self._context.renew()  # a stale worker notices before it commits
            return further

        sink = sink or store.create(self._cleanup.key, size)
        self._begun.add(store.name)
        try:
            return write(
                store,
                sink,
                body,
                size=size,
                algorithms=algorithms,
                check=self._context.check,
                complete=complete_and_renew,
            )
        except errors.Error:
            # A source that was stopped by ``check`` fails with BodyCut: that is not the reason.
            self._context.check()
            raise
