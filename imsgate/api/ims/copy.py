"""Copies of images within the region: ``/v1/cloudimages/{id}/copy``."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api.deployment import Deployment
from imsgate.api.description import described, json_content, record
from imsgate.api.ims import attributes, ids, jobs
from imsgate.api.ims.jobs import ACCEPTED
from imsgate.api.job_starter import JobStarter
from imsgate.api.requester import identity
from imsgate.http.json_body import json_object, without_unused
from imsgate.http.request import Request
from imsgate.jobs.arguments import for_copy
from imsgate.jobs.methods import COPY, METHODS
from imsgate.model import Image, Status, Visibility
from imsgate.records.attributes import RESERVED_PREFIX
from imsgate.records.records import Records
from imsgate.signatures.encryption_keys import DELETION_POLICY

_OPTIONAL = ("description", "enterprise_project_id", "cmk_id")
_BODY = record(
    {
        "name": attributes.NAME_SCHEMA,
        "description": attributes.DESCRIPTION_SCHEMA,
        "enterprise_project_id": attributes.PROJECT_SCHEMA,
    },
    *_OPTIONAL,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageCopy:
    """The handler that starts copies."""

    records: Records
    jobs: JobStarter
    deployment: Deployment

    @described(answers=ACCEPTED, body=json_content(_BODY))
    def copy(self, request: Request, image_id: str) -> webob.Response:
        """IMS API, Image Replication: Replicating an Image Within a Region.

        The copy is a new image of the caller's project. It is deleted if its job fails.
        """
        who = identity(request)
        source = self.records.get(who, ids.checked(image_id), "download_image")
        body = without_unused(json_object(request), _OPTIONAL)
        if "cmk_id" in body:
            raise errors.NotOffered(problem="encryption with a key of the client")
        attributes.check_name(body.get("name"))
        if "description" in body:
            attributes.check_description(body["description"])
        source.require(Status.ACTIVE)
        self.deployment.stores.check_target(None)  # not left to the job
        location = self.deployment.stores.preferred(source.copies)[0]
        method = METHODS[COPY]
        shown = self.records.protections.shown_to(who)(source)
        return self.jobs.start_creation(
            request,
            method.started(self.records.new(who, _fields(shown, body))),
            method.kind,
            for_copy(
                method=method.name,
                origin=location,
                store_id=self.deployment.stores.default,
                properties={attributes.ORIGIN: f"image,{source.shown_id}"},
                name=body["name"],
            ),
            rule=method.rule,
            answer=jobs.accepted,
        )


def _fields(source: Image, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the copy. Tags and members are not copied.

    The copy of an encrypted volume has the same key, which must outlive it.
    """
    properties = {
        name: text
        for name, text in source.properties.items()
        if not name.startswith(RESERVED_PREFIX)
        and name not in ("__description", attributes.ORIGIN, DELETION_POLICY)
    }
    return {
        **properties,
        "name": body["name"],
        "visibility": Visibility.SHARED,
        "disk_format": source.disk_format,
        "container_format": source.container_format,
        "min_disk": source.min_disk,
        "min_ram": source.min_ram,
        "enterprise_project_id": attributes.enterprise_project(
            body.get("enterprise_project_id", "0")
        ),
        **({"__description": body["description"]} if "description" in body else {}),
    }
