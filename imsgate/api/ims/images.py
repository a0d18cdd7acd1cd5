"""Images: ``/v2/cloudimages`` and ``/v2/cloudimages/{id}``."""

import dataclasses
from typing import Any

import webob

from imsgate.api import patch
from imsgate.api.access import identity
from imsgate.api.images import Images
from imsgate.api.ims import attributes
from imsgate.api.views import Dialect
from imsgate.errors import BadAttribute
from imsgate.http import responses
from imsgate.http.json_body import json_body
from imsgate.http.request import Request
from imsgate.model import Image, Status

#: Images on a page unless the query says otherwise.
_PAGE = 500

#: What a client may change, besides properties of its own and those that say what the image
#: supports.
_CHANGEABLE = frozenset(
    "name min_ram max_ram __description __is_config_init enterprise_project_id "
    "hw_vif_multiqueue_enabled hw_firmware_type".split()
)
#: Attributes that the service gives a value.
_DERIVED = attributes.TOLD | {
    attributes.ORIGIN,
    "__os_version",
    "__os_type",
    "__os_bit",
    "__platform",
}


@dataclasses.dataclass(frozen=True, slots=True)
class CloudImages:
    """The handlers of images. ``images`` are those of Glance's calls, which do the work."""

    images: Images
    dialect: Dialect

    def index(self, request: Request) -> webob.Response:
        found, following = self.images.page(request, self.dialect, _PAGE)
        page: dict[str, Any] = {"images": [self._view(request, image) for image in found]}
        if following:
            page["page_info"] = {"next_marker": following}
        return responses.json_response(page)

    def update(self, request: Request, image_id: str) -> webob.Response:
        operations = [_checked(one) for one in patch.parse(json_body(request), patch.V21)]
        operations = self.dialect.changes(operations)
        image = self.images.apply(
            request, image_id, operations, lambda image: image.require(Status.ACTIVE)
        )
        return responses.json_response(self._view(request, image))

    def _view(self, request: Request, image: Image) -> dict[str, Any]:
        return self.dialect.image(image, identity(request).project_id)


def _checked(operation: patch.Operation) -> patch.Operation:
    """An operation whose value is what the record keeps. Raises BadAttribute."""
    name, value = operation.name, operation.value
    own = not name.startswith("__") and name not in attributes.KEPT and name == name.lower()
    supports = name.startswith(attributes.SUPPORTS)
    if name in _DERIVED or not (name in _CHANGEABLE or supports or own):
        raise BadAttribute("IMG.0035", problem=f"{name}: it cannot be changed")
    if operation.op == "remove":
        return operation
    if name == "min_ram":
        return dataclasses.replace(operation, value=_megabytes(name, value))
    if name == "max_ram":
        _megabytes(name, value)
    elif name == "hw_vif_multiqueue_enabled":
        _check_boolean(name, value)
    elif name == "name":
        attributes.check_name(value)
    elif name == "__description":
        attributes.check_description(value)
    elif name == "hw_firmware_type":
        attributes.check_firmware(value)
    return dataclasses.replace(operation, value=_text(name, value))


def _megabytes(name: str, value: Any) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise BadAttribute("IMG.0055", problem=f"{name}: it is a number of MB")
    return int(text)


def _check_boolean(name: str, value: Any) -> None:
    if str(value).lower() not in ("true", "false"):
        raise BadAttribute("IMG.0035", problem=f"{name}: it is true or false")


def _text(name: str, value: Any) -> str:
    """Every attribute but a few is text; booleans and numbers are taken for theirs."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    raise BadAttribute("IMG.0035", problem=f"{name}: its value is text")
