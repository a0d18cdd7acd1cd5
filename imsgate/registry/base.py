"""The registry contract: image records, and compare-and-set for every step of theirs.

A registry is built once and used by many threads and processes. No call keeps
a transaction open after it returns. ``imsgate.testing.RegistryContract``
checks every driver.
"""

import abc
import builtins
import dataclasses
import datetime
import enum
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from oslo_config import cfg

from imsgate.model import Image, Job, Limits, Location, Member, MemberStatus, Usage, Visibility

#: No field at all, where fields may be compared.
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Op(enum.StrEnum):
    """How a field is compared with a value; names as in the Image API's filters."""

    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """``field`` of Image compared with ``value`` (a tuple of values for IN).

    A field that is None satisfies EQ None and whatever has ``or_none``, no other
    condition. Text is compared by code point. The API has checked what databases
    refuse: integers beyond 63 bits, text with NUL or a lone surrogate, times
    without a zone.
    """

    field: str
    op: Op
    value: Any
    or_none: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One page of a list, with Glance's rules of who sees what.

    ``viewer`` is the asking project, ``admin`` sees every project's images.
    Without ``visibility`` a viewer gets its own images, public ones, and shared
    ones whose membership it has answered with ``member_status`` (None: any
    answer), but community images only of its own; with one, exactly the images
    of that visibility it may see, and with ``all_visibilities`` all it may see.
    All ``conditions``, ``properties`` and ``tags`` must hold.

    Images in a status of GONE are in no list.

    ``sort`` holds fields and whether they descend; a record without a value
    counts as smaller than any with one. Ties end with created_at and id, in the
    last direction given. The page starts behind ``marker``.
    """

    viewer: str | None = None
    admin: bool = False
    visibility: Visibility | None = None
    all_visibilities: bool = False
    member_status: MemberStatus | None = MemberStatus.ACCEPTED
    conditions: Sequence[Condition] = ()
    properties: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    tags: frozenset[str] = frozenset()
    sort: Sequence[tuple[str, bool]] = (("created_at", True),)
    marker: Image | None = None
    limit: int = 25


def ordering(query: Query) -> list[tuple[str, bool]]:
    """The query's sort with the tie-breakers that make it total; no field comes twice."""
    descending = query.sort[-1][1] if query.sort else True
    order: dict[str, bool] = {}
    for field, down in (*query.sort, ("created_at", descending), ("id", descending)):
        order.setdefault(field, down)
    return list(order.items())


def moves(to: Mapping[str, Any]) -> bool:
    """Whether a change to these fields moves ``updated_at`` to the present."""
    return "updated_at" not in to and not all(field.startswith("upload_") for field in to)


class Registry(abc.ABC):
    """Image records and their members, and jobs.

    Deleted records stay, so that no id is ever used twice; only ``change``,
    ``expired`` and ``recall`` still see them.

    A step ``within`` limits, those of the image's owner, is refused with OverLimit
    when it makes the usage of that project grow beyond one of them; then nothing happened.
    Of steps at the same time each is judged with what the others did. A step that makes
    nothing grow is never refused so. Raises Conflict when the image has another owner.

    A place is that of one image's data, once: a step that would bring a second there is refused
    with LocationTaken, and nothing happened.
    """

    OPTS: ClassVar[Sequence[cfg.Opt]] = ()

    def close(self) -> None:  # noqa: B027 - most drivers hold nothing
        """Release what is held while idle, such as connections; later calls may open it again."""

    @abc.abstractmethod
    def add(self, image: Image, within: Limits | None = None) -> None:
        """Record a new image. Raises AlreadyExists for an id that exists or ever did."""

    @abc.abstractmethod
    def get(self, image_id: str) -> Image:
        """Raises NotFound where there is none, or no longer."""

    @abc.abstractmethod
    def recall(self, image_id: str) -> Image:
        """As ``get``, of a deleted image too. Raises NotFound where there never was one."""

    @abc.abstractmethod
    def list(self, query: Query) -> builtins.list[Image]:
        """One page of images, in the query's order."""

    @abc.abstractmethod
    def change(
        self, image_id: str, was: Mapping[str, Any], within: Limits | None = None, /, **to: Any
    ) -> Image:
        """Set the fields ``to`` if every field in ``was`` still has its value; one atomic step.

        Returns the record as it is then. ``properties``, ``tags`` and
        ``locations`` are replaced whole (and cannot stand in ``was``).
        ``updated_at`` moves to the present unless it is among ``to`` or only
        ``upload_*`` fields change. Raises Conflict when a field differs and
        NotFound when the id never existed.
        """

    @abc.abstractmethod
    def holds(self, location: Location) -> bool:
        """Whether any image has its data at this place."""

    @abc.abstractmethod
    def expired(self, now: float) -> builtins.list[Image]:
        """Images whose ``upload_expires`` lies before ``now`` (seconds since the epoch),
        and all in ``pending_delete``; deleted ones with an upload left included."""

    @abc.abstractmethod
    def usage(self, project: str) -> Usage:
        """The sum of ``Image.usage`` over a project's images."""

    @abc.abstractmethod
    def add_member(self, member: Member, most: int | None = None) -> None:
        """Share an image, with at most ``most`` projects; None for any number.

        Raises QuotaExceeded when it is shared with so many, counted with those that are added
        at the same time; AlreadyExists when it is already shared with that project, and
        NotFound where there is no such image, or no longer.
        """

    @abc.abstractmethod
    def members(self, image_id: str) -> builtins.list[Member]:
        """All members of an image, oldest first; none of one that does not exist."""

    @abc.abstractmethod
    def change_member(self, image_id: str, member_id: str, status: MemberStatus) -> Member:
        """Record a project's answer and the time of it. Raises NotFound."""

    @abc.abstractmethod
    def remove_member(self, image_id: str, member_id: str) -> None:
        """Stop sharing with a project. Raises NotFound."""

    # Jobs. Every write of a worker carries its epoch: once another worker has claimed
    # the job, or it has ended, the write is refused and changes nothing.

    @abc.abstractmethod
    def add_job(
        self, job: Job, was: Mapping[str, Any] = NOTHING, within: Limits | None = None, /, **to: Any
    ) -> None:
        """Record a new job and change its image as ``change`` does; one atomic step.

        Raises AlreadyExists for an id that exists, Conflict while another job of the image
        has not ended, and what ``change`` raises; then neither happened.
        """

    @abc.abstractmethod
    def get_job(self, job_id: str) -> Job:
        """Raises NotFound."""

    @abc.abstractmethod
    def jobs_of(self, image_id: str) -> builtins.list[Job]:
        """All jobs of an image, oldest first; those of deleted images too."""

    @abc.abstractmethod
    def jobs(
        self, project: str | None, marker: Job | None = None, limit: int = 25
    ) -> builtins.list[Job]:
        """A page of a project's jobs, or of all projects', newest first, behind ``marker``."""

    @abc.abstractmethod
    def claim_job(
        self, kinds: Collection[str], now: float, lease: float, job_id: str | None = None
    ) -> Job | None:
        """Take the oldest job of these kinds that nobody works at, or return None.

        With ``job_id``, take that one or none.

        Nobody works at a job in INIT, and at one in RUNNING whose lease lies before
        ``now``. It is returned in RUNNING with a new epoch and ``lease``; ``begin_at``
        is the first time. Of many that ask at once each gets another job, or none.
        """

    @abc.abstractmethod
    def free_jobs(
        self, kinds: Collection[str], now: float, limit: int = 1000
    ) -> builtins.list[Job]:
        """The oldest jobs of these kinds that nobody works at, as ``claim_job`` has it."""

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
        """Set fields of a running job and change its image as ``change`` does; one atomic step.

        Returns the job as it is then. A worker renews its lease, reports progress and
        ends the job with this. Raises Conflict when the job is not in RUNNING in this epoch
        or the image is not as it was, and NotFound; then neither changed.
        """

    @abc.abstractmethod
    def cancel_jobs(self, image_id: str) -> None:
        """Set the cancel flag of every job of this image that has not ended."""

    @abc.abstractmethod
    def forget_jobs(self, before: datetime.datetime) -> int:
        """Remove the jobs that ended before a time; return how many."""
