"""What is in progress in a registry, as numbers."""

import dataclasses
import datetime
from collections.abc import Mapping

from imsgate.model.jobs import JobState
from imsgate.model.statuses import Status

#: The statuses that an image leaves by itself, without its user.
PASSING = (
    Status.SAVING,
    Status.UPLOADING,
    Status.IMPORTING,
    Status.KILLED,
    Status.PENDING_DELETE,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Numbers of records of all projects.

    ``images`` has the images in each status of PASSING, ``jobs`` the jobs that have not ended by
    kind and state; both may lack what there is none of. ``waiting_since`` is when the oldest job
    in INIT was created. ``suspended_uploads`` are resumable uploads that wait for their client.
    ``reserved_bytes`` is the sum over the images whose data comes in or may do so.
    ``damaged_copies`` has the copies in which the last check found damage, by store; it may lack
    what there is none of.
    """

    images: Mapping[Status, int]
    jobs: Mapping[tuple[str, JobState], int]
    waiting_since: datetime.datetime | None
    suspended_uploads: int
    reserved_bytes: int
    damaged_copies: Mapping[str, int]
