"""Limits from Keystone: unified limits, asked through oslo.limit.

``[oslo_limit]`` is as in every OpenStack service. The library knows only oslo.config's
global CONF, which is given the files of this process; nothing else here uses it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException
from oslo_config import cfg
from oslo_limit import exception, limit
from oslo_log import log

from imsgate.config import PROJECT
from imsgate.errors import BadConfig, Unavailable

LOG = log.getLogger(__name__)

GROUP = "oslo_limit"

#: Seconds for which an answer of Keystone counts.
_FRESH = 10.0
#: Seconds that Keystone has to answer, unless [oslo_limit] timeout says otherwise.
_TIMEOUT = 30


class UnifiedLimits:
    """The limits of a project by their names; what Keystone does not know of is zero."""

    def __init__(self, conf: cfg.ConfigOpts, names: Sequence[str]) -> None:
        """Raises BadConfig. Keystone is not asked yet."""
        limit.CONF(
            args=[],
            project=PROJECT,
            default_config_files=conf.config_file,
            default_config_dirs=conf.config_dir,
        )
        limit.CONF.set_default("timeout", _TIMEOUT, group=GROUP)
        _check(limit.CONF[GROUP])
        self._names = names
        self._until = 0.0
        self._enforcer: limit.Enforcer | None = None
        self._known: dict[str, Mapping[str, int]] = {}

    def __call__(self, project: str) -> Mapping[str, int]:
        """Raises Unavailable."""
        now = time.monotonic()
        if now >= self._until:
            self._known, self._enforcer, self._until = {}, None, now + _FRESH
        known = self._known
        if project not in known:
            known[project] = self._ask(project)
        return known[project]

    def _ask(self, project: str) -> Mapping[str, int]:
        try:
            enforcer = self._enforcer = self._enforcer or limit.Enforcer(_usage)
            return dict(enforcer.get_project_limits(project, list(self._names)))
        except (exception.SessionInitError, ClientException, SDKException, ValueError) as error:
            LOG.error("Keystone's limits cannot be asked: %s", error)
            raise Unavailable(what="Keystone") from error


def _usage(project: Any, names: Any) -> dict[str, int]:
    """The library judges by this; here the registry does, in the transaction that counts."""
    raise NotImplementedError


def _check(section: Any) -> None:
    if not section.auth_type:
        raise BadConfig(f"[{GROUP}] auth_type", "without it Keystone cannot be asked")
    service = ("endpoint_id", "endpoint_service_type", "endpoint_service_name")
    if not any(getattr(section, name, None) for name in service):
        raise BadConfig(f"[{GROUP}] endpoint_id", f"one of {', '.join(service)} must be set")
