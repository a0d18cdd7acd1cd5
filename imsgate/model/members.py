"""The projects with which an image is shared."""

import dataclasses
import datetime
import enum


class MemberStatus(enum.StrEnum):
    """A project's answer to an image that is shared with it, as Glance names it."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One project with which a ``shared`` image is shared."""

    image_id: str
    member_id: str
    status: MemberStatus = MemberStatus.PENDING
    created_at: datetime.datetime
    updated_at: datetime.datetime
