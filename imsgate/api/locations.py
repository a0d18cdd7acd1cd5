"""Locations of image data: ``/v2/images/{id}/locations``.

Services of the stack (cinder, nova) make an object that is already in a store the data of an
image, and see where an image's data is.
"""

import binascii
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import webob
from oslo_config import cfg

from imsgate import errors, hashing
from imsgate.api import schemas
from imsgate.api.description import NO_CONTENT, TEXT, described, json_content, listed, record
from imsgate.api.job_starter import JobStarter
from imsgate.api.requester import identity
from imsgate.errors import BadConfig
from imsgate.http import responses
from imsgate.http.json_body import json_object, without_unused
from imsgate.http.request import Request
from imsgate.jobs.arguments import for_location
from imsgate.jobs.locations import KIND
from imsgate.model import Image, Location, Status
from imsgate.records.records import Records
from imsgate.settings import Settings
from imsgate.stores.base import Addressed
from imsgate.stores.enabled import Stores

GROUP = "locations"
OPTS = (
    cfg.ListOpt(
        "stores",
        default=[],
        help="Ids of the stores whose objects services may make the data of an image, by URL. "
        "If empty, nobody can add a location.",
    ),
)
#: Options of ``[DEFAULT]``, as in Glance.
DEFAULT_OPTS = (
    cfg.BoolOpt(
        "do_secure_hash",
        default=True,
        help="Read the object when a location is added: check its format, compute its digests "
        "and compare them with validation_data. If false, the object is not read and "
        "validation_data is trusted.",
    ),
)


class LocationSettings(Settings, group=GROUP, opts=OPTS):
    stores: list[str]


class SecureHashSettings(Settings, group="DEFAULT", opts=DEFAULT_OPTS):
    do_secure_hash: bool


SCHEMA: schemas.Schema = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "minLength": 1, "maxLength": 4096},
        "validation_data": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "os_hash_algo": {"type": "string", "enum": list(hashing.VALIDATION_DATA)},
                "os_hash_value": {"type": "string", "maxLength": 128},
            },
            "dependentRequired": {
                "os_hash_value": ["os_hash_algo"],
                "os_hash_algo": ["os_hash_value"],
            },
        },
    },
}
_CHECKER = schemas.Checker(SCHEMA)
_LOCATION = record({"url": TEXT, "metadata": record({"store": TEXT})})


class LocationStores:
    """The stores with objects that have URLs, and those of them that accept new locations."""

    def __init__(self, stores: Stores, accepting: Sequence[str]) -> None:
        """``accepting`` are the ids of the stores whose objects may become image data.

        Raises BadConfig for a store that does not exist or whose objects have no URLs.
        """
        self._stores = stores
        self._accepting = tuple(accepting)
        backends = {backend.id: backend for backend in stores}
        for store_id in accepting:
            if store_id not in backends:
                raise BadConfig(_STORES_KEY, f"there is no store {store_id!r}")
            store = backends[store_id].started
            if store is not None and not isinstance(store, Addressed):
                raise BadConfig(_STORES_KEY, f"the objects of store {store_id!r} have no URLs")

    def url(self, location: Location) -> str | None:
        """The URL of an object; None if its store has no URLs. Raises StoreUnavailable."""
        store = self._stores.get(location.store)
        return store.url(location.url) if isinstance(store, Addressed) else None

    def locate(self, url: str) -> Location:
        """The location of a new object. Raises LocationRefused, and StoreUnavailable."""
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise errors.LocationRefused(problem="the URL must not contain credentials")
        for store_id in self._accepting:
            store = self._stores.get(store_id)
            place = store.locate(url) if isinstance(store, Addressed) else None
            if place is not None:
                return Location(store_id, place)
        accepting = ", ".join(self._accepting) or "none"
        problem = f"it is in no store that accepts locations (these do: {accepting})"
        raise errors.LocationRefused(problem=problem)

    def size(self, location: Location) -> int:
        """The size of an object in bytes. Raises LocationRefused if it does not exist."""
        try:
            return self._stores.get(location.store).size(location.url)
        except errors.ObjectNotFound:
            raise errors.LocationRefused(problem="there is no object") from None


_STORES_KEY = f"[{GROUP}] stores"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Locations:
    """The handlers of an image's locations.

    With ``reads_data``, the job reads an added object to check it.
    """

    records: Records
    jobs: JobStarter
    stores: LocationStores
    reads_data: bool

    @described(answers={200: json_content(listed(_LOCATION))})
    def index(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Locations: Show the locations of an image (``GET .../locations``, 2.17).

        Only stores whose objects have URLs are shown: the path of a file on a host is private.
        """
        image = self.records.get(identity(request), image_id, "fetch_image_location")
        views = [self._view(location) for location in image.copies]
        return responses.json_response([view for view in views if view])

    def _view(self, location: Location) -> dict[str, Any] | None:
        url = self.stores.url(location)
        return {"url": url, "metadata": {"store": location.store}} if url else None

    @described(answers={202: NO_CONTENT}, body=json_content(SCHEMA), refusals=(409, 413))
    def add(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Locations: Add a location to an image (``POST .../locations``, 2.17).

        Records a job and answers 202. What can be refused now is not left to the job.
        """
        image = self._image(request, image_id)
        body = without_unused(json_object(request), ("validation_data",))
        if isinstance(body.get("validation_data"), dict):
            digest = ("os_hash_algo", "os_hash_value")
            body["validation_data"] = without_unused(body["validation_data"], digest)
        _CHECKER.check(body)
        validation = body.get("validation_data", {})
        _check_digest(validation)
        image.require(Status.QUEUED)
        if not image.disk_format or not image.container_format:
            raise errors.FormatsNotSet
        location = self.stores.locate(body["url"])
        if self.records.holds_data_at(location):
            raise errors.LocationTaken
        return self._start(request, image, location, validation)

    def _image(self, request: Request, image_id: str) -> Image:
        """Raises NotFound, and Forbidden unless the user is a service."""
        who = identity(request)
        image = self.records.get(who, image_id, "add_image_location")
        if "service" not in who.roles | who.service_roles:
            raise errors.Forbidden(action="add locations: only services may")
        return image

    def _start(
        self, request: Request, image: Image, location: Location, validation: Mapping[str, str]
    ) -> webob.Response:
        size = self.stores.size(location)
        return self.jobs.start_import(
            request,
            image,
            KIND,
            for_location(location=location, validation_data=validation, read=self.reads_data),
            rule="add_image_location",
            answer=lambda job: webob.Response(status=202),
            status=Status.IMPORTING,
            upload_reserved=size,
        )


def _check_digest(validation: Mapping[str, str]) -> None:
    """Raises BadJson if the digest cannot be one of its algorithm."""
    if not validation:
        return
    value, algorithm = validation["os_hash_value"], validation["os_hash_algo"]
    try:
        size = len(binascii.unhexlify(value))
    except ValueError as error:
        raise errors.BadJson(problem="os_hash_value is not hexadecimal") from error
    expected = hashing.digest_size(algorithm)
    if size != expected:
        problem = f"os_hash_value: a {algorithm} digest has {expected} bytes, not {size}"
        raise errors.BadJson(problem=problem)
