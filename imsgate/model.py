"""Frozen records and the words they are made of.

Status and visibility words are those of the Image API v2 reference. Sizes are
in bytes except ``min_disk`` (GiB) and ``min_ram`` (MiB). Times are aware
datetimes in UTC.
"""

import dataclasses
import datetime
import enum
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from imsgate import errors


class Status(enum.StrEnum):
    """Image statuses, as Glance names them."""

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
        # Cleanup has removed the data of the abandoned upload: the user may try again. (In
        # Glance a killed image stays killed.)
        Status.KILLED: frozenset({Status.QUEUED, Status.PENDING_DELETE}),
        # Its data is gone. Until then the record keeps the locations, so that a later cleanup
        # can delete what an unavailable store could not.
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


#: An image in one of these no longer exists for any client.
DELETED = frozenset({Status.DELETED, Status.PENDING_DELETE})


#: The data of an image in one of these is coming in. ``killed`` ones return to ``queued``.
INCOMING = frozenset({Status.SAVING, Status.UPLOADING, Status.IMPORTING})

#: ``locations`` of an image in one of these hold what was staged.
STAGED = frozenset({Status.UPLOADING, Status.IMPORTING})


#: The data of an image in one of these is whole and may be read.
READABLE = frozenset({Status.ACTIVE, Status.DEACTIVATED})


class Visibility(enum.StrEnum):
    """Who may see an image, as Glance names it."""

    PRIVATE = "private"
    COMMUNITY = "community"
    SHARED = "shared"
    PUBLIC = "public"


class MemberStatus(enum.StrEnum):
    """What a project said to an image shared with it."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """Where one copy of the data lies: a store's id and that store's own word for the place."""

    store: str
    url: str

    @property
    def place(self) -> str:
        """64 characters that no other place has. Databases hold it: it must never change."""
        return hashlib.sha256(f"{self.store}\0{self.url}".encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What images add up to, by the names of Glance's quotas: bytes, and numbers of images.

    ``image_size_total`` has every copy in a store, ``image_stage_total`` what is staged,
    each with what is reserved for data that is coming in.
    """

    image_size_total: int = 0
    image_stage_total: int = 0
    image_count_total: int = 0
    image_count_uploading: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The most that the images of ``project`` may add up to, by names and in units of Usage.

    What ``most`` does not name has no limit.
    """

    project: str
    most: Mapping[str, int]


# Without slots: a registry fills many at once.
@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """One image record.

    ``upload_store``, ``upload_key`` and ``upload_expires`` (seconds since the
    epoch) describe the attempt that is writing data now. The key is unique per
    attempt, so comparing it fences off every older attempt. Of an active image, they are
    the copy that is being removed, by its store and place. ``upload_reserved`` are
    the bytes that the data coming in may take of its owner's quota.
    """

    id: str
    owner: str | None = None
    name: str | None = None
    status: Status = Status.QUEUED
    visibility: Visibility = Visibility.SHARED
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    os_hidden: bool = False
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    created_at: datetime.datetime
    updated_at: datetime.datetime
    properties: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    tags: frozenset[str] = frozenset()
    locations: tuple[Location, ...] = ()
    upload_store: str | None = None
    upload_key: str | None = None
    upload_expires: float | None = None
    upload_reserved: int = 0

    @property
    def usage(self) -> Usage:
        """What this image adds to its owner's usage."""
        if self.status in DELETED:
            if self.upload_expires is None:
                return Usage()
            # What was coming in goes on until the upload has noticed.
            return Usage(image_size_total=self.upload_reserved, image_count_uploading=1)
        staged, size = self.status in STAGED, self.size or 0
        staging = self.status == Status.UPLOADING
        reserved = self.upload_reserved
        return Usage(
            image_size_total=(0 if staged else size * len(self.locations))
            + (0 if staging else reserved),
            image_stage_total=(size if staged else 0) + (reserved if staging else 0),
            image_count_total=1,
            image_count_uploading=int(self.status in INCOMING or reserved > 0),
        )

    @property
    def copies(self) -> tuple[Location, ...]:
        """The copies that may be read: none before the image is active, nor one that is removed.

        While it is ``uploading`` or ``importing``, ``locations`` hold what was staged.
        """
        if self.status not in READABLE:
            return ()
        if self.upload_key is None:
            return self.locations
        return tuple(one for one in self.locations if one.place != self.upload_key)

    @property
    def removed(self) -> tuple[Location, ...]:
        """The copy of an active image that is being removed, if one is."""
        return tuple(one for one in self.locations if one.place == self.upload_key)

    def require(self, status: Status) -> None:
        """Raises WrongStatus unless it is in this one."""
        if self.status != status:
            raise errors.WrongStatus(image_id=self.id, status=self.status, needed=status)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One project with which a ``shared`` image is shared."""

    image_id: str
    member_id: str
    status: MemberStatus = MemberStatus.PENDING
    created_at: datetime.datetime
    updated_at: datetime.datetime


class JobState(enum.StrEnum):
    """Where a job stands, as the vendor's job query names it."""

    INIT = "INIT"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAIL = "FAIL"


#: Of jobs that have not ended.
UNFINISHED = frozenset({JobState.INIT, JobState.RUNNING})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that outlives the request that asked for it.

    ``kind`` names the code that does it and ``arguments`` (what JSON can say) tell
    it how. ``progress`` and ``total`` are bytes. A running job belongs to the worker
    that claimed it as ``epoch``, until ``lease`` (seconds since the epoch of time);
    whoever claims it then makes a new epoch, which fences the former worker off.
    ``error_code`` and ``reason`` say why a failed job failed.
    """

    id: str
    kind: str
    project: str | None = None
    image_id: str | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    state: JobState = JobState.INIT
    progress: int = 0
    total: int | None = None
    cancelled: bool = False
    error_code: str | None = None
    reason: str | None = None
    lease: float | None = None
    epoch: int = 0
    created_at: datetime.datetime
    updated_at: datetime.datetime
    begin_at: datetime.datetime | None = None
    end_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who is asking, as an authentication filter established it.

    What may be done with it, ``imsgate.auth.policy`` says. ``service_roles`` are those of a
    service that asks for the user; ``domain_id`` and ``system_scope`` are set for a
    token of a domain's or the system's scope, as Keystone knows them.
    """

    user_id: str | None = None
    project_id: str | None = None
    roles: frozenset[str] = frozenset()
    domain_id: str | None = None
    user_domain_id: str | None = None
    project_domain_id: str | None = None
    system_scope: str | None = None
    is_admin_project: bool = True
    service_roles: frozenset[str] = frozenset()


def now() -> datetime.datetime:
    """The present in UTC, to the microsecond."""
    return datetime.datetime.now(datetime.UTC)
