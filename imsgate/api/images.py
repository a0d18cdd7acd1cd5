"""Image records: ``/v2/images`` and ``/v2/images/{id}``."""

import dataclasses
import functools
import urllib.parse
from collections.abc import Callable
from typing import Any

import webob

from imsgate import errors
from imsgate.api import idempotency, listing, pages, patch, views
from imsgate.api.deployment import Deployment
from imsgate.api.description import NO_CONTENT, TEXT, component, described, json_content
from imsgate.api.dialect import Dialect
from imsgate.api.ims import attributes
from imsgate.api.requester import identity
from imsgate.http import responses
from imsgate.http.json_body import json_body, json_object
from imsgate.http.request import Request
from imsgate.model import Image
from imsgate.records.records import Records
from imsgate.signatures.encryption_keys import EncryptionKeys

_IMAGE = json_content(component("image"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The handlers of image records."""

    records: Records
    dialect: Dialect
    deployment: Deployment
    keys: EncryptionKeys

    @described(
        answers={201: _IMAGE},
        body=_IMAGE,
        refusals=(409, 413),
        sends={
            "Location": TEXT,
            "OpenStack-image-import-methods": TEXT,
            "OpenStack-image-store-ids": TEXT,
        },
    )
    def create(self, request: Request) -> webob.Response:
        """Image API v2, Images: Create image."""
        who = identity(request)
        created = functools.partial(self._created, request)
        image = self.records.add(
            who,
            self.dialect.new_image(json_object(request)),
            lambda image: idempotency.outcome(request, lambda: created(image)),
        )
        return created(image)

    def _created(self, request: Request, image: Image) -> webob.Response:
        request.notes.image_id = image.shown_id
        response = responses.json_response(self._view(request)(image), 201)
        base = views.base_url(request, self.deployment.public_endpoint)
        response.headers["Location"] = f"{base}/v2/images/{image.shown_id}"
        if methods := self.deployment.import_methods:
            response.headers["OpenStack-image-import-methods"] = ",".join(methods)
        store_ids = ",".join(store.id for store in self.deployment.stores)
        response.headers["OpenStack-image-store-ids"] = store_ids
        return response

    @described(answers={200: _IMAGE})
    def show(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Images: Show image."""
        image = self.records.get(identity(request), image_id)
        return responses.json_response(self._view(request)(image))

    @described(answers={200: json_content(component("images"))}, query=listing.PARAMETERS)
    def index(self, request: Request) -> webob.Response:
        """Image API v2, Images: List images."""
        who, params = identity(request), list(request.GET.items())
        query = functools.partial(
            self.dialect.query,
            params,
            who.project_id,
            default=self.records.settings.limit_param_default,
        )
        marker = request.GET.get("marker")
        shown = pages.read(self.records, who, query, marker, self._view(request))
        filters = [(name, text) for name, text in params if name != "marker"]
        members = {"first": _link(filters), "schema": "/v2/schemas/images"}
        if next_marker := shown.page.next_marker:
            members["next"] = _link([*filters, ("marker", next_marker)])
        return shown.response(members)

    @described(
        answers={200: _IMAGE},
        body={patch.V21: patch.SCHEMA, patch.V20: patch.V20_SCHEMA},
        refusals=(409, 413),
    )
    def update(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Images: Update image."""
        who = identity(request)
        if request.content_type not in (patch.V20, patch.V21):
            accepted = f"{patch.V20}, {patch.V21}"
            raise errors.UnsupportedMediaType(accepted=accepted, headers={"Accept-Patch": accepted})
        operations = self.dialect.operations(json_body(request), request.content_type)
        image = self.records.apply(who, image_id, operations)
        return responses.json_response(self._view(request)(image))

    @described(answers={204: NO_CONTENT}, refusals=(409,))
    def delete(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Images: Delete image.

        Deletes the encryption key of a volume from Cinder as well, as Glance does.
        """
        who = identity(request)
        image = self.records.delete(who, image_id)
        self.keys.delete_of(image, request.headers.get("X-Auth-Token"), who.project_id)
        return webob.Response(status=204)

    @described(answers={204: NO_CONTENT}, refusals=(409,))
    def deactivate(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Images: Deactivate image."""
        self.records.deactivate(identity(request), image_id)
        return webob.Response(status=204)

    @described(answers={204: NO_CONTENT}, refusals=(409,))
    def reactivate(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Images: Reactivate image."""
        self.records.reactivate(identity(request), image_id)
        return webob.Response(status=204)

    @described(answers={204: NO_CONTENT}, refusals=(409, 413))
    def add_tag(self, request: Request, image_id: str, tag: str) -> webob.Response:
        """Image API v2, Image tags: Add image tag."""
        self.dialect.schema.check({"tags": [tag]})
        self.records.add_tag(identity(request), image_id, tag)
        return webob.Response(status=204)

    @described(answers={204: NO_CONTENT}, refusals=(409,))
    def remove_tag(self, request: Request, image_id: str, tag: str) -> webob.Response:
        """Image API v2, Image tags: Delete image tag."""
        self.records.remove_tag(identity(request), image_id, tag)
        return webob.Response(status=204)

    @described(answers={204: NO_CONTENT}, refusals=(409,))
    def delete_copy(self, request: Request, store_id: str, image_id: str) -> webob.Response:
        """Image API v2, Stores: Delete image from store."""
        self.records.delete_copy(identity(request), image_id, store_id)
        return webob.Response(status=204)

    def _view(self, request: Request) -> Callable[[Image], dict[str, Any]]:
        """What shows an image to the client that sent this request."""
        who = identity(request)
        shown = self.records.protections.shown_to(who)
        is_typed = responses.speaks_ims(request.environ)

        def view(image: Image) -> dict[str, Any]:
            members = self.dialect.image(shown(image), who.project_id)
            return attributes.for_typed_clients(members) if is_typed else members

        return view


def _link(params: list[tuple[str, str]]) -> str:
    return "/v2/images" + (f"?{urllib.parse.urlencode(params)}" if params else "")
