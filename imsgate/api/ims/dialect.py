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
        """What follows from others follows their changes. Raises ReadOnly."""
        if any(operation.name == attributes.ORIGIN for operation in operations):
            raise ReadOnly(name=attributes.ORIGIN)
        kept = [_kept(operation) for operation in operations]
        derived = [
            patch.Operation("add", name, value)
            for operation in kept
            for name, value in _derived(operation).items()
        ]
        return [*kept, *derived]

    def query(self, params: listing.Params, viewer: str | None, **bounds: Any) -> Query:
        return query.parse(params, viewer, self.profile, **bounds)

    def image(self, record: Image, viewer: str | None) -> dict[str, Any]:
        return attributes.view(record, viewer, self.profile)


def _kept(operation: patch.Operation) -> patch.Operation:
    """An operation with the value that a record keeps."""
    if operation.op == "remove":
        return dataclasses.replace(operation, value=None)
    return dataclasses.replace(operation, value=attributes.kept(operation.name, operation.value))


def _derived(operation: patch.Operation) -> dict[str, str]:
    """What another system, or another kind of processor, says of an image."""
    if operation.name == "__support_arm":
        return attributes.architecture(operation.value)
    if operation.name == "__os_version" and operation.op != "remove":
        return systems.parse(operation.value).attributes()
    return {}
