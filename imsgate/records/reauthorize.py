"""The user who requested a job is authorized again before the job's result counts.

An upload does the same at its end (``Request.identify``).
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

from oslo_config import cfg

from imsgate.jobs.arguments import SealedCredential
from imsgate.model import Job
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
        if credential is None:
            return
        who = self._credentials.identify(credential.sealed)
        who = dataclasses.replace(who, service_roles=credential.service_roles)
        self.access.image(who, str(job.image_id), credential.rule)

    @functools.cached_property
    def _credentials(self) -> "SealedCredentials":
        # Only a gateway that uses Keystone has sealed credentials and needs its packages.
        from imsgate.auth.keystone import SealedCredentials  # noqa: PLC0415

        return SealedCredentials(self.native)
