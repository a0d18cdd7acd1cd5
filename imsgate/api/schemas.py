"""The JSON schemas of the Image API v2: published to clients, and used to validate requests.

Clients build their models from these documents, so names and structure are those of the Image
API v2 reference (Image Schemas, Task Schemas).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from imsgate import errors
from imsgate.model import MemberStatus, Status, Visibility
from imsgate.records.attributes import READ_ONLY

Schema = Mapping[str, Any]

_UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"

#: Length limit of a custom property; the size of Glance's column.
_MAX_PROPERTY_CHARACTERS = 65535
#: Custom properties that other services use. The client ``glance`` makes a command-line option,
#: such as ``--os-distro``, of every property in the schema.
_COMMON_PROPERTIES = {
    "kernel_id": "Image that contains the kernel of an AMI image",
    "ramdisk_id": "Image that contains the ramdisk of an AMI image",
    "instance_uuid": "Server from which the image was created",
    "architecture": "Processor architecture that the image requires",
    "os_distro": "Common name of the operating system distribution",
    "os_version": "Version of the operating system, as its distributor names it",
    "description": "A description of the image for people",
}

_INT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def _text(description: str, length: int, *, null: bool = True, **keywords: Any) -> Schema:
    kind: Any = ["null", "string"] if null else "string"
    return {"type": kind, "description": description, "maxLength": length, **keywords}


def image(disk_formats: Sequence[str], container_formats: Sequence[str]) -> Schema:
    """The schema of one image."""
    properties = {
        "id": {"type": "string", "description": "The image's identifier", "pattern": _UUID},
        "name": _text("A descriptive name", 255),
        "status": {
            "type": "string",
            "description": "Status of the image",
            "enum": [str(status) for status in Status],
        },
        "visibility": {
            "type": "string",
            "description": "Who can see the image",
            "enum": [str(visibility) for visibility in Visibility],
        },
        "protected": {"type": "boolean", "description": "Whether the image cannot be deleted"},
        "os_hidden": {
            "type": "boolean",
            "description": "Whether lists omit the image unless os_hidden is requested",
        },
        "checksum": _text("MD5 digest of the data in hexadecimal", 32),
        "os_hash_algo": _text("Algorithm of os_hash_value", 64),
        "os_hash_value": _text("Digest of the data in hexadecimal", 128),
        "owner": _text("Project that owns the image", 255),
        "size": {"type": ["null", "integer"], "description": "Size of the data in bytes"},
        "virtual_size": {
            "type": ["null", "integer"],
            "description": "Size of the disk that the data describes, in bytes",
        },
        "container_format": {
            "type": ["null", "string"],
            "description": "Container format",
            "enum": [None, *container_formats],
        },
        "disk_format": {
            "type": ["null", "string"],
            "description": "Disk format",
            "enum": [None, *disk_formats],
        },
        "created_at": {"type": "string", "description": "Time of creation"},
        "updated_at": {"type": "string", "description": "Time of the last change"},
        "tags": {
            "type": "array",
            "description": "Tags of the image",
            "items": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        "min_ram": {**_INT, "description": "Memory required to boot the image, in MiB"},
        "min_disk": {**_INT, "description": "Disk size required to boot the image, in GiB"},
        "self": {"type": "string", "description": "URL of the image"},
        "file": {"type": "string", "description": "URL of the data"},
        "schema": {"type": "string", "description": "URL of this schema"},
        "stores": {"type": "string", "description": "Ids of the stores that contain the data"},
    }
    for name in READ_ONLY & properties.keys():
        properties[name] = {**properties[name], "readOnly": True}
    for name, description in _COMMON_PROPERTIES.items():
        properties[name] = _text(description, _MAX_PROPERTY_CHARACTERS, null=False, is_base=False)
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string", "maxLength": _MAX_PROPERTY_CHARACTERS},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


MEMBER: Schema = {
    "name": "member",
    "properties": {
        "member_id": {"type": "string", "description": "Project with which the image is shared"},
        "image_id": {"type": "string", "description": "The image", "pattern": _UUID},
        "created_at": {"type": "string", "description": "Time at which the image was shared"},
        "updated_at": {"type": "string", "description": "Time of the last change of the status"},
        "status": {
            "type": "string",
            "description": "Whether the project accepted the image",
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
        "type": {"type": "string", "description": "Type of the task"},
        "status": {
            "type": "string",
            "description": "Status of the task",
            "enum": ["pending", "processing", "success", "failure"],
        },
        "input": _optional("object", "Parameters of the task"),
        "result": _optional("object", "Result of the task"),
        "owner": _optional("string", "Project that started the task"),
        "message": {"type": "string", "description": "Reason of the failure"},
        "image_id": _optional("string", "The image"),
        "request_id": _optional("string", "Id of the request that started the task"),
        "user_id": _optional("string", "User who started the task"),
        "progress": _optional("object", "Bytes processed, and total bytes if known"),
        "expires_at": _optional("string", "Time at which the task is removed"),
        "created_at": {"type": "string", "description": "Time of creation"},
        "updated_at": {"type": "string", "description": "Time of the last change"},
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


def documents(image_schema: Schema) -> Mapping[str, Schema]:
    """Every published schema by its name."""
    return {
        "image": image_schema,
        "images": page("images", image_schema),
        "member": MEMBER,
        "members": MEMBERS,
        "task": TASK,
        "tasks": page("tasks", TASK),
    }


class Checker:
    """A schema with its compiled validator. Create it once per process."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._validator = jsonschema.Draft202012Validator(schema)

    def check(self, value: Any) -> None:
        """Raises BadJson, naming the member, if ``value`` does not match the schema."""
        problem = jsonschema.exceptions.best_match(self._validator.iter_errors(value))
        if problem is not None:
            path = "/".join(str(part) for part in problem.absolute_path)
            text = f"{path}: {problem.message}" if path else problem.message
            raise errors.BadJson(problem=text[:500])


def check_id(text: str) -> None:
    """Raises BadJson unless ``text`` is a UUID. The schema's ``$`` also matches before a final
    newline."""
    if not re.fullmatch(_UUID, text):
        raise errors.BadJson(problem="id: it must be a UUID")
