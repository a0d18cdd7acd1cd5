"""Image data: ``/v2/images/{id}/file`` and ``/v2/images/{id}/stage``."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import webob

from imsgate import errors, inspection
from imsgate.api.deployment import Deployment
from imsgate.api.description import BINARY, NO_CONTENT, NUMBER, STORE_HEADER, TEXT, described
from imsgate.api.job_starter import JobStarter
from imsgate.api.requester import identity
from imsgate.api.uploads import CREATION, CREATION_ANSWERS, UploadResource, is_resumable
from imsgate.http.request import Request
from imsgate.jobs.arguments import for_import
from imsgate.jobs.methods import GLANCE_DIRECT, METHODS
from imsgate.model import Identity, Image, Status
from imsgate.records.access import Access
from imsgate.stores.base import Store
from imsgate.stores.enabled import Stores
from imsgate.transfer import download
from imsgate.transfer.repeat import Repeats, fields_of_uploader
from imsgate.transfer.upload import STAGE, UPLOAD, UPLOAD_AND_IMPORT, Recording, Transition, Uploads

LOG = logging.getLogger(__name__)

_UPLOAD_HEADERS = {
    "x-openstack-image-size": {**NUMBER, "description": "Bytes of the data, if it is chunked"},
    "Content-Encoding": {"enum": ["identity", "gzip", "zstd"]},
    **CREATION,
}
#: Those of refusals of data.
_UPLOAD_REFUSALS = (409, 410)
_DOWNLOAD_QUERY = {
    "prefer": {**TEXT, "description": "Ids of the stores to read from first, separated by commas"}
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageUpload:
    """The handlers that receive image data.

    Whatever can be refused is refused before the first byte is read.
    """

    access: Access
    uploads: Uploads
    repeats: Repeats
    jobs: JobStarter
    deployment: Deployment
    resource: UploadResource

    @described(
        answers=CREATION_ANSWERS,
        body=BINARY,
        headers={**STORE_HEADER, **_UPLOAD_HEADERS},
        refusals=_UPLOAD_REFUSALS,
        has_problems=True,
    )
    def upload(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Image data: Upload binary image data."""
        if is_resumable(request):
            return self.resource.create(request, image_id, staged=False)
        store_id = request.store_id
        return self._receive(request, image_id, "upload_image", UPLOAD, store_id)

    @described(
        answers=CREATION_ANSWERS,
        body=BINARY,
        headers=_UPLOAD_HEADERS,
        refusals=_UPLOAD_REFUSALS,
        has_problems=True,
    )
    def stage(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Interoperable image import: Stage binary image data.

        The data is kept in a store, so that any host can import it.
        """
        if is_resumable(request):
            return self.resource.create(request, image_id, staged=True)
        store_id = self.uploads.settings.staging_store
        return self._receive(request, image_id, "modify_image", STAGE, store_id)

    def _receive(
        self,
        request: Request,
        image_id: str,
        rule: str,
        transition: Transition,
        store_id: str | None,
    ) -> webob.Response:
        if request.codings:  # nothing has decompressed the data, so it is not the image
            raise errors.UnsupportedCoding(accepted="identity")
        who = identity(request)
        image = self.access.image(who, image_id, rule)

        def reread() -> Image:
            return self.access.image(request.identify(), image.id, rule)

        converts = transition is UPLOAD and self.deployment.converts_upload(image)
        if converts:
            transition = UPLOAD_AND_IMPORT
        # Data that is converted waits in the staging store, whatever store the request names.
        if self.repeats.expects(image, who, transition, None if converts else store_id):
            _declare(request, image)
            size = _announced_size(request)
            self.repeats.compare(image, request.reader(), size=size, reread=reread)
            return webob.Response(status=204)
        image.require(Status.QUEUED)
        self.deployment.check_formats(image)
        store = self.deployment.stores.target(store_id)
        body = request.reader()
        _declare(request, image)
        record: Recording | None = None
        if converts:
            record = self._importing(request, image, rule, store)
            store = self.deployment.stores.target(self.uploads.settings.staging_store)
        if transition is UPLOAD:
            # Staged data may be compressed. The import verifies what comes out of it.
            self.jobs.signing.watch(request, image)
        self.uploads.receive(
            image,
            body,
            store=store,
            record=record,
            size=_announced_size(request),
            content_fields=lambda: {
                **_fields_from_content(request, image),
                **fields_of_uploader(who, transition),
            },
            transition=transition,
            reauthorize=reread,
        )
        return webob.Response(status=204)

    def _importing(self, request: Request, image: Image, rule: str, store: Store) -> Recording:
        """What records the staged data together with the job that imports it to ``store``."""
        method = METHODS[GLANCE_DIRECT]
        asked = {"name": method.name}
        arguments = for_import(
            method=asked,
            store_ids=[store.name],
            all_stores_must_succeed=True,
            asked={"method": asked, "stores": [store.name]},
        )

        def record(was: Mapping[str, Any], to: Mapping[str, Any]) -> None:
            self.jobs.start_upload_import(
                request, image, method.kind, arguments, rule=rule, was=was, **to
            )

        return record


def _declare(request: Request, image: Image) -> None:
    """Tell the inspection of the body which format is expected."""
    if request.inspection is not None:
        request.inspection.declare(inspection.declared_format(image))


def _announced_size(request: Request) -> int | None:
    """The size in bytes by Content-Length or ``x-openstack-image-size``; None if unknown.

    Raises SizeMismatch if the two headers differ.
    """
    announced = request.announced_size
    length = request.reader().length
    if announced is not None and length is not None and announced != length:
        raise errors.SizeMismatch(announced=announced, received=length)
    return announced if length is None else length


def _fields_from_content(request: Request, image: Image) -> Mapping[str, Any]:
    if request.inspection is None:
        return {}
    return inspection.fields_from_content(image, request.inspection.image_info)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageDownload:
    """The handler that sends image data.

    ``on_sent(who, image)`` returns what to call when the response has ended, with the bytes
    sent and those expected, or None.
    """

    access: Access
    stores: Stores
    on_sent: Callable[[Identity, Image], Callable[[int, int], None] | None]

    @described(
        answers={
            200: BINARY,
            204: NO_CONTENT,
            206: BINARY,
            304: NO_CONTENT,
            307: NO_CONTENT,
        },
        query=_DOWNLOAD_QUERY,
        headers={"Range": TEXT, "Content-Range": TEXT, "If-None-Match": TEXT},
        refusals=(416,),
    )
    def download(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Image data: Download binary image data."""
        who = identity(request)
        first = _preferred_stores(request)
        image = self.access.image(who, image_id, "download_image")
        if first:
            self.access.image(who, image_id, "download_from_store")
        if image.status == Status.DEACTIVATED and not self.access.is_admin(who):
            raise errors.Deactivated(image_id=image.shown_id)
        for store_id in first:
            self.stores.check(store_id)
        if not image.copies:
            return webob.Response(status=204)
        return self._respond(request, image, first, self.on_sent(who, image))

    def _respond(
        self,
        request: Request,
        image: Image,
        first: Sequence[str],
        on_sent: Callable[[int, int], None] | None,
    ) -> webob.Response:
        """The data from the most preferred store that has it and is available."""
        failure: errors.Error = errors.NotFound(what=f"The data of image {image.shown_id}")
        for location in self.stores.preferred(image.copies, first):
            try:
                store = self.stores.get(location.store)
                return download.respond(request, image, store, location.url, on_sent)
            except errors.StoreUnavailable as error:
                failure = error
            except errors.ObjectNotFound:
                LOG.error("Store %s has lost the data of image %s", location.store, image.id)
        raise failure


def _preferred_stores(request: Request) -> list[str]:
    """The stores of the query parameter ``prefer``, without repetitions."""
    names = (name.strip() for name in request.GET.get("prefer", "").split(","))
    return list(dict.fromkeys(filter(None, names)))
