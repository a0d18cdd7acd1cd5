"""Unified limits: the limits of projects in Keystone, read through oslo.limit.

``[oslo_limit]`` is the same as in every OpenStack service. The library uses oslo.config's global
CONF, so this module loads the configuration files into it. Nothing else in imsgate uses it.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException
from oslo_config import cfg
from oslo_limit import exception, limit

from imsgate import metrics
from imsgate.config import PROJECT
from imsgate.errors import BadConfig, Unavailable
from imsgate.telemetry import trace_context
from imsgate.telemetry.dependencies import Dependency

LIMITS = Dependency("Reading limits from Keystone", logging.getLogger(__name__))

GROUP = "oslo_limit"

#: How long the limits of a project are cached.
_TTL_SECONDS = 10.0
#: The default of [oslo_limit] timeout. The library's default is no timeout.
_TIMEOUT_SECONDS = 30


class UnifiedLimits:
    """The limits of a project by their names. A limit without entry in Keystone is zero."""

    def __init__(self, conf: cfg.ConfigOpts, names: Sequence[str]) -> None:
        """Raises BadConfig. Does not connect to Keystone."""
        limit.CONF(
            args=[],
            project=PROJECT,
            default_config_files=conf.config_file,
            default_config_dirs=conf.config_dir,
        )
        limit.CONF.set_default("timeout", _TIMEOUT_SECONDS, group=GROUP)
        _check(limit.CONF[GROUP])
        self._names = names
        self._expires = 0.0
        self._enforcer: limit.Enforcer | None = None
        self._limits: dict[str, Mapping[str, int]] = {}

    def __call__(self, project: str) -> Mapping[str, int]:
        """Raises Unavailable if Keystone does not respond."""
        now = time.monotonic()
        if now >= self._expires:
            self._limits, self._enforcer, self._expires = {}, None, now + _TTL_SECONDS
        limits = self._limits
        if project not in limits:
            limits[project] = self._fetch(project)
        return limits[project]

    def _fetch(self, project: str) -> Mapping[str, int]:
        with metrics.KEYSTONE_SECONDS.time("limits"):
            return self._fetched(project)

    def _fetched(self, project: str) -> Mapping[str, int]:
        try:
            enforcer = self._enforcer = self._enforcer or limit.Enforcer(_usage)
            # keystoneauth only reads them.
            headers: Any = trace_context.CurrentHeaders()
            enforcer.connection.session.additional_headers = headers
            limits = dict(enforcer.get_project_limits(project, list(self._names)))
        except (exception.SessionInitError, ClientException, SDKException, ValueError) as error:
            LIMITS.failed(error)
            raise Unavailable(what="Keystone") from error
        LIMITS.works()
        return limits


def _usage(project: Any, names: Any) -> dict[str, int]:
    """The library would call this to enforce a limit. Here the registry enforces limits, in the
    transaction that changes the usage."""
    raise NotImplementedError


def _check(section: Any) -> None:
    if not section.auth_type:
        raise BadConfig(f"[{GROUP}] auth_type", "it is required to connect to Keystone")
    service = ("endpoint_id", "endpoint_service_type", "endpoint_service_name")
    if not any(getattr(section, name, None) for name in service):
        raise BadConfig(f"[{GROUP}] endpoint_id", f"one of {', '.join(service)} must be set")
