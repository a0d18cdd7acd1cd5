"""PATCH documents of the Image API v2: text to operations, and operations applied to a record.

Two forms: ``application/openstack-images-v2.1-json-patch`` (``op``, ``path``,
``value``) and the older v2.0 (``{"replace": "/name", "value": "x"}``), whose
``add`` overwrites nothing. Paths name one attribute; deeper ones exist only for
locations, which clients never change this way.
"""

import dataclasses
import re
from typing import Any

from imsgate import errors
from imsgate.api import schemas
from imsgate.model import Image, Status, Visibility

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
_OPS = ("add", "remove", "replace")
_ESCAPE = re.compile(r"~(?![01])")


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """``op`` is add, remove or replace; ``name`` the attribute.

    One that is ``new`` is refused where the image has the attribute already.
    """

    op: str
    name: str
    value: Any = None
    new: bool = False


def parse(document: Any, content_type: str) -> list[Operation]:
    """The operations of a document. Raises BadJson, ReadOnly, Reserved."""
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise errors.BadJson(problem="it must be an array of operation objects")
    return [_operation(item, content_type) for item in document]


def _operation(item: dict[str, Any], content_type: str) -> Operation:
    if content_type == V21:
        op, pointer = item.get("op"), item.get("path")
    else:
        ops = [name for name in _OPS if name in item]
        op = ops[0] if len(ops) == 1 else None
        pointer = item.get(op) if op else None
    if op not in _OPS:
        raise errors.BadJson(problem=f"each operation is exactly one of {', '.join(_OPS)}")
    name = _attribute(op, pointer)
    schemas.check_settable(name)
    if name == "id":
        raise errors.ReadOnly(name=name)
    if op != "remove" and "value" not in item:
        raise errors.BadJson(problem=f'operation "{op}" needs a member "value"')
    new = op == "add" and content_type == V20
    return Operation(op, name, item.get("value"), new)


def _attribute(op: str, pointer: Any) -> str:
    """The one attribute a JSON pointer (RFC 6901) names."""
    if not isinstance(pointer, str) or not pointer.startswith("/") or _ESCAPE.search(pointer):
        raise errors.BadJson(problem=f"{pointer!r} is not a JSON pointer")
    parts = [part.replace("~1", "/").replace("~0", "~").strip() for part in pointer[1:].split("/")]
    if parts[0] == "locations":
        verb = "update" if op == "replace" else op
        raise errors.LocationsInvisible(verb=verb)
    if parts[0] in schemas.READ_ONLY:
        raise errors.ReadOnly(name=parts[0])
    if len(parts) != 1 or not parts[0]:
        raise errors.BadJson(problem=f"{pointer!r} names nothing that can be changed")
    return parts[0]


def apply(image: Image, operations: list[Operation]) -> dict[str, Any]:
    """The fields of ``image`` that the operations change, with their new values.

    Raises Conflict for replacing or removing a property it has not and for
    adding as new what it has, and Forbidden for removing an attribute every
    image has and for changing the formats of an image that has data.
    """
    fields: dict[str, Any] = {}
    properties = dict(image.properties)
    for operation in operations:
        name = operation.name
        if operation.new and (name in schemas.SETTABLE or name in properties):
            raise errors.PropertyExists(name=name)
        if name in schemas.SETTABLE:
            if operation.op == "remove":
                raise errors.Forbidden(action=f"remove the attribute '{name}'")
            if name.endswith("_format") and image.status != Status.QUEUED:
                raise errors.Forbidden(action=f"change '{name}' once the image has data")
            fields[name] = convert(name, operation.value)
        elif operation.op != "add" and name not in properties:
            raise errors.NoSuchProperty(name=name)
        elif operation.op == "remove":
            del properties[name]
        else:
            properties[name] = operation.value
    if properties != image.properties:
        fields["properties"] = properties
    return fields


def convert(name: str, value: Any) -> Any:
    """A validated JSON value as the record keeps it; an empty owner is none, as in Glance."""
    if name == "tags":
        return frozenset(value)
    if name == "owner":
        return value or None
    return Visibility(value) if name == "visibility" else value
