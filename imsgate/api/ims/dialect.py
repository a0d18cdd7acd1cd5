"""``/v2/images`` with ``[ims] profile``: the Image API v2 and what IMS adds to it."""

import dataclasses
from typing import Any

from imsgate.api import listing, schemas
from imsgate.api.dialect import Dialect
from imsgate.api.ims import attributes, query, systems
from imsgate.errors import ReadOnly
from imsgate.model import Image
from imsgate.profiles import Profile
from imsgate.records.operations import Operation
from imsgate.registry.base import Query


class ImsDialect(Dialect):
    """Records as clients of IMS write and read them."""

    def __init__(self, schema: schemas.Checker, profile: Profile) -> None:
        super().__init__(schema)
        self.profile = profile

    def complete(self, fields: dict[str, Any]) -> dict[str, Any]:
        return attributes.complete(fields, self.profile)

    def changes(self, operations: list[Operation]) -> list[Operation]:
        """Attributes that derive from others change with them. Raises ReadOnly, BadAttribute."""
        if any(operation.name == attributes.ORIGIN for operation in operations):
            raise ReadOnly(name=attributes.ORIGIN)
        stored = [_stored(operation) for operation in operations]
        derived = [
            Operation("add", name, value)
            for operation in stored
            for name, value in _derived(operation).items()
        ]
        return [*stored, *derived]

    def may_be_empty(self, name: str) -> bool:
        return super().may_be_empty(name) and not attributes.never_empty(name)

    def query(self, params: listing.Params, viewer: str | None, **bounds: Any) -> Query:
        return query.parse(params, viewer, self.profile, **bounds)

    def image(self, record: Image, viewer: str | None) -> dict[str, Any]:
        return attributes.view(record, viewer, self.profile)


def _stored(operation: Operation) -> Operation:
    """The operation with the value that a record stores."""
    if operation.op == "remove":
        return dataclasses.replace(operation, value=None)
    value = attributes.stored_value(operation.name, operation.value)
    return dataclasses.replace(operation, value=value)


def _derived(operation: Operation) -> dict[str, str]:
    """The attributes that follow from the operating system or the processor architecture."""
    if operation.name == "__support_arm":
        return attributes.architecture(operation.value)
    if operation.name == "__os_version" and operation.op != "remove":
        return systems.parse(operation.value).attributes()
    return {}
