"""The rules of what each role may do, with their defaults: the names are Glance's.

The defaults use Keystone's default roles: a ``reader`` of a project sees its images, a ``member``
changes them, ``admin`` may do anything, and ``service`` is another service of the cloud.

A rule decides about a target: a mapping whose members are the values of ``%(name)s`` in its check.
"""

import copy
from typing import Any

from oslo_policy import policy as oslo_policy

ADMIN = "rule:context_is_admin"
SERVICE = "rule:service_api"
_MEMBER = "role:member and project_id:%(project_id)s"
_READER = "role:reader and project_id:%(project_id)s"
#: The image is shared with the project of the request.
_SHARED_WITH = "project_id:%(member_id)s"
_VISIBLE = (
    f"project_id:%(project_id)s or {_SHARED_WITH} or "
    "'community':%(visibility)s or 'public':%(visibility)s"
)
ADMIN_OR_MEMBER = f"{ADMIN} or ({_MEMBER})"
ADMIN_OR_READER = f"{ADMIN} or ({_READER})"

_IMAGE = "/v2/images/{image_id}"
#: The same image in Huawei's image service.
_IMS_IMAGE = "/v1/cloudimages/{image_id}"
#: The same image in the paths of newer SDKs.
_IMS_SAFE_IMAGE = "/v2.1/cloudimages/{image_id}"
_IMS_TAGS = "/v2/{project_id}/images/{image_id}/tags"
#: The calls of the image service that create an image.
IMS_CREATE = (
    "POST /v2/cloudimages/action",
    "POST /v2/cloudimages/quickimport/action",
    "POST /v1/cloudimages/dataimages/action",
    "POST /v2.1/cloudimages/action",
    "POST /v2.1/cloudimages/quickimport/action",
    "POST /v2.1/cloudimages/dataimages/action",
)


class _Rule(oslo_policy.DocumentedRuleDefault):
    """A rule that is cheap to register.

    oslo.policy registers a deep copy, because it replaces attributes of deprecated rules. It never
    changes a parsed check, and deep copies of the checks took most of the time of a start.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Rule":
        return copy.copy(self)


def _rule(name: str, check: str, description: str, *operations: str) -> Any:
    """A rule with project scope. An operation is a method and a path template of ``routes``."""
    pairs = [operation.split(" ", 1) for operation in operations]
    return _Rule(
        name,
        check,
        description,
        [{"method": method, "path": path} for method, path in pairs],
        scope_types=["project"],
    )


RULES = (
    oslo_policy.RuleDefault(
        "default", "", "For references from other rules; no operation uses it."
    ),
    oslo_policy.RuleDefault("context_is_admin", "role:admin", "Who is an administrator."),
    oslo_policy.RuleDefault(
        "service_api",
        "role:service or role:admin or service_roles:service",
        "Another service, identified by its own token or by a service token beside the user's.",
    ),
    _rule(
        "add_image",
        f"{ADMIN} or ({_MEMBER} and project_id:%(owner)s)",
        "Create an image.",
        "POST /v2/images",
        *IMS_CREATE,
    ),
    _rule(
        "get_image",
        f"{ADMIN} or (role:reader and ({_VISIBLE}))",
        "See an image. Without this permission the response is 404.",
        f"GET {_IMAGE}",
        f"GET {_IMAGE}/tasks",
        f"GET {_IMAGE}/upload",
        f"GET {_IMS_TAGS}",
    ),
    _rule(
        "get_images",
        ADMIN_OR_READER,
        "List images.",
        "GET /v2/images",
        "GET /v2/cloudimages",
        "GET /v2/{project_id}/images/tags",
        "GET /v1/cloudimages/tags",
        "POST /v2/{project_id}/images/resource_instances/action",
    ),
    _rule(
        "modify_image",
        ADMIN_OR_MEMBER,
        "Change the attributes, properties and tags of an image; stage and import its data.",
        f"PATCH {_IMAGE}",
        f"PUT {_IMAGE}/stage",
        f"POST {_IMAGE}/import",
        f"PUT {_IMAGE}/tags/{{tag}}",
        f"DELETE {_IMAGE}/tags/{{tag}}",
        "PATCH /v2/cloudimages/{image_id}",
        "PUT /v1/cloudimages/tags",
        f"POST {_IMS_TAGS}",
        f"POST {_IMS_TAGS}/action",
        f"DELETE {_IMS_TAGS}/{{key}}",
    ),
    _rule("delete_image", ADMIN_OR_MEMBER, "Delete an image.", f"DELETE {_IMAGE}"),
    _rule(
        "publicize_image",
        ADMIN,
        "Make an image public, so that everybody sees it.",
        "POST /v2/images",
        f"PATCH {_IMAGE}",
    ),
    _rule(
        "communitize_image",
        ADMIN_OR_MEMBER,
        "Make an image a community image, which everybody can see by its id.",
        "POST /v2/images",
        f"PATCH {_IMAGE}",
    ),
    _rule(
        "upload_image",
        ADMIN_OR_MEMBER,
        "Upload the data of an image.",
        f"PUT {_IMAGE}/file",
        f"PATCH {_IMAGE}/upload",
        f"DELETE {_IMAGE}/upload",
    ),
    _rule(
        "register_image",
        ADMIN_OR_MEMBER,
        "Import the data of an image from an object of a bucket.",
        f"PUT {_IMS_IMAGE}/upload",
        *IMS_CREATE,
    ),
    _rule(
        "export_image",
        ADMIN_OR_MEMBER,
        "Write the data of an image into a bucket.",
        f"POST {_IMS_IMAGE}/file",
        f"POST {_IMS_SAFE_IMAGE}/file",
    ),
    _rule(
        "get_job",
        ADMIN_OR_READER,
        "See the jobs of a project through the API of Huawei's image service.",
        "GET /v1/{project_id}/jobs/{job_id}",
        "GET /v1/cloudimages/job/{job_id}",
    ),
    _rule(
        "get_quota",
        ADMIN_OR_READER,
        "See how many images a project may have.",
        "GET /v1/cloudimages/quota",
    ),
    _rule(
        "copy_image",
        ADMIN,
        "Copy the data of an image to further stores.",
        f"POST {_IMAGE}/import",
    ),
    _rule(
        "tasks_api_access",
        ADMIN,
        "See the tasks of all images. Whoever sees an image also sees its tasks.",
        "GET /v2/tasks",
        "GET /v2/tasks/{task_id}",
    ),
    _rule(
        "download_image",
        f"{ADMIN} or (role:member and ({_VISIBLE}))",
        "Download the data of an image.",
        f"GET {_IMAGE}/file",
        f"POST {_IMS_IMAGE}/copy",
        f"POST {_IMS_SAFE_IMAGE}/copy",
    ),
    _rule(
        "download_from_store",
        f"{ADMIN} or (role:member and ({_VISIBLE}))",
        "Choose the stores from which the data of an image is read, with the query parameter "
        "prefer.",
        f"GET {_IMAGE}/file",
    ),
    _rule(
        "delete_image_location",
        ADMIN,
        "Delete one of several copies of the data of an image.",
        "DELETE /v2/stores/{store_id}/{image_id}",
    ),
    _rule(
        "add_image_location",
        f"{SERVICE} or ({_MEMBER} and project_id:%(owner)s)",
        "Make an existing object of a store the data of an image. In addition to this rule, the "
        "request must come from a service.",
        f"POST {_IMAGE}/locations",
    ),
    _rule(
        "fetch_image_location",
        SERVICE,
        "See the locations of the data of an image.",
        f"GET {_IMAGE}/locations",
    ),
    _rule(
        "deactivate",
        ADMIN_OR_MEMBER,
        "Deactivate an image, so that it cannot be downloaded.",
        f"POST {_IMAGE}/actions/deactivate",
    ),
    _rule(
        "reactivate",
        ADMIN_OR_MEMBER,
        "Reactivate an image, so that it can be downloaded again.",
        f"POST {_IMAGE}/actions/reactivate",
    ),
    _rule(
        "add_member",
        ADMIN_OR_MEMBER,
        "Share an image with a project.",
        f"POST {_IMAGE}/members",
        "POST /v1/cloudimages/members",
    ),
    _rule(
        "get_members",
        f"{ADMIN} or (role:reader and (project_id:%(project_id)s or {_SHARED_WITH}))",
        "List the projects with which an image is shared.",
        f"GET {_IMAGE}/members",
        "GET /v1/{project_id}/cloudimages/{image_id}/members",
    ),
    _rule(
        "get_member",
        f"{ADMIN} or (role:reader and (project_id:%(project_id)s or {_SHARED_WITH}))",
        "See one project with which an image is shared.",
        f"GET {_IMAGE}/members/{{member_id}}",
        "GET /v1/{project_id}/cloudimages/{image_id}/members/{member_id}",
    ),
    _rule(
        "modify_member",
        f"{ADMIN} or (role:member and {_SHARED_WITH})",
        "Accept or reject an image that is shared with the project of the request.",
        f"PUT {_IMAGE}/members/{{member_id}}",
        "PUT /v1/cloudimages/members",
    ),
    _rule(
        "delete_member",
        ADMIN_OR_MEMBER,
        "Stop sharing an image with a project.",
        f"DELETE {_IMAGE}/members/{{member_id}}",
        "DELETE /v1/cloudimages/members",
    ),
    _rule(
        "stores_info_detail",
        f"{ADMIN} or {SERVICE}",
        "See the configuration and the state of the stores.",
        "GET /v2/info/stores/detail",
    ),
    _rule(
        "get_metrics",
        f"{ADMIN} or {SERVICE}",
        "See what this host has counted, for Prometheus.",
        "GET /metrics",
    ),
)
