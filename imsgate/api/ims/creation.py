"""Requests to create an image from an object, checked and translated to record fields. Pure."""

from collections.abc import Mapping
from typing import Any

from imsgate.api.description import TEXT, record
from imsgate.api.ims import attributes, systems, tags
from imsgate.errors import BadAttribute, NotOffered
from imsgate.http.json_body import without_unused

#: What IMS can do and this gateway cannot, by the member that requests it.
_NOT_OFFERED = {
    "instance_id": "images of servers",
    "volume_id": "images of volumes",
    "cmk_id": "encryption with a key of the client",
    "data_images": "images of several disks",
}

#: Values of ``virtual_env_type`` for those of ``type``.
_ENVIRONMENTS = {
    "ECS": "FusionCompute",
    "FusionCompute": "FusionCompute",
    "BMS": "Ironic",
    "Ironic": "Ironic",
    "IsoImage": attributes.ISO,
    "DataImage": attributes.DATA,
}

#: Versions of systems of which only the type is known.
_UNKNOWN_VERSIONS = {
    "Linux": systems.DEFAULT,
    "Windows": "Other Windows (64 bit)",
    "Other": systems.DEFAULT,
}
#: Values of ``os_version`` that name only the type of system; for data disks.
_OS_TYPES = ("Linux", "Windows")

#: Optional members for which an empty value means that the client does not use them.
_OPTIONAL = frozenset(
    "min_ram max_ram architecture hw_firmware_type enterprise_project_id tags image_tags".split()
)

_MAX_RAM_MB = 2**31 - 1

_RAM = {"type": "integer", "minimum": 0, "maximum": _MAX_RAM_MB}
#: The body of a request. What it must satisfy further depends on the profile and the system.
SCHEMA = record(
    {
        "name": attributes.NAME_SCHEMA,
        "image_url": TEXT,
        "min_disk": {"type": "integer", "minimum": 1},
        "os_version": TEXT,
        "os_type": {"enum": list(_UNKNOWN_VERSIONS)},
        "type": {"enum": list(_ENVIRONMENTS)},
        "min_ram": _RAM,
        "max_ram": _RAM,
        "description": attributes.DESCRIPTION_SCHEMA,
        "architecture": {"enum": ["x86", "arm"]},
        "hw_firmware_type": {"enum": ["bios", "uefi"]},
        "enterprise_project_id": attributes.PROJECT_SCHEMA,
        "is_quick_import": {"type": "boolean"},
        **tags.OF_NEW_IMAGE,
    },
    *("os_version", "os_type", "type", "description", "is_quick_import", "tags", "image_tags"),
    *_OPTIONAL,
)


def check_offered(body: Mapping[str, Any]) -> None:
    """Raises NotOffered if the request asks for what this gateway cannot do."""
    for member, feature in _NOT_OFFERED.items():
        if body.get(member):
            raise NotOffered(problem=feature)


def fields(body: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """The fields of the record that a request describes. Raises BadAttribute.

    ``quick`` is true for a quick import.
    """
    body = without_unused(body, _OPTIONAL)
    attributes.check_name(body.get("name"))
    environment = _ENVIRONMENTS.get(str(body.get("type") or "ECS"))
    if environment is None:
        problem = f"type: it must be one of {', '.join(_ENVIRONMENTS)}"
        raise BadAttribute("IMG.0024", problem=problem)
    version = _version(body, environment, quick=quick)
    if type(body.get("min_disk")) is not int or body["min_disk"] < 1:
        raise BadAttribute("IMG.0055", problem="min_disk: it is required, as a number of GB")
    return {
        "name": body["name"],
        "min_disk": body["min_disk"],
        "__os_version": version,
        "virtual_env_type": environment,
        "tags": tags.of(body),
        "container_format": "bare",
        **_optional_fields(body),
    }


def _optional_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "min_ram" in body:
        fields["min_ram"] = _ram("min_ram", body["min_ram"])
    if "max_ram" in body:
        fields["max_ram"] = str(_ram("max_ram", body["max_ram"]))
    if "description" in body:
        attributes.check_description(body["description"])
        fields["__description"] = body["description"]
    if "architecture" in body:
        if body["architecture"] not in ("x86", "arm"):
            raise BadAttribute("IMG.0212", problem="architecture: it must be x86 or arm")
        fields |= {"__support_arm": "true"} if body["architecture"] == "arm" else {}
    if "hw_firmware_type" in body:
        fields["hw_firmware_type"] = str(body["hw_firmware_type"])
    if "enterprise_project_id" in body:
        project = attributes.enterprise_project(body["enterprise_project_id"])
        fields["enterprise_project_id"] = project
    return fields


def _version(body: Mapping[str, Any], environment: str, *, quick: bool) -> str:
    version = body.get("os_version")
    if environment == attributes.DATA and version in _OS_TYPES:
        return _UNKNOWN_VERSIONS[version]
    if version:
        return str(version)
    if quick and environment != attributes.DATA:
        raise BadAttribute("IMG.0159", problem="os_version: it is required for a quick import")
    if environment == attributes.ISO:
        raise BadAttribute("IMG.0166", problem="os_version: it is required for an ISO image")
    os_type = str(body.get("os_type") or "Linux")
    if os_type not in _UNKNOWN_VERSIONS:
        raise BadAttribute("IMG.0056", problem="os_type: it must be Linux, Windows or Other")
    return _UNKNOWN_VERSIONS[os_type]


def _ram(member: str, size: Any) -> int:
    if type(size) is not int or not 0 <= size <= _MAX_RAM_MB:
        raise BadAttribute("IMG.0055", problem=f"{member}: it must be a number of MB")
    return size
