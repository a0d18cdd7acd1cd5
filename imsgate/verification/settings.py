"""The options of ``[verification]``."""

from oslo_config import cfg

from imsgate.errors import BadConfig
from imsgate.settings import Settings
from imsgate.stores.base import LocalFiles
from imsgate.stores.enabled import Stores

GROUP = "verification"

OPTS = (
    cfg.IntOpt(
        "interval",
        default=30 * 24 * 3600,
        min=0,
        max=10**9,
        help="Seconds after which a copy of image data is read again and compared with its "
        "digest, in the background, by one process of the service at a time. 0 turns this off.",
    ),
    cfg.FloatOpt(
        "rate",
        default=20,
        min=0.001,
        help="The most MiB per second that are read for this, for the whole service. 20 MiB/s are "
        "50 TiB in 30 days.",
    ),
    cfg.ListOpt(
        "stores",
        default=[],
        help="The ids of the stores that are verified in the background. If empty, those that keep "
        "files on this host (driver file). Storage services such as Ceph and S3 verify their data "
        "by themselves, and may charge for reading it.",
    ),
    cfg.BoolOpt(
        "repair",
        default=False,
        help="Replace damaged copies by new ones, made from a good copy. Without it, run "
        "`imsgate verify --repair`.",
    ),
)


class VerificationSettings(Settings, group=GROUP, opts=OPTS):
    interval: int
    rate: float
    stores: list[str]
    repair: bool


def check_stores(settings: VerificationSettings, stores: Stores) -> None:
    """Raises BadConfig for a store that is not enabled."""
    known = [backend.id for backend in stores]
    for name in settings.stores:
        if name not in known:
            raise BadConfig(f"[{GROUP}] stores", f"there is no store {name!r}")


def stores_to_verify(settings: VerificationSettings, stores: Stores) -> list[str]:
    """The ids of the stores that are verified in the background; a store that has not started yet
    is left out."""
    return [
        backend.id
        for backend in stores
        if backend.started is not None
        and (
            backend.id in settings.stores
            if settings.stores
            else isinstance(backend.started, LocalFiles)
        )
    ]
