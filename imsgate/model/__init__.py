"""The records that all parts share: images, members, jobs, uploads, identities, and statuses.

Statuses and visibilities are named as in the Image API v2 reference. Sizes are in bytes,
except ``min_disk`` (GiB) and ``min_ram`` (MiB). Times are datetimes in UTC with a time zone,
except those in seconds since the epoch.
"""

from imsgate.model.activity import PASSING, Activity
from imsgate.model.clock import isotime, now
from imsgate.model.identity import Identity
from imsgate.model.images import (
    GIVEN_ID,
    Damage,
    Image,
    Limits,
    Location,
    Usage,
    Visibility,
)
from imsgate.model.jobs import UNFINISHED, Job, JobState
from imsgate.model.members import Member, MemberStatus
from imsgate.model.statuses import (
    DELETED,
    INCOMING,
    READABLE,
    STAGED,
    TRANSITIONS,
    Status,
    check_transition,
    may_become,
)
from imsgate.model.uploads import OVER, Upload, UploadState

__all__ = [
    "DELETED",
    "GIVEN_ID",
    "INCOMING",
    "OVER",
    "PASSING",
    "READABLE",
    "STAGED",
    "TRANSITIONS",
    "UNFINISHED",
    "Activity",
    "Damage",
    "Identity",
    "Image",
    "Job",
    "JobState",
    "Limits",
    "Location",
    "Member",
    "MemberStatus",
    "Status",
    "Upload",
    "UploadState",
    "Usage",
    "Visibility",
    "check_transition",
    "isotime",
    "may_become",
    "now",
]
