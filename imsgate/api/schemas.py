"""The JSON schemas of the Image API v2: served to clients, and what requests are checked by.

Unchanged clients build their models from these documents, so names and shapes
are those of the Image API v2 reference ("Image Schemas").
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from imsgate import errors
from imsgate.model import MemberStatus, Status, Visibility

Schema = Mapping[str, Any]

_UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

#: Attributes no client may set.
READ_ONLY = frozenset(
    "checksum created_at direct_url file os_hash_algo os_hash_value schema self size status "
    "stores updated_at virtual_size locations".split()
)
#: Those of them that a new image may name and does not keep, as in Glance.
NOT_KEPT = frozenset({"os_hash_algo", "os_hash_value"})
#: Names that cannot even be custom properties.
RESERVED = frozenset({"location", "deleted", "deleted_at"})
RESERVED_PREFIX = "os_glance"
#: Attributes a client may set, other than custom properties.
SETTABLE = frozenset(
    "name visibility protected os_hidden owner tags min_disk min_ram disk_format "
    "container_format".split()
)

#: Characters of a custom property; what Glance's column holds.
LONGEST_PROPERTY = 65535
#: Custom properties by the names that other services read. ``glance`` makes an option of each
#: property in the schema it was served, so it has ``--os-distro`` only where the schema says so.
COMMON = {
    "kernel_id": "Image that holds the kernel, for an AMI",
    "ramdisk_id": "Image that holds the ramdisk, for an AMI",
    "instance_uuid": "Server it was made from",
    "architecture": "Processor architecture it needs",
    "os_distro": "Operating system in it, by its common name",
    "os_version": "Version of the operating system, by its maker",
    "description": "What it is, for people",
}

_INT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def _text(description: str, length: int, *, null: bool = True, **more: Any) -> Schema:
    kind: Any = ["null", "string"] if null else "string"
    return {"type": kind, "description": description, "maxLength": length, **more}


def image(disk_formats: Sequence[str], container_formats: Sequence[str]) -> Schema:
    """The schema of one image."""
    properties = {
        "id": {"type": "string", "description": "The image's identifier", "pattern": _UUID},
        "name": _text("A descriptive name", 255),
        "status": {
            "type": "string",
            "description": "Where the image stands",
            "enum": [str(status) for status in Status],
        },
        "visibility": {
            "type": "string",
            "description": "Who can see the image",
            "enum": [str(visibility) for visibility in Visibility],
        },
        "protected": {"type": "boolean", "description": "Whether deleting is refused"},
        "os_hidden": {"type": "boolean", "description": "Whether default lists leave it out"},
        "checksum": _text("MD5 digest of the data, hexadecimal", 32),
        "os_hash_algo": _text("Algorithm of os_hash_value", 64),
        "os_hash_value": _text("Digest of the data, hexadecimal", 128),
        "owner": _text("The project it belongs to", 255),
        "size": {"type": ["null", "integer"], "description": "Size of the data in bytes"},
        "virtual_size": {
            "type": ["null", "integer"],
            "description": "Size of the disk in the data, in bytes",
        },
        "container_format": {
            "type": ["null", "string"],
            "description": "Format of the container",
            "enum": [None, *container_formats],
        },
        "disk_format": {
            "type": ["null", "string"],
            "description": "Format of the disk",
            "enum": [None, *disk_formats],
        },
        "created_at": {"type": "string", "description": "When the record was made"},
        "updated_at": {"type": "string", "description": "When the record last changed"},
        "tags": {
            "type": "array",
            "description": "Words attached to the image",
            "items": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        "min_ram": {**_INT, "description": "Memory needed to boot it, in MiB"},
        "min_disk": {**_INT, "description": "Disk needed to boot it, in GiB"},
        "self": {"type": "string", "description": "URL of the image"},
        "file": {"type": "string", "description": "URL of the data"},
        "schema": {"type": "string", "description": "URL of this schema"},
        "stores": {"type": "string", "description": "Ids of the stores that hold the data"},
    }
    for name in READ_ONLY & properties.keys():
        properties[name] = {**properties[name], "readOnly": True}
    for name, about in COMMON.items():
        properties[name] = _text(about, LONGEST_PROPERTY, null=False, is_base=False)
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string", "maxLength": LONGEST_PROPERTY},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


MEMBER: Schema = {
    "name": "member",
    "properties": {
        "member_id": {"type": "string", "description": "The project it is shared with"},
        "image_id": {"type": "string", "description": "The image", "pattern": _UUID},
        "created_at": {"type": "string", "description": "When it was shared"},
        "updated_at": {"type": "string", "description": "When the status last changed"},
        "status": {
            "type": "string",
            "description": "What the project answered",
            "enum": [str(status) for status in MemberStatus],
        },
        "schema": {"type": "string", "readOnly": True},
    },
}


MEMBERS: Schema = {
    "name": "members",
    "properties": {
        "members": {"type": "array", "items": MEMBER},
        "schema": {"type": "string"},
    },
    "links": [{"rel": "describedby", "href": "{schema}"}],
}


def _optional(kind: str, description: str) -> Schema:
    return {"type": ["null", kind], "description": description}


TASK: Schema = {
    "name": "task",
    "properties": {
        "id": {"type": "string", "description": "The task's identifier", "pattern": _UUID},
        "type": {"type": "string", "description": "What is done"},
        "status": {
            "type": "string",
            "description": "How far it is",
            "enum": ["pending", "processing", "success", "failure"],
        },
        "input": _optional("object", "What was asked for"),
        "result": _optional("object", "What came of it"),
        "owner": _optional("string", "The project that asked"),
        "message": {"type": "string", "description": "Why it failed"},
        "image_id": _optional("string", "The image"),
        "request_id": _optional("string", "The request that asked"),
        "user_id": _optional("string", "Who asked"),
        "progress": _optional("object", "Bytes done, and bytes in all where that is known"),
        "expires_at": _optional("string", "When it is forgotten"),
        "created_at": {"type": "string", "description": "When it was asked for"},
        "updated_at": {"type": "string", "description": "When it last changed"},
        "self": {"type": "string", "readOnly": True},
        "schema": {"type": "string", "readOnly": True},
    },
}


def page(name: str, item: Schema) -> Schema:
    """The schema of a page of items."""
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


class Checker:
    """A schema with its compiled validator; made once per process."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._validator = jsonschema.Draft202012Validator(schema)

    def check(self, value: Any) -> None:
        """Raises BadJson, naming the member, when ``value`` does not fit."""
        problem = jsonschema.exceptions.best_match(self._validator.iter_errors(value))
        if problem is not None:
            where = "/".join(str(part) for part in problem.absolute_path)
            text = f"{where}: {problem.message}" if where else problem.message
            raise errors.BadJson(problem=text[:500])


def check_settable(name: str) -> None:
    """Raises ReadOnly or Reserved for an attribute that clients may not set."""
    if name in READ_ONLY:
        raise errors.ReadOnly(name=name)
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise errors.Reserved(name=name)
    if name not in SETTABLE and name != "id" and not 0 < len(name) <= 255:
        raise errors.BadJson(problem="the name of a property is 1 to 255 characters long")


def check_id(text: str) -> None:
    """Raises BadJson. The schema's ``$`` lets a line end pass behind the id."""
    if not re.fullmatch(_UUID, text):
        raise errors.BadJson(problem="id: it is a UUID")
