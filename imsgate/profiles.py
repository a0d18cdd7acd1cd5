"""What differs between the clouds that run Huawei's image service, chosen by one option."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from oslo_config import cfg

GROUP = "ims"


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """One cloud's choices.

    ``upload_limit`` is the largest image, in bytes, that one request may bring; None: no
    limit of the cloud's own. The clouds say "2 GB" and "128 GB" and not which they mean: here
    a GB is 2**30 bytes, and exactly so many are taken. ``import_limit`` is the same for images
    that come from a bucket. ``disk_format`` is that of an image for which none is declared, as
    it is shown until its data is in; ``min_disk`` the smallest that may be asked for, in GiB,
    by what kind of system is on it.
    """

    name: str
    upload_limit: int | None = None
    import_limit: int | None = None
    disk_format: str | None = None
    min_disk: Mapping[str, int] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


NONE = Profile("none")
PROFILES = {
    profile.name: profile
    for profile in (
        NONE,
        Profile(
            "huawei",
            upload_limit=2 << 30,
            import_limit=128 << 30,
            disk_format="zvhd2",
            min_disk=MappingProxyType({"Linux": 10, "Windows": 20}),
        ),
        Profile(
            "otc",
            upload_limit=128 << 30,
            import_limit=128 << 30,
            disk_format="zvhd2",
            min_disk=MappingProxyType({"Linux": 1, "Windows": 1}),
        ),
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
