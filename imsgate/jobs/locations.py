"""Adding a location: an object that is already in a store becomes an image's data.

The object is read once, with the same inspection as an upload, and nothing is written. It is not
the image's data before the image is active: if the job fails, or the image is deleted in the
meantime, the object stays as it is.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from imsgate import errors, hashing
from imsgate.jobs.arguments import LocationArguments
from imsgate.jobs.context import Context
from imsgate.jobs.progress import FAILED, ProgressTap, with_failure, with_progress
from imsgate.jobs.work import Work
from imsgate.model import Image, Job, Location, Status
from imsgate.quotas import quota
from imsgate.signatures.verify import signed
from imsgate.sources.base import lost_data_fails_source
from imsgate.sources.stored import StoredSources
from imsgate.stores.enabled import Stores
from imsgate.transfer.copy import copy, data_fields
from imsgate.transfer.digests import Digests

#: The kind of these jobs.
KIND = "location"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AddLocation(Work):
    """The work of jobs that add a location. ``algorithms`` are those of the record, unless the
    request names another for ``os_hash_value``; ``reauthorize`` raises if the requester would be
    refused now. If ``says_why``, an image whose job has failed gets a message."""

    stores: Stores
    algorithms: hashing.RecordAlgorithms
    sources: StoredSources
    quotas: quota.Quotas = quota.NONE
    reauthorize: Callable[[Job], object] = lambda job: None
    says_why: bool = True

    def is_transient(self, error: errors.Error) -> bool:
        """The source is a store."""
        away = isinstance(error, errors.SourceUnavailable | errors.StoreUnavailable)
        return away and not isinstance(error, errors.StoreDenied)

    def run(self, job: Job, context: Context) -> None:
        arguments = LocationArguments.of(job)
        context.check()
        fields = self._data_fields(arguments, context)
        context.retry_while_unavailable(lambda: self.reauthorize(job))
        context.renew()
        # The object may have grown since its size was reserved.
        context.reserve(context.limits(self.quotas, context.image()), fields["size"])
        # Refused by the registry if another image has been given the object meanwhile.
        context.succeed(lambda image: _activated(image, arguments.location, fields))

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """The image, if it still exists, is ``queued`` again."""
        failed = [LocationArguments.of(job).location.store]

        def without_data(image: Image) -> dict[str, Any]:
            if image.status != Status.IMPORTING:
                return {}
            properties = with_failure(image, failed=failed, error=error, says_why=self.says_why)
            return {"properties": properties, "status": Status.QUEUED, "upload_reserved": 0}

        try:
            context.fail(error, without_data)
        except errors.Cancelled as cancelled:
            context.fail(cancelled)

    def _data_fields(self, arguments: LocationArguments, context: Context) -> Mapping[str, Any]:
        """The fields of a record that has the object as its data."""
        location = arguments.location
        with lost_data_fails_source(location):
            image = context.image()
            if arguments.read or signed(image):
                return self._read(arguments, context, image)
            size = self.stores.get(location.store).size(location.url)
        return {"size": size, **arguments.validation_data}

    def _read(
        self, arguments: LocationArguments, context: Context, image: Image
    ) -> Mapping[str, Any]:
        """Raises DigestMismatch, and whatever the inspection raises."""
        algorithm = arguments.validation_data.get("os_hash_algo", self.algorithms.os_hash)
        algorithms = dataclasses.replace(self.algorithms, os_hash=algorithm)
        opened = self.sources.open(image, arguments.location, certificate=arguments.certificate)
        with opened as source:
            source.body.join(ProgressTap(context.report, source.size))
            digests = Digests(algorithms.names())
            size = copy(source.body, None, digests, context.check)
            fields = data_fields(size, digests, algorithms)
            actual = fields["os_hash_value"]
            expected = arguments.validation_data.get("os_hash_value", actual)
            if actual != expected.lower():
                raise errors.DigestMismatch(algorithm=algorithm, found=actual, expected=expected)
            return {**fields, **source.content_fields()}


def _activated(image: Image, location: Location, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that make the object this image's data. Raises Conflict."""
    if image.status != Status.IMPORTING:
        problem = f"Image {image.id} is {image.status}: it no longer accepts this location"
        raise errors.Conflict(problem=problem)
    return {
        **fields,
        "status": Status.ACTIVE,
        "upload_reserved": 0,
        "locations": (location,),
        **({"properties": with_progress(image)} if FAILED in image.properties else {}),
    }
