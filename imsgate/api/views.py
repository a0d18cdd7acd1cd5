"""Records as the Image API v2 shows them."""

import datetime
from typing import Any

from imsgate.http.request import Request
from imsgate.jobs.progress import MESSAGE
from imsgate.model import GIVEN_ID, Image, Member, Status, isotime


def isotime_of(seconds: float) -> str:
    """A time in seconds since the epoch, in Glance's format."""
    return isotime(datetime.datetime.fromtimestamp(seconds, datetime.UTC))


def base_url(request: Request, public_endpoint: str | None) -> str:
    """The URL by which clients reach this service, without a trailing slash."""
    return (public_endpoint or request.application_url).rstrip("/")


def image(record: Image) -> dict[str, Any]:
    """One image; its custom properties are members of the same object.

    Times are left to the encoder of the response, which writes them several times as fast.
    """
    shown_id = record.shown_id
    href = f"/v2/images/{shown_id}"
    view: dict[str, Any] = {
        **record.properties,
        "id": shown_id,
        "name": record.name,
        "status": record.status,
        "visibility": record.visibility,
        "owner": record.owner,
        "disk_format": record.disk_format,
        "container_format": record.container_format,
        "size": record.size,
        "virtual_size": record.virtual_size,
        "checksum": record.checksum,
        "os_hash_algo": record.os_hash_algo,
        "os_hash_value": record.os_hash_value,
        "min_disk": record.min_disk,
        "min_ram": record.min_ram,
        "protected": record.protected,
        "os_hidden": record.os_hidden,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "tags": sorted(record.tags),
        "self": href,
        "file": f"{href}/file",
        "schema": "/v2/schemas/image",
    }
    view.pop(GIVEN_ID, None)
    if record.status != Status.QUEUED:
        view.pop(MESSAGE, None)  # data that was uploaded since is not what failed
    if copies := record.copies:
        view["stores"] = ",".join(location.store for location in copies)
    return view


def member(record: Member, image: Image) -> dict[str, Any]:
    """One member of ``image``."""
    return {
        "image_id": image.shown_id,
        "member_id": record.member_id,
        "status": record.status,
        "created_at": isotime(record.created_at),
        "updated_at": isotime(record.updated_at),
        "schema": "/v2/schemas/member",
    }
