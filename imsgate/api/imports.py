"""Imports: ``/v2/images/{id}/import``."""

import dataclasses
from typing import Any

import webob
from oslo_config import cfg, types

from imsgate import errors
from imsgate.api import schemas
from imsgate.api.deployment import Deployment
from imsgate.api.description import NO_CONTENT, STORE_HEADER, described, json_content
from imsgate.api.injection import Injection
from imsgate.api.job_starter import JobStarter
from imsgate.api.requester import identity
from imsgate.auth.catalog import image_endpoint
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.http.json_body import json_object, without_unused
from imsgate.http.request import Request
from imsgate.jobs.arguments import for_import
from imsgate.jobs.methods import (
    DEFAULT_METHODS,
    GLANCE_DOWNLOAD,
    GLANCE_METHODS,
    METHODS,
    ImportMethod,
    ImportSources,
)
from imsgate.jobs.progress import with_progress
from imsgate.model import Image, Job
from imsgate.records.access import Access
from imsgate.records.reauthorize import check_tokens
from imsgate.settings import Settings
from imsgate.sources.download_request import (
    CHECKSUM_SIGNATURE_URL,
    CHECKSUM_URL,
    DIGEST,
    URI,
    URIS,
)

#: Options of ``[DEFAULT]``, as in Glance.
OPTS = (
    cfg.ListOpt(
        "enabled_import_methods",
        default=list(DEFAULT_METHODS),
        item_type=types.String(choices=GLANCE_METHODS, quotes=True),
        bounds=True,
        help="Import methods that clients may use, in brackets: [glance-direct,web-download]. "
        "glance-download is not enabled by default; it sends the user's token to the image service "
        "of another region.",
    ),
)


class ImportSettings(Settings, group="DEFAULT", opts=OPTS):
    enabled_import_methods: list[str]


def enabled(conf: Config) -> tuple[str, ...]:
    """The enabled methods. Raises BadConfig if one of them could never succeed."""
    methods = tuple(conf.read(ImportSettings).enabled_import_methods)
    if GLANCE_DOWNLOAD in methods:
        try:
            check_tokens(conf.native)
        except BadConfig as error:
            problem = f"glance-download needs Keystone: {error}"
            raise BadConfig("[DEFAULT] enabled_import_methods", problem) from error
    return methods


_TEXT = {"type": "string", "minLength": 1, "maxLength": 4096}
#: The most mirrors of one file. Each may hold a job for as long as its timeout.
_MAX_URIS = 16
_METHOD: schemas.Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": _TEXT,
        URI: _TEXT,
        URIS: {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": _MAX_URIS},
        DIGEST: _TEXT,
        CHECKSUM_URL: _TEXT,
        CHECKSUM_SIGNATURE_URL: _TEXT,
        "glance_image_id": _TEXT,
        "glance_region": _TEXT,
        "glance_service_interface": _TEXT,
    },
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
_CHECKER = schemas.Checker(SCHEMA)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Imports:
    """The handler that starts imports."""

    access: Access
    sources: ImportSources
    jobs: JobStarter
    deployment: Deployment
    injection: Injection

    @described(
        answers={202: NO_CONTENT},
        body=json_content(SCHEMA),
        headers=STORE_HEADER,
        refusals=(409, 413),
    )
    def start(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Interoperable image import: Import an image.

        Records a job and answers 202. What can be refused now is not left to the job.
        """
        body = self._body(request)
        name = body["method"]["name"]
        if name not in self.deployment.import_methods:
            raise errors.BadRequest(problem=f"Import method {name!r} is not enabled here")
        method = METHODS[name]
        image = self._image(request, image_id, method)
        store_ids = self._store_ids(request, body, image)
        method.check(self.sources, body["method"])
        if name == GLANCE_DOWNLOAD:
            body["method"].setdefault("glance_service_interface", "public")
        if store_ids:
            return self._start(request, image, method, body, store_ids)
        return _accepted()

    @staticmethod
    def _body(request: Request) -> dict[str, Any]:
        """The members of the body that have a meaning: the job stores them, and others may be
        of any size. Raises BadJson."""
        identity(request)
        body = without_unused(json_object(request), SCHEMA["properties"])
        if isinstance(body.get("method"), dict):
            body["method"] = without_unused(body["method"], _METHOD["properties"])
        _CHECKER.check(body)
        return {**_known(SCHEMA, body), "method": _known(_METHOD, body["method"])}

    def _image(self, request: Request, image_id: str, method: ImportMethod) -> Image:
        image = self.access.image(identity(request), image_id, method.rule)
        if image.status != method.requires or image.upload_key is not None:
            needed = method.requires
            raise errors.WrongStatus(image_id=image.shown_id, status=image.status, needed=needed)
        if not self.deployment.detects_formats:
            _check_formats(image)
        return image

    def _store_ids(self, request: Request, body: dict[str, Any], image: Image) -> list[str]:
        """The stores to import to, except those that have a copy. Raises BadRequest,
        UnknownStore, StoreReadOnly."""
        header, stores = request.store_id, self.deployment.stores
        named, everywhere = body.get("stores"), body.get("all_stores", False)
        if sum(map(bool, (header, named, everywhere))) > 1:
            problem = "use only one of X-Image-Meta-Store, stores and all_stores"
            raise errors.BadRequest(problem=problem)
        requested = list(dict.fromkeys(named or [header or stores.default]))
        for store_id in requested:
            if not everywhere:
                stores.check_target(store_id)
        holding = {location.store for location in image.copies}
        if everywhere and not (holding or stores.targets()):
            raise errors.BadRequest(problem="every store is read-only")
        if everywhere:
            return [store_id for store_id in stores.targets() if store_id not in holding]
        if present := holding & set(requested):
            problem = f"Image is already present at store '{min(present)}'"
            raise errors.BadRequest(problem=problem)
        return requested

    def _start(
        self,
        request: Request,
        image: Image,
        method: ImportMethod,
        body: dict[str, Any],
        store_ids: list[str],
    ) -> webob.Response:
        return self.jobs.start_import(
            request,
            image,
            method.kind,
            for_import(
                method=body["method"],
                store_ids=store_ids,
                all_stores_must_succeed=body.get("all_stores_must_succeed", True),
                asked=body,
                # Glance runs no plugins for copy-image.
                properties=self.injection.of(identity(request)) if method.open else {},
                endpoint=_endpoint(request, body["method"]),
            ),
            rule=method.rule,
            answer=_accepted,
            is_signed=method.open is not None,
            was={"upload_key": None},
            status=method.during,
            properties=with_progress(image, importing=store_ids),
            upload_reserved=method.reservation(image, len(store_ids)),
        )


def _endpoint(request: Request, method: dict[str, str]) -> str | None:
    """The image service that ``glance-download`` names, by the catalog of the user's token.

    A service that is not in the catalog is left to the job, as in Glance. Raises BadRequest if
    the job could not use the token.
    """
    if method["name"] != GLANCE_DOWNLOAD:
        return None
    if request.sealed_credential() is None:
        raise errors.BadRequest(problem="glance-download needs a token of Keystone")
    return image_endpoint(
        request.headers.get("X-Service-Catalog"),
        method["glance_region"],
        method["glance_service_interface"],
    )


def _accepted(job: Job | None = None) -> webob.Response:
    return webob.Response(status=202)


def _known(schema: schemas.Schema, body: dict[str, Any]) -> dict[str, Any]:
    """The members that the schema defines."""
    return {name: body[name] for name in schema["properties"] if name in body}


def _check_formats(image: Image) -> None:
    """Raises Conflict, as Glance does; an upload raises FormatsNotSet."""
    for name in ("container_format", "disk_format"):
        if getattr(image, name) is None:
            raise errors.Conflict(problem=f"'{name}' needs to be set before import")
