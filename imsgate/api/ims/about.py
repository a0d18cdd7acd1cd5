"""What a project may use: its image quota and the supported operating systems."""

import dataclasses

import webob

from imsgate.api.description import NUMBER, TEXT, described, json_content, listed, record
from imsgate.api.ims import attributes, systems
from imsgate.api.requester import identity
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.records.access import Access
from imsgate.records.records import Records

#: The range of the image quota, as the service reports it.
_MIN_QUOTA, _MAX_QUOTA = 1, 1000


_QUOTA = record(
    {"type": TEXT, "used": NUMBER, "quota": {"type": "integer"}, "min": NUMBER, "max": NUMBER}
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The handlers."""

    access: Access
    records: Records

    @described(
        answers={200: json_content(record({"quotas": record({"resources": listed(_QUOTA)})}))}
    )
    def quota(self, request: Request) -> webob.Response:
        """IMS API, Image Quota: Querying the Image Quota."""
        who = identity(request)
        self.access.check(who, "get_quota", {"project_id": who.project_id}, "quotas")
        images = self.records.usage(who.project_id or "")["image_count_total"]
        image = {
            "type": "image",
            "used": min(images["usage"], attributes.MAX_INT),
            "quota": min(images["limit"], attributes.MAX_INT),
            "min": _MIN_QUOTA,
            "max": _MAX_QUOTA,
        }
        return responses.json_response({"quotas": {"resources": [image]}})

    @described(answers={200: json_content(systems.SCHEMA)}, query={"tag": TEXT})
    def os_versions(self, request: Request) -> webob.Response:
        """IMS API, Image: Querying Supported Image OSs.

        With ``tag=uefi``, only those that can boot with UEFI: the 64-bit ones.
        """
        platforms = systems.offered()
        if request.GET.get("tag") == "uefi":
            for platform in platforms:
                versions = platform["version_list"]
                platform["version_list"] = [entry for entry in versions if entry["os_bit"] == 64]
        return responses.json_response(platforms)
