"""Image records for tests."""

import datetime
import uuid
from typing import Any

from imsgate.model import Image, Job, Member

#: Long ago, with microseconds.
START = datetime.datetime(2020, 1, 31, 23, 59, 58, 999_000, tzinfo=datetime.UTC)


def after(microseconds: int) -> datetime.datetime:
    """A time shortly after START."""
    return START + datetime.timedelta(microseconds=microseconds)


def image(**fields: Any) -> Image:
    """A record with an id of its own, created at START."""
    given: dict[str, Any] = {"id": str(uuid.uuid4()), "created_at": START, "updated_at": START}
    return Image(**(given | fields))


def member(image_id: str, member_id: str, **fields: Any) -> Member:
    given: dict[str, Any] = {"created_at": START, "updated_at": START}
    return Member(image_id=image_id, member_id=member_id, **(given | fields))


def job(image_id: str | None = None, **fields: Any) -> Job:
    """A job with an id of its own, created at START."""
    given: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "kind": "test",
        "image_id": image_id,
        "created_at": START,
        "updated_at": START,
    }
    return Job(**(given | fields))
