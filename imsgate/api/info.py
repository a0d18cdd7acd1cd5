"""Documents about the service: API versions, schemas, stores, import methods, usage."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api import schemas, views
from imsgate.api.deployment import Deployment
from imsgate.api.description import TEXT, described, json_content, listed, record
from imsgate.api.requester import identity
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.records.access import Access
from imsgate.records.records import Records
from imsgate.stores.enabled import Backend

#: Minor versions of the Image API that are implemented completely, newest first. 2.14 and 2.16
#: are missing as in a Glance with stores and without a cache: they add calls for the cache.
#: 2.13 adds ``/v2/info/usage``, 2.15 details of stores, 2.17 locations.
VERSIONS = tuple("2.17 2.15 2.13 2.12 2.11 2.10 2.9 2.8 2.7 2.6 2.5 2.4 2.3 2.2 2.1 2.0".split())


_LINK = record({"rel": TEXT, "href": TEXT})
_VERSIONS = record(
    {"versions": listed(record({"id": TEXT, "status": TEXT, "links": listed(_LINK)}))}
)
_METHODS = record({"description": TEXT, "type": TEXT, "value": listed(TEXT)})
_STORE: Mapping[str, schemas.Schema] = {
    "id": TEXT,
    "description": TEXT,
    "default": {"const": "true"},
    "read-only": {"const": "true"},
}
_DETAIL: Mapping[str, schemas.Schema] = {
    **_STORE,
    "type": {"type": ["string", "null"]},
    "weight": {"type": "integer"},
    "health": {"type": "string", "description": "up, or what is wrong"},
    "properties": {"type": "object"},
}
_OPTIONAL = ("description", "default", "read-only")
#: By the names of Glance's quotas. A limit of -1 means that there is none.
_USAGE = {
    "type": "object",
    "additionalProperties": record({"limit": {"type": "integer"}, "usage": {"type": "integer"}}),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The handlers of documents about the service. ``schemas`` are the published ones, by name."""

    access: Access
    records: Records
    deployment: Deployment
    schemas: Mapping[str, schemas.Schema]

    @described(answers={300: json_content(_VERSIONS)})
    def versions(self, request: Request) -> webob.Response:
        """API versions: List API versions (``GET /``), answered with 300 Multiple Choices."""
        response = self.explicit_versions(request)
        response.status_int = 300
        return response

    @described(answers={200: json_content(_VERSIONS)}, is_public=True)
    def explicit_versions(self, request: Request) -> webob.Response:
        """API versions: List API versions (``GET /versions``)."""
        base = views.base_url(request, self.deployment.public_endpoint)
        versions = [
            {
                "id": f"v{version}",
                "status": "CURRENT" if version == VERSIONS[0] else "SUPPORTED",
                "links": [{"rel": "self", "href": f"{base}/v2/"}],
            }
            for version in VERSIONS
        ]
        return responses.json_response({"versions": versions})

    @described(answers={200: json_content({"type": "object"})})
    def schema(self, request: Request, name: str) -> webob.Response:
        """Image API v2, Image Schemas and Task Schemas: Show a schema."""
        if name not in self.schemas:
            raise errors.NotFound(what=f"Schema {name}")
        return responses.json_response(self.schemas[name])

    @described(answers={200: json_content(record({"import-methods": _METHODS}))})
    def imports(self, request: Request) -> webob.Response:
        """Image API v2, Discovery: Import methods and values discovery."""
        value = {"type": "array", "value": list(self.deployment.import_methods)}
        methods = {"description": "Import methods available.", **value}
        return responses.json_response({"import-methods": methods})

    @described(answers={200: json_content(record({"stores": listed(record(_STORE, *_OPTIONAL))}))})
    def list_stores(self, request: Request) -> webob.Response:
        """Image API v2, Discovery: List stores."""
        stores = [self._view(backend) for backend in self.deployment.stores]
        return responses.json_response({"stores": stores})

    @described(answers={200: json_content(record({"stores": listed(record(_DETAIL, *_OPTIONAL))}))})
    def stores_detail(self, request: Request) -> webob.Response:
        """Image API v2, Discovery: List stores detail."""
        self.access.check(identity(request), "stores_info_detail", {}, "stores")
        stores = [self._detail(backend) for backend in self.deployment.stores]
        return responses.json_response({"stores": stores})

    @described(answers={200: json_content(record({"usage": _USAGE}))})
    def usage(self, request: Request) -> webob.Response:
        """Image API v2, Discovery: Quota usage."""
        project = identity(request).project_id
        if project is None:
            raise errors.Forbidden(action="see the usage of a project with an unscoped token")
        return responses.json_response({"usage": self.records.usage(project)})

    def _detail(self, backend: Backend) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        health = "up"
        try:
            backend.store.check()
            properties = dict(backend.store.properties())
            free = backend.store.free_space()
            if free is not None:
                properties["free_space"] = free
        except errors.StoreUnavailable as error:
            health = str(error)
        return {
            **self._view(backend),
            "type": backend.driver,
            "weight": backend.weight,
            "health": health,
            "properties": properties,
        }

    def _view(self, backend: Backend) -> dict[str, Any]:
        view: dict[str, Any] = {"id": backend.id}
        if backend.description:
            view["description"] = backend.description
        if backend.id == self.deployment.stores.default:
            view["default"] = "true"
        if backend.read_only:
            view["read-only"] = "true"
        return view
