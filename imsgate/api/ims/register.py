"""Images from and to users' buckets: the calls that start register, create and export jobs."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api import rechecks
from imsgate.api.access import Access, identity
from imsgate.api.images import Images
from imsgate.api.ims import attributes, jobs, systems, tags
from imsgate.api.signatures import Signing
from imsgate.api.views import Dialect
from imsgate.buckets import image_url
from imsgate.buckets.image_url import Allowed, ImageUrl
from imsgate.errors import BadAttribute, NotOffered
from imsgate.http.json_body import json_object
from imsgate.http.request import Request
from imsgate.jobs import export
from imsgate.jobs.arguments import for_bucket_import, for_export, requested_by
from imsgate.jobs.engine import Engine
from imsgate.jobs.methods import CREATE, METHODS, REGISTER
from imsgate.model import Identity, Image, Job, Status
from imsgate.quotas.quota import Quotas
from imsgate.stores.loader import Stores

#: What the service can do and this gateway cannot, by the member that asks for it.
_NOT_OFFERED = {
    "instance_id": "images of servers",
    "volume_id": "images of volumes",
    "cmk_id": "encryption by a key of the client's",
    "data_images": "images of several disks",
}

#: The words of ``type`` for ``virtual_env_type``.
_ENVIRONMENTS = {
    "ECS": "FusionCompute",
    "FusionCompute": "FusionCompute",
    "BMS": "Ironic",
    "Ironic": "Ironic",
    "IsoImage": "IsoImage",
    "DataImage": "DataImage",
}

_DATA = "DataImage"
#: Versions that stand for a kind of system that is not known any better.
_UNKNOWN_OF = {
    "Linux": systems.DEFAULT,
    "Windows": "Other Windows (64 bit)",
    "Other": systems.DEFAULT,
}
#: What stands in place of a version where a disk for data is imported.
_KINDS = ("Linux", "Windows")


@dataclasses.dataclass(frozen=True, slots=True)
class Register:
    """The handlers. ``allowed`` is None where no buckets are configured."""

    access: Access
    stores: Stores
    engine: Engine
    signing: Signing
    quotas: Quotas
    images: Images
    dialect: Dialect
    allowed: Allowed | None

    # Into an image that is there

    def register(self, request: Request, image_id: str) -> webob.Response:
        """``PUT /v1/cloudimages/{id}/upload``"""
        who = identity(request)
        image = self.access.image(request, image_id, "register_image")
        url = self._object(who, json_object(request).get("image_url"))
        if image.status != Status.QUEUED or image.upload_key is not None:
            needed = Status.QUEUED
            raise errors.WrongStatus(image_id=image.id, status=image.status, needed=needed)
        return jobs.accepted(self._start(request, REGISTER, image, url))

    # Into a new one

    def create(self, request: Request) -> webob.Response:
        """``POST /v2/cloudimages/action``"""
        body = json_object(request)
        quick = body.get("is_quick_import", False) is True
        return self._create(request, body, quick=quick, job_type="imsImportImageJob")

    def quick_import(self, request: Request) -> webob.Response:
        """``POST /v2/cloudimages/quickimport/action``"""
        body = json_object(request)
        data = body.get("type") == _DATA
        job_type = "imsImportDataImageJob" if data else "imsImportImageJob"
        return self._create(request, body, quick=True, job_type=job_type)

    def create_data(self, request: Request) -> webob.Response:
        """``POST /v1/cloudimages/dataimages/action``"""
        body = {**json_object(request), "type": _DATA}
        return self._create(request, body, quick=False, job_type="imsImportDataImageJob")

    def _create(
        self, request: Request, body: Mapping[str, Any], *, quick: bool, job_type: str
    ) -> webob.Response:
        who = identity(request)
        mine = {"project_id": who.project_id, "owner": who.project_id}
        for rule in ("register_image", "add_image"):
            self.access.enforce(rule, who, mine, "new image")
        url = self._object(who, body.get("image_url"))
        image = self.images.add(who, self.dialect.complete(_asked(body, quick=quick)))
        try:
            job = self._start(
                request, CREATE, image, url, name=image.name, job_type=job_type, quick=quick
            )
            return jobs.accepted(job)
        except errors.Error:
            # Nobody was told of this image. If only the answer was lost, its job goes on.
            with contextlib.suppress(errors.Error):
                self.images.discard(image.id)
            raise

    # Out

    def export(self, request: Request, image_id: str) -> webob.Response:
        """``POST /v1/cloudimages/{id}/file``"""
        who = identity(request)
        image = self.access.image(request, image_id, "export_image")
        body = json_object(request)
        url = self._object(who, body.get("bucket_url"))
        image.require(Status.ACTIVE)
        quick = body.get("is_quick_export", False) is True
        if (wanted := "zvhd2" if quick else body.get("file_format")) != image.disk_format:
            raise errors.ExportFormat(found=image.disk_format, wanted=wanted)
        job = self.engine.start(
            export.KIND,
            project=who.project_id,
            image_id=image.id,
            arguments={
                **for_export(url=url),
                **requested_by(
                    user_id=who.user_id,
                    request_id=request.request_id,
                    credential=rechecks.credential(request, "export_image"),
                ),
            },
            was={"status": Status.ACTIVE, "updated_at": image.updated_at},
        )
        return jobs.accepted(job)

    # Shared

    def _object(self, who: Identity, text: Any) -> ImageUrl:
        """The object that a request names, if its project may use that. Raises BadImageUrl."""
        if self.allowed is None:
            raise NotOffered(problem="no object storage is configured")
        if not isinstance(text, str):
            raise errors.BadImageUrl("IMG.0017", problem="it must be given, as text")
        url = image_url.parse(text)
        self.allowed.check(who.project_id, url.bucket)
        return url

    def _start(
        self, request: Request, method_name: str, image: Image, url: ImageUrl, **more: Any
    ) -> Job:
        who, method = identity(request), METHODS[method_name]
        return self.engine.start(
            method.kind,
            project=who.project_id,
            image_id=image.id,
            arguments={
                **for_bucket_import(
                    method=method_name,
                    url=url,
                    store_id=self.stores.default,
                    properties={attributes.ORIGIN: f"file,{url.bucket}:{url.key}"},
                    **more,
                ),
                **requested_by(
                    user_id=who.user_id,
                    request_id=request.request_id,
                    credential=rechecks.credential(request, method.rule),
                    certificate=self.signing.certificate(request, image),
                ),
            },
            was={"status": Status.QUEUED, "updated_at": image.updated_at, "upload_key": None},
            within=self.quotas.of(image.owner),
            status=method.during,
            upload_reserved=method.reservation(image, 1),
        )


def _asked(body: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """A request to create an image, as one for its record. Raises BadAttribute, NotOffered."""
    for member, what in _NOT_OFFERED.items():
        if body.get(member):
            raise NotOffered(problem=what)
    attributes.check_name(body.get("name"))
    kind = _ENVIRONMENTS.get(str(body.get("type") or "ECS"))
    if kind is None:
        problem = f"type: it is one of {', '.join(_ENVIRONMENTS)}"
        raise BadAttribute("IMG.0024", problem=problem)
    version = _version(body, kind, quick=quick)
    if type(body.get("min_disk")) is not int or body["min_disk"] < 1:
        raise BadAttribute("IMG.0055", problem="min_disk: it must be given, as a number of GB")
    record: dict[str, Any] = {
        "name": body["name"],
        "min_disk": body["min_disk"],
        "__os_version": version,
        "virtual_env_type": kind,
        "tags": tags.of(body),
        "container_format": "bare",
    }
    if body.get("min_ram") is not None:
        record["min_ram"] = _ram("min_ram", body["min_ram"])
    if body.get("max_ram") is not None:
        record["max_ram"] = str(_ram("max_ram", body["max_ram"]))
    if body.get("description") is not None:
        attributes.check_description(body["description"])
        record["__description"] = body["description"]
    if body.get("architecture") is not None:
        if body["architecture"] not in ("x86", "arm"):
            raise BadAttribute("IMG.0212", problem="architecture: it is x86 or arm")
        record |= {"__support_arm": "true"} if body["architecture"] == "arm" else {}
    for name in ("hw_firmware_type", "enterprise_project_id"):
        if body.get(name) is not None:
            record[name] = str(body[name])
    return record


def _version(body: Mapping[str, Any], kind: str, *, quick: bool) -> str:
    version = body.get("os_version")
    if kind == _DATA and version in _KINDS:
        return _UNKNOWN_OF[version]
    if version:
        return str(version)
    if quick and kind != _DATA:
        raise BadAttribute("IMG.0159", problem="os_version: a quick import needs it")
    if kind == attributes.ISO:
        raise BadAttribute("IMG.0166", problem="os_version: an ISO image needs it")
    os_type = str(body.get("os_type") or "Linux")
    if os_type not in _UNKNOWN_OF:
        raise BadAttribute("IMG.0056", problem="os_type: it is Linux, Windows or Other")
    return _UNKNOWN_OF[os_type]


def _ram(member: str, size: Any) -> int:
    if type(size) is not int or not 0 <= size < 2**31:
        raise BadAttribute("IMG.0055", problem=f"{member}: it is a number of MB")
    return size
