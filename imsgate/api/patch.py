"""PATCH documents of the Image API v2, from JSON to operations. Pure.

There are two forms: ``application/openstack-images-v2.1-json-patch`` (``op``, ``path``,
``value``) and the older v2.0 (``{"replace": "/name", "value": "x"}``), whose ``add`` is refused
if the attribute exists. A path names one attribute; only ``locations`` have deeper ones, and
clients cannot change those this way.
"""

import re
from typing import Any

from imsgate import errors
from imsgate.api.description import TEXT, Schema, listed, record
from imsgate.records.attributes import READ_ONLY, check_settable
from imsgate.records.operations import Operation

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
_OPS = ("add", "remove", "replace")
_POINTER: Schema = {**TEXT, "pattern": "^/"}
SCHEMA = listed(record({"op": {"enum": list(_OPS)}, "path": _POINTER, "value": {}}, "value"))
V20_SCHEMA = listed({"oneOf": [record({op: _POINTER, "value": {}}, "value") for op in _OPS]})
#: A tilde that escapes nothing (RFC 6901 section 3).
_INVALID_ESCAPE = re.compile(r"~(?![01])")


def parse(document: Any, content_type: str) -> list[Operation]:
    """The operations of a document. Raises BadJson, ReadOnly, Reserved, LocationsInvisible."""
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise errors.BadJson(problem="it must be an array of operation objects")
    return [_operation(item, content_type) for item in document]


def _operation(item: dict[str, Any], content_type: str) -> Operation:
    if content_type == V21:
        op, pointer = item.get("op"), item.get("path")
    else:
        ops = [name for name in _OPS if item.get(name)]
        op = ops[0] if len(ops) == 1 else None
        pointer = item.get(op) if op else None
    if op not in _OPS:
        raise errors.BadJson(problem=f"each operation must be exactly one of {', '.join(_OPS)}")
    name = _attribute(op, pointer)
    check_settable(name)
    if name == "id":
        raise errors.ReadOnly(name=name)
    if op != "remove" and "value" not in item:
        raise errors.BadJson(problem=f'operation "{op}" needs a member "value"')
    new = op == "add" and content_type == V20
    return Operation(op, name, item.get("value"), new)


def _attribute(op: str, pointer: Any) -> str:
    """The attribute that a JSON pointer (RFC 6901) names."""
    valid = isinstance(pointer, str) and pointer.startswith("/")
    if not valid or _INVALID_ESCAPE.search(pointer):
        raise errors.BadJson(problem=f"{pointer!r} is not a JSON pointer")
    parts: list[str] = [
        part.replace("~1", "/").replace("~0", "~").strip() for part in pointer[1:].split("/")
    ]
    if parts[0] == "locations":
        verb = "update" if op == "replace" else op
        raise errors.LocationsInvisible(verb=verb)
    if parts[0] in READ_ONLY:
        raise errors.ReadOnly(name=parts[0])
    if len(parts) != 1 or not parts[0]:
        raise errors.BadJson(problem=f"{pointer!r} is not the name of an attribute")
    return parts[0]
