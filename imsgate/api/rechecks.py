"""Who asked for a job is asked again before what it brought counts, as at the end of an upload."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from oslo_config import cfg

from imsgate.api.access import Access
from imsgate.http.request import Request
from imsgate.jobs.context import WARRANT
from imsgate.model import Job

if TYPE_CHECKING:
    from imsgate.auth.keystone import SealedCredentials


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
        who = self._credentials.identify(kept["sealed"])
        who = dataclasses.replace(who, service_roles=frozenset(kept["service_roles"]))
        self._access.permitted(who, str(job.image_id), kept["rule"])

    @functools.cached_property
    def _credentials(self) -> "SealedCredentials":
        # Only a gateway that uses Keystone has sealed credentials and needs its packages.
        from imsgate.auth.keystone import SealedCredentials  # noqa: PLC0415

        return SealedCredentials(self._native)
