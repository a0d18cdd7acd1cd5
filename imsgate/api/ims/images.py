"""Images: ``/v2/cloudimages`` and ``/v2/cloudimages/{id}``."""

import dataclasses
import functools
from typing import Any

import webob

from imsgate.api import pages, patch
from imsgate.api.description import TEXT, component, described, json_content, listed, record
from imsgate.api.dialect import Dialect
from imsgate.api.ims import attributes, ids, query
from imsgate.api.requester import identity
from imsgate.errors import BadAttribute
from imsgate.http import responses
from imsgate.http.json_body import json_body
from imsgate.http.request import Request
from imsgate.model import Identity, Image, Status
from imsgate.records.operations import Operation
from imsgate.records.records import Records

#: Images on a page if the query does not say.
_PAGE_SIZE = 500

#: Attributes that a client may change, besides its own properties and those for features that
#: the image supports.
_CHANGEABLE = frozenset(
    "name min_ram max_ram __description __is_config_init enterprise_project_id "
    "hw_vif_multiqueue_enabled hw_firmware_type".split()
)
#: Attributes whose values the service determines.
_DERIVED = attributes.COMPUTED | {
    attributes.ORIGIN,
    "__os_version",
    "__os_type",
    "__os_bit",
    "__platform",
}


_PAGE = record(
    {"images": listed(component("image")), "page_info": record({"next_marker": TEXT})}, "page_info"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CloudImages:
    """The handlers of images."""

    records: Records
    dialect: Dialect

    @described(answers={200: json_content(_PAGE)}, query=query.PARAMETERS)
    def index(self, request: Request) -> webob.Response:
        """IMS API, Image: Querying Images."""
        who, params = identity(request), list(request.GET.items())
        select = functools.partial(self.dialect.query, params, who.project_id, default=_PAGE_SIZE)

        listing = pages.read(
            self.records,
            who,
            select,
            request.GET.get("marker"),
            functools.partial(self._view, who),
        )
        marker = listing.page.next_marker
        return listing.response({"page_info": {"next_marker": marker}} if marker else {})

    @described(answers={200: json_content(component("image"))}, body=json_content(patch.SCHEMA))
    def update(self, request: Request, image_id: str) -> webob.Response:
        """IMS API, Image: Updating Image Information."""
        who = identity(request)
        ids.checked(image_id)
        document = json_body(request)
        operations = [_checked(operation) for operation in patch.parse(document, patch.V21)]
        operations = self.dialect.changes(operations)
        image = self.records.apply(
            who, image_id, operations, lambda image: image.require(Status.ACTIVE)
        )
        return responses.json_response(self._view(who, image))

    def _view(self, who: Identity, image: Image) -> dict[str, Any]:
        shown = self.records.protections.shown_to(who)(image)
        return attributes.for_typed_clients(self.dialect.image(shown, who.project_id))


def _checked(operation: Operation) -> Operation:
    """The operation with the value that a record stores. Raises BadAttribute."""
    name, value = operation.name, operation.value
    if not _is_changeable(name):
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


def _is_changeable(name: str) -> bool:
    is_custom = not name.startswith("__") and name not in attributes.OWN and name == name.lower()
    is_feature = name.startswith(attributes.SUPPORTS)
    return name not in _DERIVED and (name in _CHANGEABLE or is_feature or is_custom)


def _megabytes(name: str, value: Any) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise BadAttribute("IMG.0055", problem=f"{name}: it must be a number of MB")
    return int(text)


def _check_boolean(name: str, value: Any) -> None:
    if str(value).lower() not in ("true", "false"):
        raise BadAttribute("IMG.0035", problem=f"{name}: it must be true or false")


def _text(name: str, value: Any) -> str:
    """The value as a string. Booleans and numbers are converted."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    raise BadAttribute("IMG.0035", problem=f"{name}: its value must be a string")
