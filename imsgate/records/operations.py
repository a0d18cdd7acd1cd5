"""Changes to one attribute each, and what they make of a record. Pure."""

import dataclasses
from collections.abc import Callable
from typing import Any

from imsgate import errors
from imsgate.model import Image, Status, Visibility
from imsgate.records.attributes import SETTABLE


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """``op`` is add, remove or replace; ``name`` is the attribute.

    If ``new`` is true, the operation is refused for an image that already has the attribute.
    """

    op: str
    name: str
    value: Any = None
    new: bool = False


def apply(
    image: Image,
    operations: list[Operation],
    permits: Callable[[str, str], bool] = lambda action, name: True,
) -> dict[str, Any]:
    """The fields of ``image`` that the operations change, with their new values.

    ``permits(action, name)`` says whether a property may be created, read, updated or deleted. One
    that may not be read cannot be changed.

    Raises NoSuchProperty for replacing or removing a property that the image does not have,
    PropertyExists for a ``new`` attribute that it already has, Reserved for what ``permits``
    refuses, and Forbidden for removing an attribute that every image has or changing the formats
    of an image that has data.
    """
    fields: dict[str, Any] = {}
    properties = dict(image.properties)
    for operation in operations:
        name = operation.name
        exists = name in properties
        is_shown = exists and permits("read", name)
        if operation.new and (name in SETTABLE or is_shown):
            raise errors.PropertyExists(name=name)
        if name in SETTABLE:
            fields[name] = _attribute(image, operation)
            continue
        if operation.op != "add" and not is_shown:
            raise errors.NoSuchProperty(name=name)
        if (exists and not is_shown) or not permits(_action(operation, exists=exists), name):
            raise errors.Reserved(name=name)
        if operation.op == "remove":
            del properties[name]
        else:
            properties[name] = operation.value
    if properties != image.properties:
        fields["properties"] = properties
    return fields


def _action(operation: Operation, *, exists: bool) -> str:
    """What an operation does to a property."""
    if operation.op == "remove":
        return "delete"
    return "update" if exists else "create"


def _attribute(image: Image, operation: Operation) -> Any:
    """The new value of an attribute that every image has. Raises Forbidden."""
    if operation.op == "remove":
        raise errors.Forbidden(action=f"remove the attribute '{operation.name}'")
    if operation.name.endswith("_format") and image.status != Status.QUEUED:
        raise errors.Forbidden(action=f"change '{operation.name}' once the image has data")
    return stored_value(operation.name, operation.value)


def stored_value(name: str, value: Any) -> Any:
    """A validated JSON value as the record stores it.

    As in Glance, an empty owner means that the image has no owner. A whole number may have been
    written with a fraction, as 7.0.
    """
    if name in ("min_disk", "min_ram"):
        return int(value)
    if name == "tags":
        return frozenset(value)
    if name == "owner":
        return value or None
    return Visibility(value) if name == "visibility" else value
