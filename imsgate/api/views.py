"""Records as the Image API v2 shows them."""

import datetime
from typing import Any

from imsgate.api import listing, patch
from imsgate.http.request import Request
from imsgate.model import Image, Member
from imsgate.registry.base import Query


def isotime(when: datetime.datetime) -> str:
    """A time as Glance writes it: ISO 8601, whole seconds, UTC."""
    return when.isoformat("T", "seconds")[:19] + "Z"


def base_url(request: Request, public_endpoint: str | None) -> str:
    """Where clients reach this service, without a slash at the end."""
    return (public_endpoint or request.application_url).rstrip("/")


def image(record: Image) -> dict[str, Any]:
    """One image, custom properties among its members."""
    href = f"/v2/images/{record.id}"
    view: dict[str, Any] = {
        **record.properties,
        "id": record.id,
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
        "created_at": isotime(record.created_at),
        "updated_at": isotime(record.updated_at),
        "tags": sorted(record.tags),
        "self": href,
        "file": f"{href}/file",
        "schema": "/v2/schemas/image",
    }
    if copies := record.copies:
        view["stores"] = ",".join(location.store for location in copies)
    return view


def member(record: Member) -> dict[str, Any]:
    """One member of an image."""
    return {
        "image_id": record.image_id,
        "member_id": record.member_id,
        "status": record.status,
        "created_at": isotime(record.created_at),
        "updated_at": isotime(record.updated_at),
        "schema": "/v2/schemas/member",
    }


class Dialect:
    """How clients of ``/v2/images`` write and read records: as in Glance."""

    #: Whether data may come in before formats are declared; then its content says them.
    detects = False

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A new image as it was asked for, with what it has besides. Raises BadAttribute."""
        return body

    def changes(self, operations: list[patch.Operation]) -> list[patch.Operation]:
        """Changes as they were asked for, with what follows from them. Raises BadAttribute."""
        return operations

    def query(self, params: listing.Params, viewer: str | None, **bounds: Any) -> Query:
        """What a list is asked for; see ``listing.parse``."""
        return listing.parse(params, viewer, **bounds)

    def image(self, record: Image, viewer: str | None) -> dict[str, Any]:
        """One image as the project ``viewer`` sees it."""
        return image(record)


GLANCE = Dialect()
