"""Which images and jobs a list contains, and in which order."""

import dataclasses
import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from imsgate.model import Image, Job, JobState, MemberStatus, Visibility


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
    """``field`` of an image compared with ``value`` (for IN, a tuple of values).

    A field that is None satisfies EQ None and every condition with ``or_none``, but no
    other. Text is compared by code point, so case and trailing spaces count.

    The API has rejected what databases cannot store: integers of more than 63 bits, text
    with NUL or a lone surrogate, and times without a time zone.
    """

    field: str
    op: Op
    value: Any
    or_none: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One page of a list of images, with Glance's rules of who sees which image.

    ``viewer`` is the project that asks; None stands for a user without a project.
    ``admin`` sees the images of every project.

    Without ``visibility`` a viewer sees its own images, public images, and shared images
    of which it is a member with ``member_status`` (None: any status). It sees community
    images only if they are its own. With ``visibility`` it sees exactly the images of that
    visibility that it may see, and with ``all_visibilities`` all images that it may see.

    An image must also satisfy all ``conditions`` and have all ``properties`` and ``tags``.
    Images in a status of ``model.DELETED`` are never listed.

    ``sort`` is a sequence of fields, each with True for descending. A record without a
    value sorts below every value. Ties are broken by ``created_at`` and ``id``, in the
    direction of the last field. The page starts after ``marker`` and has at most ``limit``
    images.
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


#: Whether a page with these images is long enough.
Enough = Callable[[Sequence[Image]], bool]

#: Images that ``Registry.list`` reads at most before it asks whether these are enough. One has
#: up to 128 KiB of properties.
LIST_BATCH_IMAGES = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs a list contains, and in which order.

    None as ``states`` or ``kinds`` stands for all of them. ``sort`` is a field of a job that is
    never None. Ties are broken by ``created_at`` and ``id``, in the same direction.
    """

    states: Collection[JobState] | None = None
    kinds: Collection[str] | None = None
    sort: str = "created_at"
    descending: bool = True

    def fields(self) -> list[str]:
        """The fields of the order, each named once."""
        return list(dict.fromkeys((self.sort, "created_at", "id")))


#: All jobs, newest first.
ALL_JOBS = JobQuery()


def page_of_jobs(
    jobs: Iterable[Job], marker: Job | None, limit: int | None, query: JobQuery
) -> list[Job]:
    """The page of those jobs that ``query`` selects; None as ``limit`` means no limit."""
    fields = query.fields()

    def place(job: Job) -> list[Any]:
        return [getattr(job, field) for field in fields]

    selected = [
        job
        for job in jobs
        if (query.states is None or job.state in query.states)
        and (query.kinds is None or job.kind in query.kinds)
    ]
    selected.sort(key=place, reverse=query.descending)
    if marker is not None:
        start = place(marker)
        selected = [
            job
            for job in selected
            if (place(job) < start if query.descending else place(job) > start)
        ]
    return selected[:limit]


def ordering(query: Query) -> list[tuple[str, bool]]:
    """The query's ``sort`` with its tie-breakers, so that it is a total order.

    Each field is named once, and none after ``id``, which leaves no ties.
    """
    descending = query.sort[-1][1] if query.sort else True
    order: dict[str, bool] = {}
    for field, down in (*query.sort, ("created_at", descending), ("id", descending)):
        order.setdefault(field, down)
        if field == "id":
            break
    return list(order.items())
