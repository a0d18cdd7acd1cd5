"""What a project may use and is offered: quotas and operating systems."""

import dataclasses

import webob

from imsgate import wsgi
from imsgate.api.access import Access, identity
from imsgate.api.ims import systems
from imsgate.registry.base import Condition, Op, Query, Registry
from imsgate.wsgi import Request

#: What the service says of the numbers that can be asked for.
_SMALLEST, _LARGEST = 1, 1000
_PAGE = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class About:
    """The handlers."""

    access: Access
    registry: Registry

    def quota(self, request: Request) -> webob.Response:
        who = identity(request)
        self.access.enforce("get_quota", who, {"project_id": who.project_id}, "quotas")
        image = {
            "type": "image",
            "used": self._used(who.project_id),
            "quota": -1,
            "min": _SMALLEST,
            "max": _LARGEST,
        }
        return wsgi.json_response({"quotas": {"resources": [image]}})

    def _used(self, project: str | None) -> int:
        count = 0
        query = Query(viewer=project, conditions=[Condition("owner", Op.EQ, project)], limit=_PAGE)
        while page := self.registry.list(query):
            count += len(page)
            query = dataclasses.replace(query, marker=page[-1])
        return count

    def os_versions(self, request: Request) -> webob.Response:
        """With ``tag=uefi`` those that such an image can have: of 64 bits."""
        platforms = systems.offered()
        if request.GET.get("tag") == "uefi":
            for platform in platforms:
                versions = platform["version_list"]
                platform["version_list"] = [one for one in versions if one["os_bit"] == 64]
        return wsgi.json_response(platforms)
