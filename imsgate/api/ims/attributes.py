"""The attributes of an image in IMS: checked, derived and shown. Pure.

Values of attributes that begin with ``__`` are strings. Some attributes are stored as properties
of the record, so that lists can be filtered by them; others are computed from the record
whenever it is shown.
"""

import re
from collections.abc import Mapping
from typing import Any

from imsgate.api import views
from imsgate.api.description import Schema
from imsgate.api.ims import systems
from imsgate.errors import BadAttribute, BadJson
from imsgate.jobs.progress import FAILED, MESSAGE
from imsgate.model import Image, Visibility
from imsgate.profiles import STATUSES, Profile
from imsgate.records.attributes import READ_ONLY, SETTABLE

ISO, DATA = "IsoImage", "DataImage"
_ENVIRONMENTS = ("FusionCompute", DATA, "Ironic", ISO)

#: Limits of min_disk in GiB: the largest system disk, the smallest and largest data disk.
_MAX_SYSTEM_DISK_GIB = 1024
_DATA_DISK_GIB = (40, 2048)

_NAME = re.compile(r"[\w .\-]{1,128}")
_MAX_DESCRIPTION_CHARACTERS = 1024
#: What ``check_name`` and ``check_description`` accept; they say what is wrong in IMS's codes.
NAME_SCHEMA: Schema = {"type": "string", "pattern": r"^[\w.\-]([\w .\-]{0,126}[\w.\-])?$"}
PROJECT_SCHEMA: Schema = {"type": ["string", "integer"]}
DESCRIPTION_SCHEMA: Schema = {
    "type": "string",
    "pattern": r"^[^<>\r]*$",
    "maxLength": _MAX_DESCRIPTION_CHARACTERS,
}

#: Prefix of attributes for features that an image supports.
SUPPORTS = "__support_"

#: Attributes that are computed from the record, whatever a client sets.
COMPUTED = frozenset({"__image_size", "__imagetype", "__isregistered", "__image_source_type"})

#: The largest number in the models of the vendor's SDKs.
MAX_INT = 2**31 - 1

#: The one attribute of its kind that the vendor's models have as a boolean.
_BOOLEAN = "__system_support_market"
#: Attributes that the calls of IMS show in another type than that of a custom property.
SHOWN: Mapping[str, Schema] = {_BOOLEAN: {"type": ["string", "boolean"]}}

#: The source of the data. A job sets it.
ORIGIN = "__data_origin"

#: Attributes without the prefix ``__`` for which an empty text is no value.
_NEVER_EMPTY = frozenset(
    "virtual_env_type hw_firmware_type hw_vif_multiqueue_enabled enterprise_project_id "
    "max_ram".split()
)

#: Attributes that are not custom properties of a client.
OWN = SETTABLE | READ_ONLY | {"id", "virtual_env_type"}


def check_name(name: Any) -> None:
    """Raises BadAttribute for an invalid name of an image."""
    if not isinstance(name, str) or not name:
        raise BadAttribute("IMG.0013", problem="name: it is required, as a string")
    if len(name) > 128:
        raise BadAttribute("IMG.0002", problem="name: it has more than 128 characters")
    if not _NAME.fullmatch(name) or name != name.strip():
        problem = "name: only letters, digits, - . _ and inner spaces are allowed"
        raise BadAttribute("IMG.0003", problem=problem)


def check_description(text: Any) -> None:
    """Raises BadAttribute for an invalid description."""
    if not isinstance(text, str) or len(text) > _MAX_DESCRIPTION_CHARACTERS:
        limit = _MAX_DESCRIPTION_CHARACTERS
        problem = f"description: it must be a string of at most {limit} characters"
        raise BadAttribute("IMG.0004", problem=problem)
    if re.search(r"[<>\r]", text):
        problem = "description: < and > and carriage returns are not allowed"
        raise BadAttribute("IMG.0054", problem=problem)


def enterprise_project(value: Any) -> str:
    """The value of enterprise_project_id as a record stores it. Raises BadJson."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadJson(problem="enterprise_project_id: it must be a string")
    return str(value)


def check_firmware(kind: Any) -> None:
    """Raises BadAttribute unless ``kind`` is a boot mode."""
    if kind not in ("bios", "uefi"):
        raise BadAttribute("IMG.0141", problem="hw_firmware_type: it must be bios or uefi")


def never_empty(name: str) -> bool:
    """Whether an empty text is no value of the attribute, which is IMS's own."""
    return name in _NEVER_EMPTY or (name.startswith("__") and name != "__description")


def _check_disk(size: int, environment: str, smallest: int) -> None:
    """Raises BadAttribute unless ``size`` (GiB) is a valid min_disk."""
    system_disk = (smallest, _MAX_SYSTEM_DISK_GIB)
    low, high = _DATA_DISK_GIB if environment == DATA else system_disk
    if not low <= size <= high:
        problem = f"min_disk: it must be from {low} to {high} GB"
        raise BadAttribute("IMG.0055", problem=problem)


def complete(body: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """The fields of a new record, with those that IMS adds. Raises BadAttribute.

    IMS API, Native OpenStack APIs: Creating Image Metadata.
    """
    if body.get("name"):
        check_name(body["name"])
    if "__description" in body:
        check_description(body["__description"])
    if "hw_firmware_type" in body:
        check_firmware(body["hw_firmware_type"])
    system = systems.parse(body.get("__os_version") or systems.DEFAULT)
    environment = body.get("virtual_env_type") or _environment(body)
    if environment not in _ENVIRONMENTS:
        problem = f"virtual_env_type: it must be one of {', '.join(_ENVIRONMENTS)}"
        raise BadAttribute("IMG.0024", problem=problem)
    if environment == ISO and body.get("disk_format") not in (None, "iso"):
        problem = f"virtual_env_type: {ISO} requires the disk_format iso"
        raise BadAttribute("IMG.0024", problem=problem)
    if body.get("min_disk"):
        _check_disk(body["min_disk"], environment, profile.min_disk.get(system.kind, 1))
    requested = {
        name: stored_value(name, value)
        for name, value in {"visibility": Visibility.PRIVATE, **body}.items()
        if name not in {*COMPUTED, ORIGIN}
    }
    return {
        "name": "",
        "container_format": "bare",
        "__root_origin": "file",
        "enterprise_project_id": "0",
        **architecture(requested.get("__support_arm")),
        **requested,
        **({"disk_format": "iso"} if environment == ISO else {}),
        **system.attributes(),
        "virtual_env_type": environment,
    }


def stored_value(name: str, value: Any) -> Any:
    """A value of the attribute ``name`` as a record stores it."""
    if name == "visibility" and value == Visibility.PRIVATE:
        # In IMS a private image can be shared by adding members. In Glance only a shared one can.
        return Visibility.SHARED
    if name.startswith(SUPPORTS) and value.lower() in ("true", "false"):
        return value.lower()  # clients written in Python send True
    return value


def architecture(support_arm: str | None) -> dict[str, str]:
    """The stored attribute for the list filter ``architecture``."""
    return {"__architecture": "arm" if support_arm == "true" else "x86"}


def _environment(body: Mapping[str, Any]) -> str:
    return ISO if body.get("disk_format") == "iso" else "FusionCompute"


def view(record: Image, viewer: str | None, profile: Profile) -> dict[str, Any]:
    """One image as Glance shows it, with the attributes that IMS adds."""
    shown = {
        name: value
        for name, value in views.image(record).items()
        if not (_is_internal(name, value) or _is_unsupported(name, value))
    }
    system = systems.parse(systems.DEFAULT).attributes()
    own = viewer is not None and record.owner == viewer
    return {
        "virtual_env_type": "FusionCompute",
        **({} if "__os_version" in shown else system),
        **shown,
        **({_BOOLEAN: shown[_BOOLEAN].lower() == "true"} if _BOOLEAN in shown else {}),
        **({"virtual_env_type": ISO} if record.disk_format == "iso" else {}),
        "name": record.name or "",
        "status": STATUSES.get(record.status, record.status),
        "visibility": _visibility(record, own),
        "disk_format": record.disk_format or profile.disk_format,
        "container_format": record.container_format or "bare",
        "__image_source_type": "uds",
        "__image_size": str(record.size or 0) if record.copies else "0",
        "__isregistered": "true",
        "__imagetype": _type(record, own),
    }


def for_typed_clients(shown: Mapping[str, Any]) -> dict[str, Any]:
    """An image as the vendor's SDKs can read it: their models have 32-bit sizes.

    The vendor calls both attributes unused; ``__image_size`` is the true size. One number too
    large would make a whole list unreadable.
    """
    unused = {name: 0 for name in ("size", "virtual_size") if (shown[name] or 0) > MAX_INT}
    return {**shown, **unused}


def _is_internal(name: str, value: Any) -> bool:
    """Whether the attribute is one of Glance's own that does not say what has failed."""
    return name.startswith("os_glance_") and not (name in (FAILED, MESSAGE) and value)


def _is_unsupported(name: str, value: Any) -> bool:
    """Whether the attribute says that the image lacks a feature; IMS omits those."""
    return name.startswith(SUPPORTS) and value.lower() == "false"


def _visibility(record: Image, own: bool) -> str:
    return "private" if own and record.visibility == Visibility.SHARED else record.visibility


def _type(record: Image, own: bool) -> str:
    if record.visibility == Visibility.PUBLIC:
        return "gold"
    return "shared" if record.visibility == Visibility.SHARED and not own else "private"
