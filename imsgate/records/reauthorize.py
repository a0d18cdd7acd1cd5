"""The user who requested a job is authorized again before the job's result counts.

An upload does the same at its end (``Request.identify``).
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

from oslo_config import cfg

from imsgate.errors import BadConfig, Unauthenticated
from imsgate.jobs.arguments import SealedCredential
from imsgate.model import Identity, Job
from imsgate.records.access import Access

if TYPE_CHECKING:
    from imsgate.auth.keystone import SealedCredentials


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reauthorizer:
    """Applies the current policy to the current identity of the user who requested a job.

    ``native`` is the configuration from which keystonemiddleware reads its options.
    """

    access: Access
    native: cfg.ConfigOpts

    def __call__(self, job: Job) -> None:
        """Raise the error with which the request would be refused now, or Unavailable.

        Does nothing for a job without a sealed credential: its user cannot be authorized again.
        """
        credential = SealedCredential.of(job)
        if credential is not None:
            self.access.image(self._identify(credential), str(job.image_id), credential.rule)

    def user(self, job: Job) -> Identity:
        """The user of a job as Keystone reports it now. Raises Unauthenticated, also for a job
        without a sealed credential, and Unavailable."""
        return self._identify(_credential(job))

    def token(self, job: Job) -> str:
        """The token of the user of a job. Raises Unauthenticated."""
        return self._credentials.token(_credential(job).sealed)

    def _identify(self, credential: SealedCredential) -> Identity:
        who = self._credentials.identify(credential.sealed)
        return dataclasses.replace(who, service_roles=credential.service_roles)

    @functools.cached_property
    def _credentials(self) -> "SealedCredentials":
        return _sealed_credentials(self.native)


def check_tokens(native: cfg.ConfigOpts) -> None:
    """Raises BadConfig if jobs cannot have the tokens of their users."""
    try:
        _sealed_credentials(native).check_secret()
    except ImportError as error:
        raise BadConfig("[keystone_authtoken]", f"{error}; install imsgate[keystone]") from error


def _sealed_credentials(native: cfg.ConfigOpts) -> "SealedCredentials":
    # Only a gateway that uses Keystone has sealed credentials and needs its packages.
    from imsgate.auth.keystone import SealedCredentials  # noqa: PLC0415

    return SealedCredentials(native)


def _credential(job: Job) -> SealedCredential:
    credential = SealedCredential.of(job)
    if credential is None:
        raise Unauthenticated
    return credential
