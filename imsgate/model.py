"""The records that all parts share: images, members, jobs, uploads, identities, and statuses.

Statuses and visibilities are named as in the Image API v2 reference. Sizes are in bytes,
except ``min_disk`` (GiB) and ``min_ram`` (MiB). Times are datetimes in UTC with a time zone,
except those in seconds since the epoch.
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


class Visibility(enum.StrEnum):
    """Who may see an image, as Glance names it."""

    PRIVATE = "private"
    COMMUNITY = "community"
    SHARED = "shared"
    PUBLIC = "public"


class MemberStatus(enum.StrEnum):
    """A project's answer to an image that is shared with it, as Glance names it."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """Where one copy of an image's data is: a store's id, and the URL that this store gave it."""

    store: str
    url: str

    @property
    def place(self) -> str:
        """64 characters that identify the location.

        Databases contain them, so their computation must never change.
        """
        return hashlib.sha256(f"{self.store}\0{self.url}".encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes and numbers of images that a project uses, by the names of Glance's quotas.

    ``image_size_total`` are the bytes of all copies in stores, ``image_stage_total`` those of
    staged data, each with the bytes reserved for data that is coming in.
    """

    image_size_total: int = 0
    image_stage_total: int = 0
    image_count_total: int = 0
    image_count_uploading: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the usage of a project.

    ``maximum`` maps names of Usage to the largest allowed value, in the units of Usage. What
    it does not name is unlimited.
    """

    project: str
    maximum: Mapping[str, int]


#: A reserved property: the id as the client gave it when it created the image, if that is not in
#: lower case. Records are stored and found by the id in lower case.
GIVEN_ID = "os_glance_given_id"


# Without slots, so that the SQL registry can fill the records of a page through vars().
@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """One image record.

    ``upload_store``, ``upload_key`` and ``upload_expires`` (seconds since the epoch) describe
    the attempt that is writing data now. The key is unique per attempt, so comparing it fences
    off every older attempt. On an active image they identify the copy that is being removed,
    by its store and ``Location.place``. ``upload_reserved`` are the bytes of its owner's quota
    that are reserved for the data coming in, ``upload_received`` the bytes that have come in, and
    ``upload_started`` (seconds since the epoch) is when they began to.

    ``uploaded_by`` and ``uploaded_at`` (seconds since the epoch) say who sent the data last and
    when it was complete: see ``imsgate.transfer.repeat``. They are None if nobody is known.
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
    uploaded_by: str | None = None
    uploaded_at: float | None = None
    upload_received: int = 0
    upload_started: float | None = None

    @property
    def usage(self) -> Usage:
        """What this image adds to its owner's usage."""
        if self.status in DELETED:
            if self.upload_expires is None:
                return Usage()
            # The upload continues until it notices the deletion.
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
        """The copies of the image's data that may be read.

        There are none before the image is active: its locations are staged data then. A copy
        that is being removed is left out.
        """
        if self.status not in READABLE:
            return ()
        if self.upload_key is None:
            return self.locations
        return tuple(copy for copy in self.locations if copy.place != self.upload_key)

    @property
    def removed(self) -> tuple[Location, ...]:
        """The copy of an active image that is being removed, if any."""
        return tuple(copy for copy in self.locations if copy.place == self.upload_key)

    @property
    def shown_id(self) -> str:
        """The id as the client gave it."""
        return self.properties.get(GIVEN_ID, self.id)

    def require(self, status: Status) -> None:
        """Raise WrongStatus unless the image is in this status."""
        if self.status != status:
            raise errors.WrongStatus(image_id=self.shown_id, status=self.status, needed=status)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One project with which a ``shared`` image is shared."""

    image_id: str
    member_id: str
    status: MemberStatus = MemberStatus.PENDING
    created_at: datetime.datetime
    updated_at: datetime.datetime


class JobState(enum.StrEnum):
    """The state of a job, as IMS names it (``GET /v1/{project_id}/jobs/{job_id}``)."""

    INIT = "INIT"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAIL = "FAIL"


#: The states of jobs that have not ended.
UNFINISHED = frozenset({JobState.INIT, JobState.RUNNING})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that continues after the request that started it.

    ``kind`` names the code that does the work, and ``arguments`` (a JSON object) are its input.
    ``progress`` and ``total`` are bytes. A running job belongs to the worker that claimed it,
    until ``lease`` (seconds since 1970). Each claim increments ``epoch``, which fences the
    former worker off. ``error_code`` and ``reason`` say why a job failed.
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


class UploadState(enum.StrEnum):
    """The state of a resumable upload."""

    OPEN = "open"  # it waits for data, or a request is writing some
    FINISHING = "finishing"  # all data is there, and a job verifies it
    COMPLETE = "complete"
    ENDED = "ended"  # refused, cancelled or failed


#: An upload in one of these states never changes again.
OVER = frozenset({UploadState.COMPLETE, UploadState.ENDED})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A resumable upload of one image's data, which several requests bring one after the other.

    Only the ``user`` in the ``project`` that began it may continue it. ``staged`` says whether
    it stages data (``/stage``). ``store`` and ``key`` are the store's id and the attempt's key,
    as the image's ``upload_store`` and ``upload_key``. ``target`` is the id of the image's
    store, if that one cannot suspend an attempt.

    ``planned_size`` is the size that the store was told at the beginning (None: unknown), and
    never changes. ``length`` is the size of the whole, None until it is known. ``offset`` is how
    much is durable in the store, and never goes down. All three are in bytes. ``writing`` says
    whether a request may have written beyond ``offset``. Each request that takes the upload over
    increments ``epoch``, which fences the former request off.

    ``digest`` is the Repr-Digest field that the whole must match, ``metadata`` the Upload-Metadata
    field of a client that speaks tus. ``job_id`` names the job that
    verifies an upload in FINISHING. ``reason`` says why an upload ended. ``expires`` is in
    seconds since the epoch.
    """

    id: str
    image_id: str
    user: str | None = None
    project: str | None = None
    staged: bool = False
    store: str
    key: str
    target: str | None = None
    planned_size: int | None = None
    length: int | None = None
    offset: int = 0
    writing: bool = False
    epoch: int = 0
    state: UploadState = UploadState.OPEN
    digest: str | None = None
    metadata: str | None = None
    job_id: str | None = None
    reason: str | None = None
    expires: float
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user of a request, as an authentication filter established it.

    ``imsgate.auth.policy`` decides what the user may do. ``service_roles`` are the roles of a
    service that sends the request for the user. ``domain_id`` and ``system_scope`` are set for
    a Keystone token that is scoped to a domain or to the system.
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
    """The current time in UTC, to the microsecond."""
    return datetime.datetime.now(datetime.UTC)
