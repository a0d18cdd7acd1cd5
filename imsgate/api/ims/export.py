"""Exports into users' buckets: ``/v1/cloudimages/{id}/file``."""

import dataclasses

import webob

from imsgate import errors
from imsgate.api.deployment import Deployment
from imsgate.api.description import TEXT, described, json_content, record
from imsgate.api.ims import bucket_urls, ids, jobs
from imsgate.api.ims.jobs import ACCEPTED
from imsgate.api.job_starter import JobStarter
from imsgate.api.requester import identity
from imsgate.http.json_body import flag, json_object
from imsgate.http.request import Request
from imsgate.jobs import export
from imsgate.jobs.arguments import for_export
from imsgate.model import Status
from imsgate.records.access import Access

_BODY = record(
    {"bucket_url": TEXT, "file_format": TEXT, "is_quick_export": {"type": "boolean"}},
    *("file_format", "is_quick_export"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageExport:
    """The handler that starts exports."""

    access: Access
    jobs: JobStarter
    deployment: Deployment

    @described(answers=ACCEPTED, body=json_content(_BODY))
    def export(self, request: Request, image_id: str) -> webob.Response:
        """IMS API, Image: Exporting an Image. Images are not converted."""
        who = identity(request)
        image = self.access.image(who, ids.checked(image_id), "export_image")
        body = json_object(request)
        url = bucket_urls.parse(self.deployment, who, body.get("bucket_url"))
        image.require(Status.ACTIVE)
        quick = flag(body, "is_quick_export")
        wanted = "zvhd2" if quick else body.get("file_format")
        if wanted != image.disk_format:
            raise errors.ExportFormat(found=image.disk_format, wanted=wanted)
        return self.jobs.start_export(
            request,
            image,
            export.KIND,
            for_export(url=url),
            rule="export_image",
            answer=jobs.accepted,
        )
