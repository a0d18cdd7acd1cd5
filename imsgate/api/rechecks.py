"""Who asked for a job is asked again before what it brought counts, as at the end of an upload."""

import dataclasses
import functools
import importlib
from typing import Any

from oslo_config import cfg

from imsgate.api.access import Access
from imsgate.filters.identity import established
from imsgate.http.request import Request
from imsgate.jobs.arguments import SealedCredential
from imsgate.model import Job


def credential(request: Request, rule: str) -> SealedCredential | None:
    """What a job keeps of its asker until it ends; None where nobody can be asked again.

    A service beside the user has vouched already; its roles stay those of the beginning.
    """
    sealed = request.sealed_credential()
    if sealed is None:
        return None
    roles: frozenset[str] = request.identity.service_roles if request.identity else frozenset()
    return SealedCredential(sealed=sealed, rule=rule, service_roles=roles)


class Reauthorizer:
    """Decides by the policy of now, for the identity of now."""

    def __init__(self, access: Access, native: cfg.ConfigOpts) -> None:
        self._access = access
        self._native = native

    def __call__(self, job: Job) -> None:
        """Raises what the request would be refused with now, and Unavailable."""
        credential = SealedCredential.of(job)
        if credential is None:
            return
        who = established(self._warrants.vouch(credential.sealed))
        who = dataclasses.replace(who, service_roles=credential.service_roles)
        self._access.permitted(who, str(job.image_id), credential.rule)

    @functools.cached_property
    def _warrants(self) -> Any:
        # Only a gateway behind Keystone has sealed anything; others need not have its packages.
        authtoken: Any = importlib.import_module("imsgate.filters.authtoken")
        return authtoken.SealedCredentials(self._native)
