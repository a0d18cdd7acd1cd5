"""Differences between the clouds that run Huawei's image service, selected by one option."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from oslo_config import cfg

from imsgate.settings import Settings

GROUP = "ims"

#: Statuses of images that IMS does not have, and the one that it shows instead.
STATUSES: Mapping[str, str] = MappingProxyType(
    {"importing": "saving", "uploading": "saving", "deactivated": "active"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """The limits and defaults of one cloud.

    ``upload_limit`` is the size in bytes of the largest image that one request may upload; None
    means that the cloud has no such limit. The clouds' documentation says "2 GB" and "128 GB"
    without defining GB. Here a GB is 2**30 bytes, and an image of exactly that size is accepted.
    ``import_limit`` is the same for images from a bucket. ``disk_format`` is shown for an image
    that was created without one until its data is uploaded. ``min_disk`` is the smallest allowed
    minimum disk in GiB, by the type of the operating system.
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


class ProfileSettings(Settings, group=GROUP, opts=OPTS):
    profile: str


def chosen(settings: ProfileSettings) -> Profile:
    """The profile that ``[ims] profile`` names."""
    return PROFILES[settings.profile]
