"""What a project may use and is offered: quotas and operating systems."""

import dataclasses

import webob

from imsgate.api.access import Access, identity
from imsgate.api.ims import systems
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.quotas.quota import Quotas
from imsgate.registry.base import Registry

#: What the service says of the numbers that can be asked for.
_SMALLEST, _LARGEST = 1, 1000


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """The handlers."""

    access: Access
    registry: Registry
    quotas: Quotas

    def quota(self, request: Request) -> webob.Response:
        who = identity(request)
        self.access.enforce("get_quota", who, {"project_id": who.project_id}, "quotas")
        project = who.project_id or ""
        images = self.quotas.report(project, self.registry.usage(project))["image_count_total"]
        image = {
            "type": "image",
            "used": images["usage"],
            "quota": images["limit"],
            "min": _SMALLEST,
            "max": _LARGEST,
        }
        return responses.json_response({"quotas": {"resources": [image]}})

    def os_versions(self, request: Request) -> webob.Response:
        """With ``tag=uefi`` those that such an image can have: of 64 bits."""
        platforms = systems.offered()
        if request.GET.get("tag") == "uefi":
            for platform in platforms:
                versions = platform["version_list"]
                platform["version_list"] = [one for one in versions if one["os_bit"] == 64]
        return responses.json_response(platforms)
