"""Image, member, job and upload records for tests."""

import datetime
import uuid
from typing import Any

from imsgate.model import Image, Job, Location, Member, Status, Upload, Visibility

#: A time in the past, with microseconds.
START = datetime.datetime(2020, 1, 31, 23, 59, 58, 999_000, tzinfo=datetime.UTC)

#: A value for every field of an image except ``id``, each one hard to store exactly.
FULL_IMAGE: dict[str, Any] = {
    "owner": "project",
    "name": "Ünï 🐧 %_'\"",
    "status": Status.SAVING,
    "visibility": Visibility.COMMUNITY,
    "disk_format": "qcow2",
    "container_format": "bare",
    "min_disk": 2**31 - 1,
    "min_ram": 2**31 - 1,
    "protected": True,
    "os_hidden": True,
    "size": 2**40 + 1,
    "virtual_size": 2**63 - 1,
    "checksum": "0" * 32,
    "os_hash_algo": "sha512",
    "os_hash_value": "f" * 128,
    "created_at": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    "updated_at": datetime.datetime(2024, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
    "properties": {"Key": "upper", "key": "lower", "key ": "", "long": "x" * 5000},
    "tags": frozenset({"t", "T", "t ", "ü"}),
    "locations": (Location("slow", "z"), Location("fast", "b"), Location("fast", "a")),
    "upload_store": "fast",
    "upload_key": "attempt-1",
    "upload_expires": 1_700_000_000.123_456,
    "upload_reserved": 2**62,
    "uploaded_by": "e" * 64,
    "uploaded_at": 1_700_000_000.234_567,
    "upload_received": 2**40 + 2,
    "upload_started": 1_699_999_999.123_456,
}


def after(microseconds: int) -> datetime.datetime:
    """A time shortly after START."""
    return START + datetime.timedelta(microseconds=microseconds)


def image(**fields: Any) -> Image:
    """An image record with a new id, created at START."""
    defaults: dict[str, Any] = {"id": str(uuid.uuid4()), "created_at": START, "updated_at": START}
    return Image(**(defaults | fields))


def member(image_id: str, member_id: str, **fields: Any) -> Member:
    """A member of an image, added at START."""
    defaults: dict[str, Any] = {"created_at": START, "updated_at": START}
    return Member(image_id=image_id, member_id=member_id, **(defaults | fields))


def job(image_id: str | None = None, **fields: Any) -> Job:
    """A job with a new id, created at START."""
    defaults: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "kind": "test",
        "image_id": image_id,
        "created_at": START,
        "updated_at": START,
    }
    return Job(**(defaults | fields))


def upload(image_id: str, **fields: Any) -> Upload:
    """An upload of an image with a new id, created at START."""
    defaults: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "image_id": image_id,
        "store": "fast",
        "key": "attempt-1",
        "expires": 1_700_000_000.0,
        "created_at": START,
        "updated_at": START,
    }
    return Upload(**(defaults | fields))
