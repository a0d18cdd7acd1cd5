"""The calls that bring image data. They are received here, and staged in the bucket."""

import dataclasses
import re

import webob

from imsgate import errors
from imsgate.api import tus_headers
from imsgate.api.data import ImageUpload
from imsgate.api.info import Info
from imsgate.api.receiver import Receiver
from imsgate.api.requester import identity
from imsgate.api.routes import Route
from imsgate.api.tus import TusUploads
from imsgate.api.uploads import UploadResource, is_resumable
from imsgate.bridge.records import FILE, STAGE, BridgedAccess, recalled
from imsgate.bridge.registration import Registrations
from imsgate.http.json_body import json_object
from imsgate.http.request import UPLOAD_REQUESTS, Request
from imsgate.jobs.methods import GLANCE_DIRECT
from imsgate.model import Upload
from imsgate.registry.base import Registry

#: The requests that are answered here: method, space, path. IMS has no such calls, or takes no
#: data by them.
REQUESTS = re.compile(
    rf"{UPLOAD_REQUESTS}"
    r"|OPTIONS /v2/images/[^/]+/(file|stage)/?"
    r"|[A-Z]+ /v2/images/[^/]+/upload/?"
    r"|[A-Z]+ /v2/uploads(/[^/]+)?/?"
    r"|[A-Z]+ /v2/images/[^/]+/import/?"
    r"|(GET|HEAD) /v2/info/(import|stores)/?"
)
_OF_IMAGE = re.compile(r"/v2/images/([^/]+)/.*")
_OF_UPLOAD = re.compile(r"/v2/uploads/([^/]+)/?")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BridgeReceiver(Receiver):
    """Stages all data, whatever call brings it."""

    access: BridgedAccess

    def begin(
        self,
        request: Request,
        image_id: str,
        *,
        staged: bool,
        store_id: str | None,
        length: int | None,
        digest: str | None,
        metadata: str | None = None,
    ) -> Upload:
        """See Receiver. Raises what ``BridgedAccess.prepare`` raises."""
        who = identity(request)
        image = recalled(self.access.registry, image_id)
        if image is not None:
            self._ends_own(request, image)  # only then may the call be another one
        self.access.prepare(who, image_id, STAGE if staged else FILE)
        return Receiver.begin(
            self,
            request,
            image_id,
            staged=True,
            store_id=store_id,
            length=length,
            digest=digest,
            metadata=metadata,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataCalls:
    """The handlers of these calls."""

    access: BridgedAccess
    upload: ImageUpload
    resource: UploadResource
    tus: TusUploads
    info: Info
    registrations: Registrations

    def routes(self) -> list[Route]:
        image, tus, resource = "/v2/images/{image_id}", self.tus, self.resource
        options = {"OPTIONS": resource.options}
        return [
            Route(image + "/file", {"PUT": self.file, "POST": self.post, **options}),
            Route(image + "/stage", {"PUT": self.stage, **options}),
            Route(
                image + "/upload",
                {
                    "GET": resource.show,
                    "PATCH": resource.append,
                    "DELETE": resource.cancel,
                    **options,
                },
            ),
            Route(image + "/import", {"POST": self.start_import}),
            Route("/v2/uploads", {"POST": self.create, "OPTIONS": tus.options}),
            Route(
                "/v2/uploads/{upload_id}",
                {
                    "GET": tus.show,
                    "PATCH": tus.append,
                    "DELETE": tus.cancel,
                    "POST": tus.override,
                    "OPTIONS": tus.options,
                },
            ),
            Route("/v2/info/import", {"GET": self.info.imports}),
            Route("/v2/info/stores", {"GET": self.info.list_stores}),
        ]

    def file(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Image data: Upload binary image data. It is then registered."""
        if is_resumable(request):
            return self.resource.create(request, image_id, staged=False)
        self.access.prepare(identity(request), image_id, FILE)
        return self.upload.stage(request, image_id)

    def post(self, request: Request, image_id: str) -> webob.Response:
        """The beginning of a resumable upload by POST."""
        return self.resource.post(request, image_id)

    def stage(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Interoperable image import: Stage binary image data."""
        if is_resumable(request):
            return self.resource.create(request, image_id, staged=True)
        self.access.prepare(identity(request), image_id, STAGE)
        return self.upload.stage(request, image_id)

    def start_import(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Interoperable image import: Import an image. It is then registered."""
        who, method = identity(request), json_object(request).get("method")
        name = method.get("name") if isinstance(method, dict) else None
        if name != GLANCE_DIRECT:
            raise errors.BadRequest(problem=f"Import method {name!r} is not enabled here")
        image = self.access.image(who, image_id, "modify_image")
        self.registrations.start(image, user_id=who.user_id, request_id=request.request_id)
        return webob.Response(status=202)

    def create(self, request: Request) -> webob.Response:
        """tus, extension creation. The image must exist in IMS."""
        if not tus_headers.parse_metadata(request.headers.get("Upload-Metadata")).get("image_id"):
            problem = "image_id is required: create the image first"
            raise errors.BadHeader(header="Upload-Metadata", problem=problem)
        return self.tus.create(request)


def image_of(request: Request, registry: Registry) -> str | None:
    """The id of the image that a request for these calls is about."""
    if match := _OF_IMAGE.fullmatch(request.route):
        return match[1]
    try:
        if match := _OF_UPLOAD.fullmatch(request.route):
            return registry.get_upload(match[1].lower()).image_id
        metadata = tus_headers.parse_metadata(request.headers.get("Upload-Metadata"))
    except (errors.NotFound, errors.BadHeader):
        return None
    return metadata.get("image_id")
