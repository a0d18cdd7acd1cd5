"""What each role may do: Glance's rules by Glance's names, in oslo.policy.

The defaults use Keystone's default roles: a ``reader`` of a project sees its images, a ``member``
changes them, ``admin`` may do anything, and ``service`` is another service of the cloud. Operators
can override each rule in ``policy.yaml``; a file written for Glance works unchanged.

A rule decides about a target: a mapping whose members are the values of ``%(name)s`` in its check.
"""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg
from oslo_policy import policy as oslo_policy

from imsgate import config
from imsgate.auth.policy_cache import DecisionCache
from imsgate.errors import BadConfig
from imsgate.model import Identity

LOG = logging.getLogger(__name__)

GROUP = "oslo_policy"
#: oslo.policy's default; only this file may be missing.
DEFAULT_FILE = "policy.yaml"

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
_IMS_TAGS = "/v2/{project_id}/images/{image_id}/tags"
_CREATE = (
    "POST /v2/cloudimages/action",
    "POST /v2/cloudimages/quickimport/action",
    "POST /v1/cloudimages/dataimages/action",
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
        *_CREATE,
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
        *_CREATE,
    ),
    _rule(
        "export_image",
        ADMIN_OR_MEMBER,
        "Write the data of an image into a bucket.",
        f"POST {_IMS_IMAGE}/file",
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
)


def list_rules() -> tuple[Any, ...]:
    """All rules with their defaults, for ``oslopolicy-sample-generator``."""
    return RULES


def enforcer(conf: cfg.ConfigOpts | None = None) -> oslo_policy.Enforcer:
    """The rules with the operator's overrides.

    Without ``conf``, as when oslo.policy's tools call it, imsgate's default files are read.
    """
    with_defaults = oslo_policy.Enforcer(conf or config.load({}).native)
    with_defaults.register_defaults(RULES)
    return with_defaults


#: What oslo.policy raises for a file that is not a mapping of names to checks.
_INVALID_FILE = (ValueError, AttributeError, TypeError, OSError)


class Policy:
    """Decides by the rules of this process. A change of the file takes effect within a second."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Raises BadConfig if the policy file is missing or invalid."""
        self._enforcer = enforcer(conf)
        try:
            self._enforcer.load_rules()
            self._enforcer.check_rules(raise_on_violation=True)
        except (oslo_policy.InvalidDefinitionError, *_INVALID_FILE) as error:
            raise BadConfig(f"[{GROUP}] policy_file", str(error)) from error
        file = conf[GROUP].policy_file
        if self._enforcer.policy_path is None and file != DEFAULT_FILE:
            raise BadConfig(f"[{GROUP}] policy_file", f"{file} does not exist")
        self._decisions = DecisionCache(lambda: self._enforcer.rules, self._enforce)

    def allows(self, rule: str, who: Identity, target: Mapping[str, Any]) -> bool:
        """Whether ``rule`` allows ``who`` its operations on ``target``.

        A token with another scope than the rule's (of the system, of a domain) is refused. Raises
        KeyError for a rule that does not exist.
        """
        return self.judge(rule, who)(target)

    def judge(self, rule: str, who: Identity) -> Callable[[Mapping[str, Any]], bool]:
        """``allows`` as a function of the target, for the many targets of a list."""
        if rule not in self._enforcer.registered_rules:
            raise KeyError(rule)
        return self._decisions.judge(rule, who)

    def _enforce(self, rule: str, who: Identity, target: Mapping[str, Any]) -> bool:
        creds, target = credentials(who), dict(target)
        try:
            return bool(self._enforcer.enforce(rule, target, creds))
        except _INVALID_FILE as error:
            # The file has become invalid. The previous rules remain in force, as oslo.policy
            # does in every service.
            LOG.error("The policy file is invalid; the previous rules remain in force: %s", error)
            return bool(self._enforcer.enforce(rule, target, creds))

    def is_admin(self, who: Identity) -> bool:
        """Whether ``who`` sees the images of all projects."""
        return self.allows("context_is_admin", who, {})


def credentials(who: Identity) -> dict[str, Any]:
    """The values of the left side of checks. Without a value the name is missing, so that it
    equals nothing."""
    attributes = {
        "user_id": who.user_id,
        "project_id": who.project_id,
        "domain_id": who.domain_id,
        "user_domain_id": who.user_domain_id,
        "project_domain_id": who.project_domain_id,
        "system_scope": who.system_scope,
    }
    return {
        **{name: value for name, value in attributes.items() if value is not None},
        "roles": sorted(who.roles),
        "service_roles": sorted(who.service_roles),
        "is_admin_project": who.is_admin_project,
    }
