"""What differs between the clouds that run Huawei's image service, chosen by one option."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from oslo_config import cfg

GROUP = "ims"


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """One cloud's choices.

    ``upload_limit`` is the largest image, in bytes, that one request may bring; None: no
    limit of the cloud's own. The clouds say "2 GB" and "128 GB" and not which they mean: here
    a GB is 2**30 bytes, and exactly so many are taken.
    """

    name: str
    upload_limit: int | None = None


NONE = Profile("none")
PROFILES = {
    profile.name: profile
    for profile in (
        NONE,
        Profile("huawei", upload_limit=2 << 30),
        Profile("otc", upload_limit=128 << 30),
    )
}

OPTS = (
    cfg.StrOpt(
        "profile",
        default=NONE.name,
        choices=list(PROFILES),
        help="The cloud whose limits and defaults apply: huawei (Huawei Cloud), otc (Open Telekom "
        "Cloud) or none.",
    ),
)


def chosen(section: Callable[[str, Sequence[cfg.Opt]], Any]) -> Profile:
    """The profile that ``[ims] profile`` names; ``section`` gives the values of a group's options.

    Raises BadConfig.
    """
    return PROFILES[section(GROUP, OPTS).profile]
