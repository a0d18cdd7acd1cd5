"""Who asked for a job is asked again before what it brought counts, as at the end of an upload."""

import dataclasses
import functools
import importlib
from typing import Any

from oslo_config import cfg

from imsgate.api.access import Access
from imsgate.filters.identity import established
from imsgate.http.request import Request
from imsgate.jobs.context import WARRANT
from imsgate.model import Job


def argument(request: Request, rule: str) -> dict[str, Any]:
    """What a job keeps of its asker until it ends; nothing where nobody can be asked again.

    A service beside the user has vouched already; its roles stay those of the beginning.
    """
    sealed = request.sealed_credential()
    if sealed is None:
        return {}
    roles = sorted(request.identity.service_roles) if request.identity else []
    return {WARRANT: {"sealed": sealed, "rule": rule, "service_roles": roles}}


class Reauthorizer:
    """Decides by the policy of now, for the identity of now."""

    def __init__(self, access: Access, native: cfg.ConfigOpts) -> None:
        self._access = access
        self._native = native

    def __call__(self, job: Job) -> None:
        """Raises what the request would be refused with now, and Unavailable."""
        kept = job.arguments.get(WARRANT)
        if kept is None:
            return
        who = established(self._warrants.vouch(kept["sealed"]))
        who = dataclasses.replace(who, service_roles=frozenset(kept["service_roles"]))
        self._access.permitted(who, str(job.image_id), kept["rule"])

    @functools.cached_property
    def _warrants(self) -> Any:
        # Only a gateway behind Keystone has sealed anything; others need not have its packages.
        authtoken: Any = importlib.import_module("imsgate.filters.authtoken")
        return authtoken.SealedCredentials(self._native)
