"""Image data: ``/v2/images/{id}/file``."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import webob

from imsgate import errors, inspection
from imsgate.api.access import Access
from imsgate.api.signatures import Signing
from imsgate.http import headers
from imsgate.http.request import Request
from imsgate.model import UNFINISHED, Image, Status
from imsgate.registry.base import Registry
from imsgate.stores.loader import Stores
from imsgate.transfer import download
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.upload import STAGE, UPLOAD, Transition, Uploads

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    """The handlers of image data. With ``detects`` the data may say what format it has."""

    access: Access
    registry: Registry
    stores: Stores
    uploads: Uploads
    cleanup: Cleanup
    signing: Signing
    staging_store: str | None = None
    detects: bool = False

    def upload(self, request: Request, image_id: str) -> webob.Response:
        """Everything that can be refused is, before the first byte is read."""
        named = headers.store_id(request.environ.get("HTTP_X_IMAGE_META_STORE"))
        return self._receive(request, image_id, "upload_image", UPLOAD, named)

    def stage(self, request: Request, image_id: str) -> webob.Response:
        """Keep the data for a later import: in a store, so that any host can do it."""
        return self._receive(request, image_id, "modify_image", STAGE, self.staging_store)

    def _receive(
        self, request: Request, image_id: str, rule: str, way: Transition, store_id: str | None
    ) -> webob.Response:
        image = self.access.image(request, image_id, rule)
        image.require(Status.QUEUED)
        if not (self.detects or (image.disk_format and image.container_format)):
            raise errors.FormatsNotSet
        store = self.stores.choose(store_id)
        body = request.reader()
        self._declare(request, image)
        if way is UPLOAD:  # what is staged may still be packed; the import verifies it
            self.signing.watch(request, image)
        self.uploads.receive(
            image,
            body,
            store=store,
            size=self._announced(request),
            content_fields=lambda: self._facts(request, image),
            transition=way,
            reauthorize=lambda: self.access.permitted(request.identify(), image.id, rule),
        )
        return webob.Response(status=204)

    @staticmethod
    def _announced(request: Request) -> int | None:
        """The size in bytes, by Content-Length or by ``x-openstack-image-size``."""
        announced = request.announced_size
        length = request.reader().length
        if announced is not None and length is not None and announced != length:
            raise errors.SizeMismatch(announced=announced, received=length)
        return announced if length is None else length

    @staticmethod
    def _declare(request: Request, image: Image) -> None:
        if request.inspection is not None:
            request.inspection.declare(inspection.declared_format(image))

    @staticmethod
    def _facts(request: Request, image: Image) -> Mapping[str, Any]:
        return (
            inspection.fields_from_content(image, request.inspection.facts)
            if request.inspection
            else {}
        )

    def download(self, request: Request, image_id: str) -> webob.Response:
        image = self.access.image(request, image_id, "download_image")
        if image.status == Status.DEACTIVATED and not self.access.is_admin(request):
            raise errors.Deactivated(image_id=image.id)
        if not image.copies:
            return webob.Response(status=204)
        return self._first_copy(request, image)

    def _first_copy(self, request: Request, image: Image) -> webob.Response:
        """The data from the preferred store that has it and is up."""
        failure: errors.Error = errors.NotFound(what=f"The data of image {image.id}")
        for location in self.stores.preferred(image.copies):
            try:
                store = self.stores.get(location.store)
                return download.respond(request, image, store, location.url)
            except errors.StoreUnavailable as error:
                failure = error
            except errors.ObjectNotFound:
                LOG.error("Store %s has lost the data of image %s", location.store, image.id)
        raise failure

    def delete_copy(self, request: Request, store_id: str, image_id: str) -> webob.Response:
        """Remove one of several copies. What cannot be deleted stays a copy."""
        image = self.access.image(request, image_id, "delete_image_location")
        self.stores.choose(store_id)
        image.require(Status.ACTIVE)
        # It may be what a job makes another copy of.
        if any(job.state in UNFINISHED for job in self.registry.jobs_of(image.id)):
            raise errors.Conflict(problem=f"Image {image.id} is being worked at by a job")
        copies = [copy for copy in image.copies if copy.store == store_id]
        if not copies:
            raise errors.NotFound(what=f"Image {image.id} in store {store_id}")
        if len(copies) == len(image.copies):
            raise errors.Forbidden(action="delete the only copy; delete the image instead")
        self.cleanup.remove_copy(image, copies[0])
        return webob.Response(status=204)
