"""Images from users' buckets: the calls that register and create them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api.deployment import Deployment
from imsgate.api.description import TEXT, described, json_content, record
from imsgate.api.dialect import Dialect
from imsgate.api.ims import attributes, bucket_urls, creation, ids, jobs
from imsgate.api.ims.jobs import ACCEPTED
from imsgate.api.job_starter import JobStarter
from imsgate.api.requester import identity
from imsgate.buckets.image_url import ImageUrl
from imsgate.http.json_body import flag, json_object
from imsgate.http.request import Request
from imsgate.jobs.arguments import for_bucket_import
from imsgate.jobs.methods import CREATE, METHODS, REGISTER, ImportMethod
from imsgate.model import Status
from imsgate.records.records import Records

_RULE = METHODS[REGISTER].rule


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The handlers that start imports from buckets."""

    records: Records
    dialect: Dialect
    jobs: JobStarter
    deployment: Deployment

    @described(answers=ACCEPTED, body=json_content(record({"image_url": TEXT})))
    def register(self, request: Request, image_id: str) -> webob.Response:
        """IMS API, Image: Registering an Image (``PUT /v1/cloudimages/{image_id}/upload``)."""
        who = identity(request)
        image = self.records.get(who, ids.checked(image_id), _RULE)
        url = bucket_urls.parse(self.deployment, who, json_object(request).get("image_url"))
        if image.status != Status.QUEUED or image.upload_key is not None:
            needed = Status.QUEUED
            raise errors.WrongStatus(image_id=image.shown_id, status=image.status, needed=needed)
        method = METHODS[REGISTER]
        return self.jobs.start_import(
            request,
            image,
            method.kind,
            self._arguments(method, url),
            rule=method.rule,
            answer=jobs.accepted,
            was={"upload_key": None},
            status=method.during,
            upload_reserved=method.reservation(image, 1),
        )

    @described(answers=ACCEPTED, body=json_content(creation.SCHEMA))
    def create(self, request: Request) -> webob.Response:
        """IMS API, Image: Creating an Image (``POST /v2/cloudimages/action``)."""
        body = json_object(request)
        quick = flag(body, "is_quick_import")
        return self._create(request, body, quick=quick, job_type="imsImportImageJob")

    @described(answers=ACCEPTED, body=json_content(creation.SCHEMA))
    def quick_import(self, request: Request) -> webob.Response:
        """IMS API, Image: Importing an Image File Quickly
        (``POST /v2/cloudimages/quickimport/action``)."""
        body = json_object(request)
        is_data = body.get("type") == attributes.DATA
        job_type = "imsImportDataImageJob" if is_data else "imsImportImageJob"
        return self._create(request, body, quick=True, job_type=job_type)

    @described(answers=ACCEPTED, body=json_content(creation.SCHEMA))
    def create_data(self, request: Request) -> webob.Response:
        """IMS API, Image: Creating a Data Disk Image Using an External Image File
        (``POST /v1/cloudimages/dataimages/action``)."""
        body = {**json_object(request), "type": attributes.DATA}
        return self._create(request, body, quick=False, job_type="imsImportDataImageJob")

    def _create(
        self, request: Request, body: Mapping[str, Any], *, quick: bool, job_type: str
    ) -> webob.Response:
        who = identity(request)
        project = {"project_id": who.project_id, "owner": who.project_id}
        for rule in (_RULE, "add_image"):
            self.records.access.check(who, rule, project, "new image")
        creation.check_offered(body)
        url = bucket_urls.parse(self.deployment, who, body.get("image_url"))
        fields = self.dialect.complete(creation.fields(body, quick=quick))
        image = self.records.new(who, fields)
        method = METHODS[CREATE]
        return self.jobs.start_creation(
            request,
            method.started(image),
            method.kind,
            self._arguments(method, url, name=image.name, job_type=job_type, quick=quick),
            rule=method.rule,
            answer=jobs.accepted,
        )

    def _arguments(self, method: ImportMethod, url: ImageUrl, **shown: Any) -> dict[str, Any]:
        self.deployment.stores.check_target(None)  # not left to the job
        return for_bucket_import(
            method=method.name,
            url=url,
            store_id=self.deployment.stores.default,
            properties={attributes.ORIGIN: f"file,{url.bucket}:{url.key}"},
            **shown,
        )
