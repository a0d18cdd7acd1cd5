"""Imports: ``/v2/images/{id}/import``."""

import dataclasses
from typing import Any

import webob
from oslo_config import cfg, types

from imsgate import errors
from imsgate.api import rechecks, schemas
from imsgate.api.access import Access, identity
from imsgate.api.signatures import Signing
from imsgate.http import headers
from imsgate.http.json_body import json_body
from imsgate.http.request import Request
from imsgate.jobs.arguments import for_import, requested_by
from imsgate.jobs.engine import Engine
from imsgate.jobs.methods import GLANCE_METHODS, METHODS, ImportMethod, ImportSources
from imsgate.jobs.progress import with_progress
from imsgate.model import Identity, Image
from imsgate.quotas.quota import Quotas
from imsgate.stores.loader import Stores

#: Options of ``[DEFAULT]``, as in Glance.
OPTS = (
    cfg.ListOpt(
        "enabled_import_methods",
        default=list(GLANCE_METHODS),
        item_type=types.String(choices=GLANCE_METHODS, quotes=True),
        bounds=True,
        help="The import methods that clients may use, in brackets: [glance-direct,web-download].",
    ),
)

_TEXT = {"type": "string", "minLength": 1, "maxLength": 4096}
_METHOD: schemas.Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _TEXT, "uri": _TEXT, "digest": _TEXT},
}
SCHEMA: schemas.Schema = {
    "type": "object",
    "required": ["method"],
    "properties": {
        "method": _METHOD,
        "stores": {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 100},
        "all_stores": {"type": "boolean"},
        "all_stores_must_succeed": {"type": "boolean"},
    },
}


@dataclasses.dataclass(frozen=True, slots=True)
class Imports:
    """The handler that starts imports. With ``detects`` data may say what format it has."""

    access: Access
    stores: Stores
    engine: Engine
    sources: ImportSources
    quotas: Quotas
    signing: Signing
    methods: tuple[str, ...]
    schema: schemas.Checker
    detects: bool = False

    def start(self, request: Request, image_id: str) -> webob.Response:
        """Record the job; 202. What can be refused now is not left to the job."""
        who = identity(request)
        body = json_body(request)
        self.schema.check(body)
        body = {**_known(SCHEMA, body), "method": _known(_METHOD, body["method"])}
        name = body["method"]["name"]
        if name not in self.methods:
            raise errors.BadRequest(problem=f"Import method {name!r} is not enabled here")
        method = METHODS[name]
        image = self._target(request, image_id, method)
        store_ids = self._stores(request, body, image)
        method.check(self.sources, body["method"])
        if store_ids:
            self._start(request, who, image, method, body, store_ids)
        return webob.Response(status=202)

    def _target(self, request: Request, image_id: str, method: ImportMethod) -> Image:
        image = self.access.image(request, image_id, method.rule)
        if image.status != method.requires or image.upload_key is not None:
            needed = method.requires
            raise errors.WrongStatus(image_id=image.id, status=image.status, needed=needed)
        if not self.detects:
            _check_formats(image)
        return image

    def _stores(self, request: Request, body: dict[str, Any], image: Image) -> list[str]:
        """Where to import to, without what has a copy already. Raises BadRequest, UnknownStore."""
        header = headers.store_id(request.environ.get("HTTP_X_IMAGE_META_STORE"))
        named, everywhere = body.get("stores"), body.get("all_stores", False)
        if sum(map(bool, (header, named, everywhere))) > 1:
            problem = "name stores by one of X-Image-Meta-Store, stores and all_stores"
            raise errors.BadRequest(problem=problem)
        known = [backend.id for backend in self.stores]
        wanted = list(dict.fromkeys(named or [header or self.stores.default]))
        for store_id in wanted:
            if store_id not in known:
                raise errors.UnknownStore(store=store_id, stores=", ".join(known))
        held = {location.store for location in image.copies}
        if everywhere:
            return [store_id for store_id in known if store_id not in held]
        if present := held & set(wanted):
            problem = f"Image is already present at store '{min(present)}'"
            raise errors.BadRequest(problem=problem)
        return wanted

    def _start(
        self,
        request: Request,
        who: Identity,
        image: Image,
        method: ImportMethod,
        body: Any,
        store_ids: list[str],
    ) -> None:
        brings_data = method.open is not None
        self.engine.start(
            method.kind,
            project=who.project_id,
            image_id=image.id,
            arguments={
                **for_import(
                    method=body["method"],
                    store_ids=store_ids,
                    all_stores_must_succeed=body.get("all_stores_must_succeed", True),
                    asked=body,
                ),
                **requested_by(
                    user_id=who.user_id,
                    request_id=request.request_id,
                    credential=rechecks.credential(request, method.rule),
                    certificate=self.signing.certificate(request, image) if brings_data else None,
                ),
            },
            was={"status": image.status, "updated_at": image.updated_at, "upload_key": None},
            within=self.quotas.of(image.owner),
            status=method.during,
            properties=with_progress(image, importing=store_ids),
            upload_reserved=method.reservation(image, len(store_ids)),
        )


def _known(schema: schemas.Schema, asked: dict[str, Any]) -> dict[str, Any]:
    """The members that mean something: a job keeps them, and others may be of any size."""
    return {name: asked[name] for name in schema["properties"] if name in asked}


def _check_formats(image: Image) -> None:
    """Raises Conflict where an upload would have FormatsNotSet, as Glance does."""
    for name in ("container_format", "disk_format"):
        if getattr(image, name) is None:
            raise errors.Conflict(problem=f"'{name}' needs to be set before import")
