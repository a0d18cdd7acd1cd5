"""The status of an image, and the changes of status that are legal."""

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Status(enum.StrEnum):
    """The status of an image, as Glance names it."""

    QUEUED = "queued"
    SAVING = "saving"
    UPLOADING = "uploading"
    IMPORTING = "importing"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    KILLED = "killed"
    DELETED = "deleted"
    PENDING_DELETE = "pending_delete"


#: Every change of status that an image can make. A registry refuses any other: see
#: :func:`check_transition`. An image may also stay in its status while other fields change.
TRANSITIONS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.QUEUED: frozenset(
            {
                Status.SAVING,  # an upload begins
                Status.UPLOADING,  # data is staged
                Status.IMPORTING,  # a download, or data that a store or bucket already has
                Status.PENDING_DELETE,
            }
        ),
        Status.SAVING: frozenset(
            {
                Status.ACTIVE,
                Status.QUEUED,  # the upload failed
                Status.KILLED,  # its lease ran out: cleanup fences it off before its data goes
                Status.PENDING_DELETE,
            }
        ),
        Status.UPLOADING: frozenset(
            {
                Status.IMPORTING,  # the staged data is complete, and is imported
                Status.QUEUED,  # staging failed
                Status.KILLED,  # as for SAVING
                Status.PENDING_DELETE,
            }
        ),
        Status.IMPORTING: frozenset(
            {
                Status.ACTIVE,
                Status.QUEUED,  # the job failed and has removed the staged data, too
                Status.PENDING_DELETE,
                # IMS creates an image together with its import, so the image goes when the job
                # fails. The job has removed all data: there is nothing to delete first.
                Status.DELETED,
            }
        ),
        Status.ACTIVE: frozenset({Status.DEACTIVATED, Status.PENDING_DELETE}),
        Status.DEACTIVATED: frozenset({Status.ACTIVE, Status.PENDING_DELETE}),
        # Cleanup has removed the data of the abandoned upload, and the user may try again.
        # Glance never uses a killed image again (``glance.domain.Image.valid_state_targets``).
        Status.KILLED: frozenset({Status.QUEUED, Status.PENDING_DELETE}),
        # All its data is deleted. Until then the record keeps the locations, so that a later
        # cleanup can delete what an unavailable store could not.
        Status.PENDING_DELETE: frozenset({Status.DELETED}),
        # Nothing leaves this status: an id is never used twice.
        Status.DELETED: frozenset(),
    }
)


def may_become(before: Status, after: Status) -> bool:
    """Whether an image in status ``before`` may be in ``after`` once it has changed."""
    return before == after or after in TRANSITIONS[before]


def check_transition(image_id: str, before: Status, after: Status) -> None:
    """Raise ValueError if TRANSITIONS has no such change: no request can cause it, only a bug."""
    if not may_become(before, after):
        raise ValueError(f"image {image_id} cannot change from {before} to {after}")


#: Images in these statuses no longer exist for any client.
DELETED = frozenset({Status.DELETED, Status.PENDING_DELETE})

#: Data of images in these statuses is coming in.
INCOMING = frozenset({Status.SAVING, Status.UPLOADING, Status.IMPORTING})

#: The ``locations`` of images in these statuses are staged data, not the image's own.
STAGED = frozenset({Status.UPLOADING, Status.IMPORTING})

#: Images in these statuses have all their data. (Users read only ``active`` images.)
READABLE = frozenset({Status.ACTIVE, Status.DEACTIVATED})
