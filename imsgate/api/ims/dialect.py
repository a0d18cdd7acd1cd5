"""``/v2/images`` under a profile: Glance's calls with what Huawei's image service adds."""

import dataclasses
from typing import Any

from imsgate.api import listing, patch, views
from imsgate.api.ims import attributes, query, systems
from imsgate.errors import ReadOnly
from imsgate.model import Image
from imsgate.profiles import Profile
from imsgate.registry.base import Query


class Native(views.Dialect):
    """Records as this service's clients write and read them."""

    detects = True

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return attributes.complete(body, self.profile)

    def changes(self, operations: list[patch.Operation]) -> list[patch.Operation]:
        """Another system is of another type, platform and width. Raises ReadOnly."""
        if any(operation.name == attributes.ORIGIN for operation in operations):
            raise ReadOnly(name=attributes.ORIGIN)
        derived = [
            patch.Operation("add", name, value)
            for operation in operations
            if operation.name == "__os_version" and operation.op != "remove"
            for name, value in systems.parse(operation.value).attributes().items()
        ]
        return [*map(_kept, operations), *derived]

    def query(self, params: listing.Params, viewer: str | None, **bounds: Any) -> Query:
        return query.parse(params, viewer, **bounds)

    def image(self, record: Image, viewer: str | None) -> dict[str, Any]:
        return attributes.view(record, viewer, self.profile)


def _kept(operation: patch.Operation) -> patch.Operation:
    """An operation with the value that a record keeps."""
    if operation.name == "visibility":
        visibility = attributes.kept_visibility(operation.value)
        return dataclasses.replace(operation, value=visibility)
    return operation
