"""Repair: a damaged copy is replaced by a new one, made from a good copy.

The new object gets a key of its own and is read back before the record refers to it. The damaged
one is removed after that. So a process may die at any moment: the record refers to objects that
exist, and the worker that takes the job over removes what the record does not refer to.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from imsgate import errors, hashing
from imsgate.http.body import Tapped
from imsgate.jobs.arguments import ImportArguments, for_image, for_import, when_settled
from imsgate.jobs.context import Context, Interrupted, TakenOver
from imsgate.jobs.engine import Engine
from imsgate.jobs.import_cleanup import ImportCleanup
from imsgate.jobs.progress import ProgressTap
from imsgate.jobs.work import Work
from imsgate.model import Image, Job, Location
from imsgate.registry.base import Registry
from imsgate.registry.changes import version_of
from imsgate.sources.base import ByteStream
from imsgate.stores.base import Store
from imsgate.stores.enabled import Stores
from imsgate.transfer.copy import write
from imsgate.verification.checking import CheckState, Verifier

LOG = logging.getLogger(__name__)

#: The kind of these jobs.
KIND = "repair"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Repairs:
    """Starts repairs."""

    stores: Stores
    engine: Engine

    def start(self, image: Image) -> Job | None:
        """Start a job that replaces the damaged copies of an image.

        Returns None if it has none in a store that can be written to, or no other copy. Raises
        Conflict if the image has changed since it was read or another job uses it, and Unavailable.
        """
        targets = self.stores.targets()
        damaged = [copy.store for copy in image.copies if copy.damage and copy.store in targets]
        if not damaged or all(copy.damage for copy in image.copies):
            return None
        arguments = for_import(
            method={"name": KIND}, store_ids=damaged, all_stores_must_succeed=True, asked={}
        )
        return self.engine.start(
            KIND,
            project=None,
            image_id=image.id,
            arguments={**arguments, **for_image(image)},
            was=version_of(image),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RepairWork(Work):
    """The work of repair jobs."""

    registry: Registry
    stores: Stores

    def is_transient(self, error: errors.Error) -> bool:
        """Source and target are stores."""
        away = isinstance(error, errors.SourceUnavailable | errors.StoreUnavailable)
        return away and not isinstance(error, errors.StoreDenied)

    def run(self, job: Job, context: Context) -> None:
        arguments = ImportArguments.of(job)
        cleanup = ImportCleanup(self.stores, job, context)
        if not arguments.settled:
            context.check()
            cleanup.clear_earlier_attempts(arguments.store_ids)
            arguments = _Repair(self, job, context, cleanup).run(arguments)
        cleanup.finish(arguments)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """Remove the new objects. The image stays as it is."""
        arguments = ImportArguments.of(job)
        if not arguments.settled:
            cleanup = ImportCleanup(self.stores, job, context)
            cleanup.clear_earlier_attempts(arguments.store_ids)
            if not all(cleanup.clear_this_attempt(each) for each in arguments.store_ids):
                raise Interrupted("a store cannot remove the new copy yet")
        context.fail(error)


class _Repair:
    """One attempt, which writes under the key of its epoch in each store."""

    def __init__(
        self, work: RepairWork, job: Job, context: Context, cleanup: ImportCleanup
    ) -> None:
        self._registry = work.registry
        self._stores = work.stores
        self._job = job
        self._context = context
        self._cleanup = cleanup
        self._verifier = Verifier(work.registry, work.stores, check=context.check)
        self._progress = ProgressTap(context.report, None)

    def run(self, arguments: ImportArguments) -> ImportArguments:
        """Return the job's arguments after the last step."""
        settling = False
        try:
            image = self._context.image()
            # One copy in each store, since the key of this attempt can be used once there.
            damaged = {
                copy.store: copy
                for copy in image.copies
                if copy.damage and copy.store in arguments.store_ids
            }
            if not damaged:
                return arguments  # they have been restored
            replaced = {copy: self._replacement(image, copy) for copy in damaged.values()}
            self._context.renew()
            settling = True
            return self._swap(replaced)
        except Interrupted as interruption:
            # As in an import: in the last step this worker does not know what is recorded.
            if not settling or isinstance(interruption, TakenOver):
                self._cleanup.abandon(arguments.store_ids)
            raise
        except (errors.SourceUnavailable, errors.StoreUnavailable):
            self._cleanup.abandon(arguments.store_ids)  # the next attempt has another key
            raise

    def _swap(self, replaced: Mapping[Location, Location]) -> ImportArguments:
        def swap(image: Image) -> dict[str, Any]:
            if not replaced.keys() <= set(image.copies):
                raise errors.Conflict(problem=f"Image {image.id} has other copies now")
            return {"locations": tuple(replaced.get(copy, copy) for copy in image.locations)}

        fields = {"arguments": when_settled(self._job, list(replaced), [])}
        return ImportArguments.of(self._context.change_image(swap, fields))

    def _replacement(self, image: Image, damaged: Location) -> Location:
        """Write a new object beside a damaged one. Raises CopyDiffers if the store returns
        other bytes than were written."""
        store = self._stores.target(damaged.store)
        new = self._copy(image, self._origin(image), store)
        if self._verifier.examine(image, new).state is not CheckState.GOOD:
            raise errors.CopyDiffers(store=store.name)
        LOG.info("Image %s has a new copy in store %s", image.id, store.name)
        return new

    def _origin(self, image: Image) -> Location:
        """The copy to read. Raises ImageDamaged if no good copy is left, and SourceUnavailable."""
        good = [copy for copy in image.copies if not copy.damage]
        failure: errors.Error = errors.ImageDamaged()
        for copy in self._stores.preferred(good):
            try:
                self._stores.get(copy.store).size(copy.url)
                return copy
            except errors.StoreUnavailable as error:
                failure = errors.SourceUnavailable(problem=str(error))
            except errors.ObjectNotFound:
                self._verifier.verify_copy(image.id, copy)  # which records that
        raise failure

    def _copy(self, image: Image, origin: Location, store: Store) -> Location:
        """Raises SourceUnavailable if ``origin`` cannot be read, or turns out to be damaged, which
        is recorded: the next attempt uses another copy."""
        try:
            return self._write(image, origin, store)
        except (errors.CopyDiffers, errors.SizeMismatch, errors.ObjectNotFound) as error:
            self._verifier.verify_copy(image.id, origin)
            problem = f"the copy in store {origin.store} is damaged, too"
            raise errors.SourceUnavailable(problem=problem) from error
        except errors.StoreUnavailable as error:
            if error.details.get("store") == origin.store:
                raise errors.SourceUnavailable(problem=str(error)) from error
            raise

    def _write(self, image: Image, origin: Location, store: Store) -> Location:
        digests = hashing.recorded(image.os_hash_algo, image.os_hash_value, image.checksum)
        algorithm, expected = next(iter(digests.items()), (None, None))

        def complete(fields: Mapping[str, Any]) -> Mapping[str, Any]:
            if fields["os_hash_value"] != expected:
                raise errors.CopyDiffers(store=origin.store)
            self._context.renew()  # a stale worker notices before it commits
            return {}

        chunks = self._stores.get(origin.store).read(origin.url)
        with contextlib.closing(ByteStream.of(chunks)) as stream:
            body = Tapped(stream, None)
            body.join(self._progress)
            fields = write(
                store,
                store.create(self._cleanup.key, image.size),
                body,
                size=image.size,
                algorithms=hashing.RecordAlgorithms(algorithm, checksum=None),
                check=self._context.check,
                complete=complete,
            )
        (location,) = fields["locations"]
        return Location(location.store, location.url)
