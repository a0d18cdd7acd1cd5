"""The attributes of an image in Huawei's image service: what it has, checks and derives. Pure.

All that begin with ``__`` are text. Some are kept as properties of the record, so that lists
can be filtered by them; others are told from the record whenever it is shown.
"""

import re
from collections.abc import Mapping
from typing import Any

from imsgate.api import schemas, views
from imsgate.api.ims import systems
from imsgate.errors import BadAttribute
from imsgate.model import Image, Status, Visibility
from imsgate.profiles import Profile

ISO, DATA = "IsoImage", "DataImage"
_ENVIRONMENTS = ("FusionCompute", DATA, "Ironic", ISO)

#: The largest disk of a system, and the limits of one for data, in GiB.
_LARGEST_DISK = 1024
_DATA_DISK = (40, 2048)

_NAME = re.compile(r"[\w .\-]{1,128}")
_LONGEST_DESCRIPTION = 1024

#: A record's own words that this service has not, and what it says instead.
_STATUSES = {Status.IMPORTING: "saving", Status.UPLOADING: "saving", Status.DEACTIVATED: "active"}

#: How the names begin of what an image says it supports.
SUPPORTS = "__support_"

#: What is told from the record, whatever a client set under these names.
TOLD = frozenset({"__image_size", "__imagetype", "__isregistered", "__image_source_type"})

#: Where the data came from; a job sets it.
ORIGIN = "__data_origin"

#: The members of a record that are no properties.
KEPT = schemas.SETTABLE | schemas.READ_ONLY | {"id", "virtual_env_type"}


def check_name(name: Any) -> None:
    """Raises BadAttribute."""
    if not isinstance(name, str) or not name:
        raise BadAttribute("IMG.0013", problem="name: it must be given, as text")
    if len(name) > 128:
        raise BadAttribute("IMG.0002", problem="name: it is above 128 characters")
    if not _NAME.fullmatch(name) or name != name.strip():
        problem = "name: it has letters, digits, - . _ and spaces, these not at its ends"
        raise BadAttribute("IMG.0003", problem=problem)


def check_description(text: Any) -> None:
    """Raises BadAttribute."""
    if not isinstance(text, str) or len(text) > _LONGEST_DESCRIPTION:
        problem = f"description: it is text of at most {_LONGEST_DESCRIPTION} characters"
        raise BadAttribute("IMG.0004", problem=problem)
    if re.search(r"[<>\r]", text):
        problem = "description: it has no < and >, and no carriage returns"
        raise BadAttribute("IMG.0054", problem=problem)


def check_firmware(kind: Any) -> None:
    """Raises BadAttribute."""
    if kind not in ("bios", "uefi"):
        raise BadAttribute("IMG.0141", problem="hw_firmware_type: it is bios or uefi")


def _check_disk(size: int, environment: str, smallest: int) -> None:
    """Raises BadAttribute unless ``size`` is a number of GiB that an image may ask for."""
    smallest, largest = _DATA_DISK if environment == DATA else (smallest, _LARGEST_DISK)
    if not smallest <= size <= largest:
        problem = f"min_disk: it is a number of GB from {smallest} to {largest}"
        raise BadAttribute("IMG.0055", problem=problem)


def complete(body: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """A new image as it was asked for, with what it has besides. Raises BadAttribute."""
    if body.get("name"):
        check_name(body["name"])
    if "__description" in body:
        check_description(body["__description"])
    if "hw_firmware_type" in body:
        check_firmware(body["hw_firmware_type"])
    system = systems.parse(body.get("__os_version") or systems.DEFAULT)
    environment = body.get("virtual_env_type") or _environment(body)
    if environment not in _ENVIRONMENTS:
        problem = f"virtual_env_type: it is one of {', '.join(_ENVIRONMENTS)}"
        raise BadAttribute("IMG.0024", problem=problem)
    if environment == ISO and body.get("disk_format") not in (None, "iso"):
        problem = f"virtual_env_type: {ISO} has the disk_format iso"
        raise BadAttribute("IMG.0024", problem=problem)
    if body.get("min_disk"):
        _check_disk(body["min_disk"], environment, profile.min_disk.get(system.kind, 1))
    asked = {
        name: kept(name, value)
        for name, value in {"visibility": Visibility.PRIVATE, **body}.items()
        if name not in {*TOLD, ORIGIN}
    }
    return {
        "name": "",
        "container_format": "bare",
        "__root_origin": "file",
        "enterprise_project_id": "0",
        **architecture(asked.get("__support_arm")),
        **asked,
        **({"disk_format": "iso"} if environment == ISO else {}),
        **system.attributes(),
        "virtual_env_type": environment,
    }


def kept(name: str, value: Any) -> Any:
    """A value of that attribute as a record keeps it."""
    if name == "visibility" and value == Visibility.PRIVATE:
        # It can be shared by adding members, so it is kept as one that may have some.
        return Visibility.SHARED
    if name.startswith(SUPPORTS) and value.lower() in ("true", "false"):
        return value.lower()  # clients written in Python send True
    return value


def architecture(support_arm: str | None) -> dict[str, str]:
    """By what images are found by their ``architecture``."""
    return {"__architecture": "arm" if support_arm == "true" else "x86"}


def _environment(body: Mapping[str, Any]) -> str:
    return ISO if body.get("disk_format") == "iso" else "FusionCompute"


def view(record: Image, viewer: str | None, profile: Profile) -> dict[str, Any]:
    """One image, as Glance shows it and with everything that this service has besides."""
    shown = {
        name: value
        for name, value in views.image(record).items()
        if not (name.startswith("os_glance_") or _is_unsupported(name, value))
    }
    system = systems.parse(systems.DEFAULT).attributes()
    own = viewer is not None and record.owner == viewer
    return {
        "virtual_env_type": "FusionCompute",
        **({} if "__os_version" in shown else system),
        **shown,
        **({"virtual_env_type": ISO} if record.disk_format == "iso" else {}),
        "name": record.name or "",
        "status": _STATUSES.get(record.status, record.status),
        "visibility": _visibility(record, own),
        "disk_format": record.disk_format or profile.disk_format,
        "container_format": record.container_format or "bare",
        "__image_source_type": "uds",
        "__image_size": str(record.size or 0) if record.copies else "0",
        "__isregistered": "true",
        "__imagetype": _type(record, own),
    }


def _is_unsupported(name: str, value: Any) -> bool:
    """What an image does not support is not written on it."""
    return name.startswith(SUPPORTS) and value.lower() == "false"


def _visibility(record: Image, own: bool) -> str:
    return "private" if own and record.visibility == Visibility.SHARED else record.visibility


def _type(record: Image, own: bool) -> str:
    if record.visibility == Visibility.PUBLIC:
        return "gold"
    return "shared" if record.visibility == Visibility.SHARED and not own else "private"
