"""Where image data lies: ``/v2/images/{id}/locations``.

Services of the stack (cinder, nova) name an object that lies in a store already, and it
becomes the image's data; they see where an image's data lies.
"""

import binascii
import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import webob
from oslo_config import cfg

from imsgate import errors
from imsgate.api import rechecks, schemas
from imsgate.api.access import Access, identity
from imsgate.api.signatures import Signing
from imsgate.http import responses
from imsgate.http.json_body import json_body
from imsgate.http.request import Request
from imsgate.jobs.arguments import for_location, requested_by
from imsgate.jobs.engine import Engine
from imsgate.jobs.locations import KIND
from imsgate.model import Identity, Image, Location, Status
from imsgate.quotas.quota import Quotas
from imsgate.registry.base import Registry
from imsgate.stores.base import Addressed
from imsgate.stores.loader import Stores

GROUP = "locations"
OPTS = (
    cfg.ListOpt(
        "stores",
        default=[],
        help="Ids of the stores whose objects services may make the data of an image, by URL. "
        "With none, nobody adds a location.",
    ),
)
#: Options of ``[DEFAULT]``, as in Glance.
DEFAULT_OPTS = (
    cfg.BoolOpt(
        "do_secure_hash",
        default=True,
        help="Read what a location is added for: check its format, digest it, and compare that "
        "with validation_data. Without it, all that is believed.",
    ),
)

SCHEMA: schemas.Schema = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "minLength": 1, "maxLength": 4096},
        "validation_data": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "os_hash_algo": {"type": "string", "enum": ["sha1", "sha256", "sha512", "md5"]},
                "os_hash_value": {"type": "string", "maxLength": 128},
            },
            "dependentRequired": {
                "os_hash_value": ["os_hash_algo"],
                "os_hash_algo": ["os_hash_value"],
            },
        },
    },
}


@dataclasses.dataclass(frozen=True, slots=True)
class Locations:
    """The handlers of an image's locations. ``allowed`` are ids of stores."""

    access: Access
    registry: Registry
    stores: Stores
    engine: Engine
    signing: Signing
    quotas: Quotas
    allowed: tuple[str, ...]
    secure: bool
    schema: schemas.Checker

    def index(self, request: Request, image_id: str) -> webob.Response:
        """Only of stores whose objects have URLs; files of a host are nobody's business."""
        image = self.access.image(request, image_id, "fetch_image_location")
        return responses.json_response(
            [shown for one in image.copies if (shown := self._view(one))]
        )

    def _view(self, location: Location) -> dict[str, Any] | None:
        store = self.stores.get(location.store)
        url = store.url(location.url) if isinstance(store, Addressed) else None
        return {"url": url, "metadata": {"store": location.store}} if url else None

    def add(self, request: Request, image_id: str) -> webob.Response:
        """Record the job; 202. What can be refused now is not left to the job."""
        who = identity(request)
        image = self.access.image(request, image_id, "add_image_location")
        if "service" not in who.roles | who.service_roles:
            raise errors.Forbidden(action="add locations: only services are")
        body = json_body(request)
        self.schema.check(body)
        told = body.get("validation_data", {})
        _check_digest(told)
        image.require(Status.QUEUED)
        if not image.disk_format or not image.container_format:
            raise errors.FormatsNotSet
        location = self._find(body["url"])
        size = self._size(location)
        self._start(request, who, image, location, told, size)
        return webob.Response(status=202)

    def _find(self, url: str) -> Location:
        """Raises LocationRefused, and StoreUnavailable."""
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise errors.LocationRefused(problem="a URL must not hold credentials")
        for store_id in self.allowed:
            store = self.stores.get(store_id)
            place = store.locate(url) if isinstance(store, Addressed) else None
            if place is not None:
                return Location(store_id, place)
        stores = ", ".join(self.allowed) or "none"
        problem = f"it is in no store from which locations are taken ({stores})"
        raise errors.LocationRefused(problem=problem)

    def _size(self, location: Location) -> int:
        """Bytes of an object that may be taken. Raises LocationRefused."""
        if self.registry.holds(location):
            raise errors.LocationTaken
        try:
            return self.stores.get(location.store).size(location.url)
        except errors.ObjectNotFound:
            raise errors.LocationRefused(problem="there is nothing") from None

    def _start(
        self,
        request: Request,
        who: Identity,
        image: Image,
        location: Location,
        told: Mapping[str, str],
        size: int,
    ) -> None:
        self.engine.start(
            KIND,
            project=who.project_id,
            image_id=image.id,
            arguments={
                **for_location(location=location, validation_data=told, read=self.secure),
                **requested_by(
                    user_id=who.user_id,
                    request_id=request.request_id,
                    credential=rechecks.credential(request, "add_image_location"),
                    certificate=self.signing.certificate(request, image),
                ),
            },
            was={"status": Status.QUEUED, "updated_at": image.updated_at},
            within=self.quotas.of(image.owner),
            status=Status.IMPORTING,
            upload_reserved=size,
        )


def _check_digest(told: Mapping[str, str]) -> None:
    """Raises BadJson for a digest that its algorithm never has."""
    if not told:
        return
    value, algorithm = told["os_hash_value"], told["os_hash_algo"]
    try:
        found = len(binascii.unhexlify(value))
    except ValueError as error:
        raise errors.BadJson(problem="os_hash_value is not hexadecimal") from error
    wanted = hashlib.new(algorithm, usedforsecurity=False).digest_size
    if found != wanted:
        raise errors.BadJson(problem=f"os_hash_value: {algorithm} has {wanted} bytes, not {found}")
