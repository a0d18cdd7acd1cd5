"""What this service is: versions, schemas, stores, import methods."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api import schemas, views
from imsgate.api.access import Access, identity
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.quotas.quota import Quotas
from imsgate.stores.loader import Backend, Stores

#: Minor versions of the Image API whose additions are all here, newest first. As in a Glance
#: that has stores and no cache, 2.14 and 2.16 are missing: they are the cache's. 2.13 is
#: ``/v2/info/usage``, 2.15 the details of stores, 2.17 the locations.
VERSIONS = tuple("2.17 2.15 2.13 2.12 2.11 2.10 2.9 2.8 2.7 2.6 2.5 2.4 2.3 2.2 2.1 2.0".split())


@dataclasses.dataclass(frozen=True, slots=True)
class Info:
    """The handlers of documents about the service itself."""

    access: Access
    stores: Stores
    public_endpoint: str | None
    schemas: Mapping[str, schemas.Schema]
    quotas: Quotas
    import_methods: tuple[str, ...] = ()

    def versions(self, request: Request) -> webob.Response:
        """All versions, as the answer to a choice (300): Glance's at ``/``."""
        response = self.explicit_versions(request)
        response.status_int = 300
        return response

    def explicit_versions(self, request: Request) -> webob.Response:
        base = views.base_url(request, self.public_endpoint)
        versions = [
            {
                "id": f"v{version}",
                "status": "CURRENT" if version == VERSIONS[0] else "SUPPORTED",
                "links": [{"rel": "self", "href": f"{base}/v2/"}],
            }
            for version in VERSIONS
        ]
        return responses.json_response({"versions": versions})

    def schema(self, request: Request, name: str) -> webob.Response:
        if name not in self.schemas:
            raise errors.NotFound(what=f"Schema {name}")
        return responses.json_response(self.schemas[name])

    def imports(self, request: Request) -> webob.Response:
        value = {"type": "array", "value": list(self.import_methods)}
        methods = {"description": "Import methods available.", **value}
        return responses.json_response({"import-methods": methods})

    def list_stores(self, request: Request) -> webob.Response:
        return responses.json_response({"stores": [self._view(store) for store in self.stores]})

    def stores_detail(self, request: Request) -> webob.Response:
        self.access.enforce("stores_info_detail", identity(request), {}, "stores")
        return responses.json_response(
            {"stores": [self._detail(backend) for backend in self.stores]}
        )

    def usage(self, request: Request) -> webob.Response:
        """What the asking project may have, and has."""
        project = identity(request).project_id
        if project is None:
            raise errors.Forbidden(action="see the usage of a project without being in one")
        usage = self.quotas.report(project, self.access.registry.usage(project))
        return responses.json_response({"usage": usage})

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
        if backend.id == self.stores.default:
            view["default"] = "true"
        return view
