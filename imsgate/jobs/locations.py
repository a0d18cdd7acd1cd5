"""Adoption: an object that lies in a store already becomes an image's data.

It is read once, through the same gate as an upload, and nothing is written. Until the
image is active the object is not its data: whatever fails, and whoever deletes the image
meanwhile, the object stays as it is.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from imsgate import errors, hashing
from imsgate.jobs.context import Context, Interrupted
from imsgate.jobs.imports import Source, held
from imsgate.model import Image, Job, Location, Status
from imsgate.quotas import quota
from imsgate.signatures.verify import signed
from imsgate.stores.loader import Stores
from imsgate.transfer.digests import CHUNK, Digests

LOG = logging.getLogger(__name__)

#: The kind of these jobs.
KIND = "location"


_HAS_IT = {"status": Status.ACTIVE, "upload_reserved": 0}
_HAS_NONE = {"status": Status.QUEUED, "upload_reserved": 0}


class Sources(Protocol):
    """What checks data as it is read."""

    def stored(
        self, image: Image, location: Location, job: Job
    ) -> contextlib.AbstractContextManager[Source]:
        """What lies in a store, as it is. Raises ObjectNotFound."""


@dataclasses.dataclass(frozen=True, slots=True)
class AddLocation:
    """The work of adoption jobs.

    Their arguments: ``location`` (store and place), ``read`` (whether the object is read),
    and ``validation_data`` (os_hash_algo and os_hash_value, or nothing). ``recheck`` raises
    why one is to be refused after all.
    """

    stores: Stores
    algorithm: str
    sources: Sources
    quotas: quota.Quotas = quota.NONE
    recheck: Callable[[Job], object] = lambda job: None

    def __call__(self, job: Job, context: Context) -> None:
        location = Location(*job.arguments["location"])
        try:
            context.check()
            fields = self._look(job, context, location)
            context.ask(self.recheck)
            context.renew()
            # The object may have grown since its size was reserved.
            context.reserve(context.limits(self.quotas, context.image()), fields["size"])
            # Refused by the registry where another image has been given it meanwhile.
            context.succeed(lambda image: _adopted(image, location, fields))
        except Interrupted:
            raise
        except errors.Error as error:
            LOG.info("Job %s failed: %s", job.id, error)
            _fail(context, error)
        except Exception:
            LOG.exception("Job %s failed", job.id)
            _fail(context, errors.Error())

    def _look(self, job: Job, context: Context, location: Location) -> Mapping[str, Any]:
        """The fields of a record that has the data."""
        told = job.arguments["validation_data"]
        with held(location):
            image = context.image()
            if job.arguments["read"] or signed(image):
                return self._read(job, context, image, location)
            size = self.stores.get(location.store).size(location.url)
        return {"size": size, **told}

    def _read(
        self, job: Job, context: Context, image: Image, location: Location
    ) -> Mapping[str, Any]:
        """Raises DigestMismatch, and what the gate raises."""
        told, done = job.arguments["validation_data"], 0
        algorithm = told.get("os_hash_algo", self.algorithm)
        stored = self.sources.stored(image, location, job)
        digests = Digests((hashing.CHECKSUM, algorithm))
        with stored as source:
            while chunk := source.read(CHUNK):
                digests.feed(chunk)
                done += len(chunk)
                context.report(done, source.size)
                context.check()
            values = digests.values()
            found = values[algorithm]
            expected = told.get("os_hash_value", found)
            if found != expected.lower():
                raise errors.DigestMismatch(algorithm=algorithm, found=found, expected=expected)
            return {
                "size": done,
                "checksum": values[hashing.CHECKSUM],
                "os_hash_algo": algorithm,
                "os_hash_value": found,
                **source.facts(),
            }


def _adopted(image: Image, location: Location, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the object this image's data. Raises WrongStatus."""
    image.require(Status.IMPORTING)
    return {**fields, **_HAS_IT, "locations": (location,)}


def _fail(context: Context, error: errors.Error) -> None:
    """End in failure; the image, if it is still there, is ``queued`` again."""
    try:
        context.fail(
            error,
            lambda image: _HAS_NONE if image.status == Status.IMPORTING else {},
        )
    except errors.Cancelled as cancelled:
        context.fail(cancelled)
