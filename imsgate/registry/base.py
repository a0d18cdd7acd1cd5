"""The registry contract: records of images, members, jobs, uploads, idempotency keys, and events.

A driver subclasses :class:`Registry` and is named by an entry point in
``imsgate.registries``. One instance serves many threads, and many processes may use the
same records. No call keeps a transaction open after it returns.
``imsgate.testing.RegistryContract`` checks every promise made here.
"""

import abc
import builtins
import datetime
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from oslo_config import cfg

from imsgate.model import (
    Activity,
    Image,
    Job,
    Limits,
    Location,
    Member,
    MemberStatus,
    Upload,
    Usage,
)
from imsgate.registry.checks import Checks
from imsgate.registry.idempotency import IdempotencyKeys, Outcome
from imsgate.registry.maintenance import Maintenance
from imsgate.registry.outbox import Outbox
from imsgate.registry.queries import (
    ALL_JOBS,
    LIST_BATCH_IMAGES,
    Condition,
    Enough,
    JobQuery,
    Op,
    Query,
    ordering,
    page_of_jobs,
)

#: The contract, for drivers and for those who use them.
__all__ = [
    "ALL_JOBS",
    "LIST_BATCH_IMAGES",
    "NOTHING",
    "Condition",
    "Enough",
    "JobQuery",
    "Op",
    "Query",
    "Registry",
    "ordering",
    "page_of_jobs",
    "sets_updated_at",
]

#: No fields, as the default of an argument that maps fields to values.
NOTHING: Mapping[str, Any] = MappingProxyType({})


def sets_updated_at(to: Mapping[str, Any]) -> bool:
    """Whether a change to these fields sets ``updated_at`` to the present."""
    return "updated_at" not in to and not all(field.startswith("upload_") for field in to)


class Registry(Outbox, IdempotencyKeys, Maintenance, Checks):
    """Image records and their members, jobs, resumable uploads, idempotency keys, and the outbox.

    **Deleted images.** Their records stay, so that no id is ever used twice. Only ``change``,
    ``expired`` and ``recall`` still return them.

    **Status.** An image changes its status only as ``model.TRANSITIONS`` allows, or stays in
    it. Any other change is a bug: it raises ValueError (not an ``errors.Error``) that names the
    image, the stored status and the new one, and nothing happens. The status that is stored at
    the moment of the change is judged, whatever ``was`` says of it. ``add`` takes any status.

    **Limits.** A call with ``within`` keeps the usage of the image's owner within these limits.
    It raises OverLimit if it would make a limited amount grow beyond its limit, and Conflict if
    the image has another owner than the limits are for; then nothing happens. Concurrent calls
    are judged one after the other, each with what the others did. A call that makes no limited
    amount grow is never refused for its limits.

    **Locations.** A place in a store holds the data of one image, once. A call that would record
    a place a second time raises LocationTaken, and nothing happens.

    Every method may also raise Unavailable if the records cannot be reached.
    """

    OPTS: ClassVar[Sequence[cfg.Opt]] = ()

    def close(self) -> None:
        """Release what is held while idle, such as connections.

        May be called again; later calls of other methods may open new connections.
        """

    # Images

    @abc.abstractmethod
    def add(
        self,
        image: Image,
        within: Limits | None = None,
        outcome: Outcome | None = None,
        shared_with: Collection[Member] = (),
    ) -> None:
        """Record a new image and its first members, in one atomic step.

        Raises AlreadyExists if the id exists or ever existed.
        """

    @abc.abstractmethod
    def get(self, image_id: str) -> Image:
        """Return an image. Raises NotFound if it does not exist or was deleted."""

    @abc.abstractmethod
    def recall(self, image_id: str) -> Image:
        """Return an image, deleted or not. Raises NotFound if it never existed."""

    @abc.abstractmethod
    def list(self, query: Query, is_enough: Enough | None = None) -> builtins.list[Image]:
        """Return one page of images, in the query's order.

        ``is_enough`` ends the page early: it is called with the images read so far, after each
        LIST_BATCH_IMAGES at most, and may be called again with the same images.
        """

    @abc.abstractmethod
    def change(
        self, image_id: str, was: Mapping[str, Any], within: Limits | None = None, /, **to: Any
    ) -> Image:
        """Compare and set: set the fields ``to`` if all fields have the values in ``was``.

        One atomic step. Returns the record after the change. ``properties``, ``tags`` and
        ``locations`` are replaced as a whole, and ``was`` cannot contain them. ``updated_at``
        is set to the present, unless ``to`` contains it or only ``upload_*`` fields.

        Raises NotFound if the id never existed, and Conflict if a field in ``was`` has another
        value. Only then may it raise ValueError, OverLimit or LocationTaken: see the class.
        """

    @abc.abstractmethod
    def holds(self, location: Location) -> bool:
        """Whether the record of any image, deleted or not, has this location."""

    @abc.abstractmethod
    def expired(self, now: float) -> builtins.list[Image]:
        """Return the images for cleanup to look at, deleted ones included.

        These are the images whose ``upload_expires`` is before ``now`` (in seconds since the
        epoch), and all images in ``pending_delete``.
        """

    @abc.abstractmethod
    def usage(self, project: str) -> Usage:
        """Return the sum of ``Image.usage`` over all images of a project."""

    @abc.abstractmethod
    def activity(self) -> Activity:
        """Count what is in progress, for monitoring.

        This must stay cheap when the registry has millions of images of which few are in progress.
        """

    # Members

    @abc.abstractmethod
    def add_member(self, member: Member, limit: int | None = None) -> None:
        """Share an image with a project. None means any number of members.

        Raises NotFound if the image does not exist or was deleted; QuotaExceeded if the image
        has ``limit`` members already, those included that are added at the same time; and
        AlreadyExists if it is already shared with that project.
        """

    @abc.abstractmethod
    def members(self, image_id: str) -> builtins.list[Member]:
        """Return all members of an image, oldest first; none if it was deleted or is unknown."""

    @abc.abstractmethod
    def change_member(self, image_id: str, member_id: str, status: MemberStatus) -> Member:
        """Set a member's status and its ``updated_at``. Raises NotFound."""

    @abc.abstractmethod
    def remove_member(self, image_id: str, member_id: str) -> None:
        """Stop sharing an image with a project. Raises NotFound."""

    # Jobs. Each write of a worker names the epoch of its claim. Once another worker has
    # claimed the job, or the job has ended, the write is refused and changes nothing.

    @abc.abstractmethod
    def add_job(
        self,
        job: Job,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        outcome: Outcome | None = None,
        /,
        **to: Any,
    ) -> None:
        """Record a new job and change its image as ``change`` does, in one atomic step.

        Raises AlreadyExists if the id exists, Conflict if another job of the image has not
        ended, and what ``change`` raises. Then neither the job nor the image has changed.
        """

    @abc.abstractmethod
    def add_with_job(
        self,
        image: Image,
        job: Job,
        within: Limits | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        """Record a new image and its first job, in one atomic step.

        Raises AlreadyExists if one of the ids exists or ever existed. Then neither is recorded.
        """

    @abc.abstractmethod
    def get_job(self, job_id: str) -> Job:
        """Return a job. Raises NotFound."""

    @abc.abstractmethod
    def jobs_of(self, image_id: str) -> builtins.list[Job]:
        """Return all jobs of an image, deleted or not, oldest first."""

    @abc.abstractmethod
    def jobs(
        self,
        project: str | None,
        marker: Job | None = None,
        limit: int = 25,
        query: JobQuery = ALL_JOBS,
    ) -> builtins.list[Job]:
        """Return a page of a project's jobs that ``query`` selects, after ``marker``.

        None stands for the jobs of all projects.
        """

    @abc.abstractmethod
    def claim_job(
        self,
        kinds: Collection[str],
        now: float,
        lease: float,
        job_id: str | None = None,
        without: Collection[str] = (),
    ) -> Job | None:
        """Take the oldest free job of these kinds, or the free job ``job_id``; None if none is.

        Jobs of the projects in ``without`` are left out.

        A job is free in INIT, and in RUNNING if its lease ended before ``now``. It is returned in
        RUNNING, with the next epoch, leased until ``lease``; the first claim sets ``begin_at``.
        ``now`` and ``lease`` are in seconds since the epoch. Concurrent callers each get another
        job, or None.
        """

    @abc.abstractmethod
    def free_jobs(
        self, kinds: Collection[str], now: float, limit: int = 1000
    ) -> builtins.list[Job]:
        """Return the oldest free jobs of these kinds, without claiming them."""

    @abc.abstractmethod
    def change_job(
        self,
        job_id: str,
        epoch: int,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Job:
        """Set fields of a running job and change its image as ``change`` does, in one atomic step.

        A worker renews its lease, reports progress and ends the job with it. Returns the job
        after the change.

        Raises NotFound; Conflict if the job is not in RUNNING with this epoch; and what
        ``change`` raises. Then neither the job nor the image has changed.
        """

    @abc.abstractmethod
    def cancel_jobs(self, image_id: str) -> None:
        """Set ``cancelled`` on every job of an image that has not ended."""

    @abc.abstractmethod
    def forget_jobs(self, before: datetime.datetime) -> int:
        """Remove the jobs that ended before a time, and return their number."""

    # Resumable uploads. Each write names the epoch at which its request has taken the upload
    # over. Once another request has taken it over, or it is over, the write is refused and
    # changes nothing.

    @abc.abstractmethod
    def add_upload(
        self,
        upload: Upload,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> None:
        """Record a new upload and change its image as ``change`` does, in one atomic step.

        Raises AlreadyExists if the id exists, and what ``change`` raises. Then neither the
        upload nor the image has changed.
        """

    @abc.abstractmethod
    def get_upload(self, upload_id: str) -> Upload:
        """Return an upload. Raises NotFound."""

    @abc.abstractmethod
    def upload_of(self, image_id: str) -> Upload | None:
        """Return the newest upload of an image, deleted or not; None if it has none.

        Of uploads of the same moment, the one with the greatest id is the newest.
        """

    @abc.abstractmethod
    def change_upload(
        self,
        upload_id: str,
        epoch: int,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Upload:
        """Set fields of an upload and change its image as ``change`` does, in one atomic step.

        A request takes the upload over with a greater ``epoch`` in ``fields``. ``updated_at`` is
        set to the present. Returns the upload after the change.

        Raises NotFound; Conflict if the upload has another epoch or its state is in
        ``model.OVER``; ValueError if ``offset`` or ``epoch`` would go down; and what ``change``
        raises. Then neither the upload nor the image has changed.
        """

    @abc.abstractmethod
    def forget_uploads(self, before: float) -> int:
        """Remove the uploads that expired before a time, and return their number.

        ``before`` is in seconds since the epoch. Uploads in FINISHING stay.
        """
