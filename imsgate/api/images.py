"""Image records: ``/v2/images`` and ``/v2/images/{id}``."""

import dataclasses
import logging
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import webob
from oslo_config import cfg

from imsgate import errors, model
from imsgate.api import access, patch, schemas, views
from imsgate.api.access import Access
from imsgate.http import responses
from imsgate.http.json_body import json_body, json_object
from imsgate.http.request import Request
from imsgate.model import Identity, Image, Status
from imsgate.registry.base import Registry
from imsgate.stores.loader import Stores
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.upload import NO_UPLOAD, Uploads

LOG = logging.getLogger(__name__)

GROUP = "api"
OPTS = (
    cfg.IntOpt("limit_param_default", default=25, min=1, help="Images on a page by default."),
    cfg.IntOpt("api_limit_max", default=1000, min=1, help="Images on a page at most."),
    cfg.IntOpt("image_property_quota", default=128, min=-1, help="Properties; -1: no limit."),
    cfg.IntOpt("image_tag_quota", default=128, min=-1, help="Tags of an image; -1: no limit."),
    cfg.IntOpt("image_member_quota", default=128, min=-1, help="Members; -1: no limit."),
)

#: Names as in Glance's ``[image_format]``.
FORMAT_GROUP = "image_format"
FORMAT_OPTS = (
    cfg.ListOpt(
        "disk_formats",
        default=(
            "ami ari aki vhd vpc vhdx vmdk raw qcow2 qcow qed vdi iso zvhd zvhd2 ploop".split()
        ),
        help="Values that disk_format takes.",
    ),
    cfg.ListOpt(
        "container_formats",
        default="ami ari aki bare ovf ova docker compressed".split(),
        help="Values that container_format takes.",
    ),
)

#: Bytes of the properties of an image, in UTF-8 with their names: a page holds many images.
_PROPERTY_BYTES = 1 << 17

#: How often a change is tried again when another request got in between.
_ATTEMPTS = 10


def check_quota(
    resource: str,
    count: int,
    limit: int,
    kind: type[errors.QuotaExceeded] = errors.QuotaExceeded,
) -> None:
    """Raises that kind of QuotaExceeded; a negative limit is none."""
    if 0 <= limit < count:
        raise kind(resource=resource, limit=f"{limit} allowed, {count} asked for")


@dataclasses.dataclass(frozen=True, slots=True)
class Images:
    """The handlers of image records."""

    access: Access
    registry: Registry
    stores: Stores
    uploads: Uploads
    cleanup: Cleanup
    settings: Any
    schema: schemas.Checker
    import_methods: tuple[str, ...] = ()
    dialect: views.Dialect = views.GLANCE
    public_endpoint: str | None = None

    def create(self, request: Request) -> webob.Response:
        who = access.identity(request)
        body = json_object(request)
        for name in body:
            if name not in schemas.NOT_KEPT:
                schemas.check_settable(name)
        self.schema.check(body)
        body = {name: value for name, value in body.items() if name not in schemas.NOT_KEPT}
        if "id" in body:
            schemas.check_id(body["id"])
        image = self.add(who, self.dialect.complete(body))
        href = f"/v2/images/{image.id}"
        response = responses.json_response(self._view(who, image), 201)
        response.headers["Location"] = views.base_url(request, self.public_endpoint) + href
        if self.import_methods:
            response.headers["OpenStack-image-import-methods"] = ",".join(self.import_methods)
        response.headers["OpenStack-image-store-ids"] = ",".join(store.id for store in self.stores)
        return response

    def add(self, who: Identity, body: dict[str, Any]) -> Image:
        """A new record, of what a client asked for in a form that was checked.

        Raises Forbidden, QuotaExceeded, AlreadyExists and Unavailable.
        """
        image = self._new(body, who.project_id)
        self.access.creatable(who, image)
        self._check_quotas(image.properties, image.tags)
        _check_bytes(image.properties)
        self.registry.add(image, self.uploads.quotas.of(image.owner))
        return image

    def _view(self, who: Identity, image: Image) -> dict[str, Any]:
        return self.dialect.image(image, who.project_id)

    @staticmethod
    def _new(body: dict[str, Any], project: str | None) -> Image:
        fields = {
            name: patch.convert(name, value)
            for name, value in body.items()
            if name in schemas.SETTABLE
        }
        custom = {
            name: value
            for name, value in body.items()
            if name not in schemas.SETTABLE and name != "id"
        }
        now = model.now()
        return Image(
            id=body.get("id", str(uuid.uuid4())).lower(),
            created_at=now,
            updated_at=now,
            properties=custom,
            **{"owner": project, **fields},
        )

    def _check_quotas(self, properties: Any, tags: Any) -> None:
        own = [name for name in properties if not name.startswith(schemas.RESERVED_PREFIX)]
        check_quota("properties of an image", len(own), self.settings.image_property_quota)
        limit = self.settings.image_tag_quota
        check_quota("tags of an image", len(tags), limit, errors.TagQuotaExceeded)

    def show(self, request: Request, image_id: str) -> webob.Response:
        image = self.access.image(request, image_id)
        return responses.json_response(self._view(access.identity(request), image))

    def index(self, request: Request) -> webob.Response:
        who = access.identity(request)
        images, following = self.page(request, self.dialect, self.settings.limit_param_default)
        kept = [(key, text) for key, text in request.GET.items() if key != "marker"]
        page = {
            "images": [self._view(who, image) for image in images],
            "first": _link(kept),
            "schema": "/v2/schemas/images",
        }
        if following:
            page["next"] = _link([*kept, ("marker", following)])
        return responses.json_response(page)

    def page(
        self, request: Request, dialect: views.Dialect, default: int
    ) -> tuple[list[Image], str | None]:
        """The images that a query string asks for, and the marker of the next page, if any.

        ``default`` is how many are on a page unless it says.
        """
        who = access.identity(request)
        mine = {} if who.project_id is None else {"project_id": who.project_id}
        self.access.enforce("get_images", who, mine, "list")
        query = dialect.query(
            list(request.GET.items()),
            who.project_id,
            admin=self.access.is_admin(request),
            default=default,
            maximum=self.settings.api_limit_max,
        )
        marker = request.GET.get("marker")
        if marker is not None:
            try:
                found = self.access.marker(request, marker)
            except errors.NotFound as error:
                raise errors.BadQuery(parameter="marker", problem="no such image") from error
            query = dataclasses.replace(query, marker=found)
        images = self.registry.list(query)
        following = images[-1].id if images and len(images) == query.limit else None
        return self.access.listed(who, images), following

    def update(self, request: Request, image_id: str) -> webob.Response:
        who = access.identity(request)
        if request.content_type not in (patch.V20, patch.V21):
            raise errors.UnsupportedMediaType(
                accepted=f"{patch.V20}, {patch.V21}",
                headers={"Accept-Patch": f"{patch.V20}, {patch.V21}"},
            )
        operations = patch.parse(json_body(request), request.content_type)
        for operation in operations:
            if operation.op != "remove":
                self.schema.check({operation.name: operation.value})

        image = self.apply(request, image_id, self.dialect.changes(operations))
        return responses.json_response(self._view(who, image))

    def apply(
        self,
        request: Request,
        image_id: str,
        operations: list[patch.Operation],
        check: Callable[[Image], object] = lambda image: None,
    ) -> Image:
        """Change an image by operations of checked form; ``check`` may raise to refuse."""
        who = access.identity(request)

        def fields(image: Image) -> dict[str, Any]:
            check(image)
            changed = patch.apply(image, operations)
            if "visibility" in changed:
                self.access.may_show(who, image, changed["visibility"])
            gives_away = "owner" in changed and changed["owner"] != image.owner
            if gives_away and not self.access.is_admin(request):
                raise errors.Forbidden(action="change the owner of an image")
            self._check_quotas(
                changed.get("properties", image.properties), changed.get("tags", image.tags)
            )
            _check_bytes(changed.get("properties", {}))
            return changed

        return self.change(request, image_id, "modify_image", fields)

    def change(
        self,
        request: Request,
        image_id: str,
        rule: str,
        fields: Callable[[Image], dict[str, Any]],
    ) -> Image:
        """Read, decide and write until nothing came in between.

        The record's time of change is compared, so that of two requests at
        once neither undoes what the other did.
        """
        for _ in range(_ATTEMPTS):
            image = self.access.image(request, image_id, rule)
            changed = fields(image)
            if not changed:
                return image
            was = {"status": image.status, "updated_at": image.updated_at}
            try:
                # Another owner gets what it adds to its own usage.
                owner = self.uploads.quotas.of(changed["owner"]) if "owner" in changed else None
                return self.registry.change(image.id, was, owner, **changed)
            except errors.Conflict:
                continue
        raise errors.Conflict(problem=f"Image {image_id} is being changed by others; try again")

    def delete(self, request: Request, image_id: str) -> webob.Response:
        def fields(image: Image) -> dict[str, Any]:
            if image.protected:
                raise errors.Protected(image_id=image.id)
            # A copy that is just being removed is one of the locations still.
            return {"status": Status.PENDING_DELETE, **(NO_UPLOAD if image.copies else {})}

        self._erase(self.change(request, image_id, "delete_image", fields))
        return webob.Response(status=204)

    def discard(self, image_id: str) -> None:
        """Delete an image that nobody was told of. Raises Unavailable."""
        to = {"status": Status.PENDING_DELETE, **NO_UPLOAD}
        self._erase(self.registry.change(image_id, {}, **to))

    def _erase(self, image: Image) -> None:
        self.registry.cancel_jobs(image.id)
        try:
            self.cleanup.erase(image)
        except (errors.StoreUnavailable, errors.Conflict) as error:
            # It is gone for every client; the sweep tries the store again.
            LOG.warning("The data of image %s could not be deleted yet: %s", image.id, error)

    def deactivate(self, request: Request, image_id: str) -> webob.Response:
        return self._toggle(request, image_id, "deactivate", Status.ACTIVE, Status.DEACTIVATED)

    def reactivate(self, request: Request, image_id: str) -> webob.Response:
        return self._toggle(request, image_id, "reactivate", Status.DEACTIVATED, Status.ACTIVE)

    def _toggle(
        self, request: Request, image_id: str, rule: str, was: Status, to: Status
    ) -> webob.Response:
        def fields(image: Image) -> dict[str, Any]:
            if image.status not in (was, to):
                raise errors.Forbidden(action=f"{rule} an image in status {image.status}")
            return {} if image.status == to else {"status": to}

        self.change(request, image_id, rule, fields)
        return webob.Response(status=204)

    def add_tag(self, request: Request, image_id: str, tag: str) -> webob.Response:
        self.schema.check({"tags": [tag]})

        def fields(image: Image) -> dict[str, Any]:
            tags = image.tags | {tag}
            self._check_quotas(image.properties, tags)
            return {} if tag in image.tags else {"tags": tags}

        self.change(request, image_id, "modify_image", fields)
        return webob.Response(status=204)

    def remove_tag(self, request: Request, image_id: str, tag: str) -> webob.Response:
        def fields(image: Image) -> dict[str, Any]:
            if tag not in image.tags:
                raise errors.NotFound(what=f"Tag {tag} of image {image.id}")
            return {"tags": image.tags - {tag}}

        self.change(request, image_id, "modify_image", fields)
        return webob.Response(status=204)


def _check_bytes(properties: Mapping[str, str]) -> None:
    """Raises QuotaExceeded."""
    count = sum(len(text.encode()) for pair in properties.items() for text in pair)
    check_quota("bytes of properties of an image", count, _PROPERTY_BYTES)


def _link(params: list[tuple[str, str]]) -> str:
    return "/v2/images" + (f"?{urllib.parse.urlencode(params)}" if params else "")
