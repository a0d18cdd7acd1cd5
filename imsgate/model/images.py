"""Image records, where their data is, and what they use of a project's quotas."""

import dataclasses
import datetime
import enum
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from imsgate import errors
from imsgate.model.statuses import DELETED, INCOMING, READABLE, STAGED, Status


class Visibility(enum.StrEnum):
    """Who may see an image, as Glance names it."""

    PRIVATE = "private"
    COMMUNITY = "community"
    SHARED = "shared"
    PUBLIC = "public"


class Damage(enum.StrEnum):
    """How a copy of an image's data differs from what the record says."""

    #: The store has no such object.
    MISSING = "missing"
    #: The object has another size.
    SIZE = "size"
    #: The object has other content: a digest differs.
    CONTENT = "content"


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """Where one copy of an image's data is: a store's id, and the URL that this store gave it.

    ``damage`` is what the last check of this copy found, a word of Damage, or None if it found
    nothing. It does not belong to the identity of the location, and only
    ``Registry.record_check`` sets it.
    """

    store: str
    url: str
    damage: str | None = dataclasses.field(default=None, compare=False)

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
