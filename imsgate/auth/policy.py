"""What each role may do: decided by oslo.policy, from the rules in ``policy_rules``.

Operators can override each rule in ``policy.yaml``; a file written for Glance works unchanged.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg
from oslo_policy import policy as oslo_policy

from imsgate import config, metrics
from imsgate.auth.policy_cache import DecisionCache
from imsgate.auth.policy_rules import RULES
from imsgate.errors import BadConfig
from imsgate.model import Identity

LOG = logging.getLogger(__name__)

GROUP = "oslo_policy"
#: oslo.policy's default; only this file may be missing.
DEFAULT_FILE = "policy.yaml"


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
        if not self.defines(rule):
            raise KeyError(rule)
        return self._decisions.judge(rule, who)

    def defines(self, rule: str) -> bool:
        """Whether there is such a rule, by default or in the policy file."""
        return rule in self._enforcer.rules

    def _enforce(self, rule: str, who: Identity, target: Mapping[str, Any]) -> bool:
        creds, target = credentials(who), dict(target)
        try:
            with metrics.POLICY_SECONDS.time():
                allowed = bool(self._enforcer.enforce(rule, target, creds))
        except _INVALID_FILE as error:
            # The file has become invalid. The previous rules remain in force, as oslo.policy
            # does in every service.
            LOG.error("The policy file is invalid; the previous rules remain in force: %s", error)
            allowed = bool(self._enforcer.enforce(rule, target, creds))
        # In place of a rule that a changed file no longer has, oslo.policy asks ``default``.
        return allowed and self.defines(rule)

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
