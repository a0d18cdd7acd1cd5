"""Quotas: limits on the images of each project, and bytes reserved before they are stored.

The usage of a project is the sum over its image records (``model.Image.usage``), including the
bytes that each record reserves for an upload in progress. A reservation therefore ends together
with its upload, whatever the outcome, and the registry refuses a change that exceeds a limit.
"""

from collections.abc import Callable, Mapping

from oslo_config import cfg

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.model import Limits, Usage
from imsgate.quotas.limits import in_bytes, in_units
from imsgate.settings import Settings

GROUP = "quota"
OPTS = (
    cfg.IntOpt(
        "image_size_total",
        mutable=True,
        default=-1,
        min=-1,
        help="The most that the images of one project may occupy in the stores, in MiB; every "
        "copy counts. -1 means no limit.",
    ),
    cfg.IntOpt(
        "image_stage_total",
        mutable=True,
        default=-1,
        min=-1,
        help="The most staged data of one project that has not been imported yet, in MiB. "
        "-1 means no limit.",
    ),
    cfg.IntOpt(
        "image_count_total",
        mutable=True,
        default=-1,
        min=-1,
        help="The most images of one project. -1 means no limit.",
    ),
    cfg.IntOpt(
        "image_count_uploading",
        mutable=True,
        default=-1,
        min=-1,
        help="The most images of one project that may be uploaded or imported at the same time. "
        "-1 means no limit.",
    ),
)


class QuotaSettings(Settings, group=GROUP, opts=OPTS):
    image_size_total: int
    image_stage_total: int
    image_count_total: int
    image_count_uploading: int


#: In ``[DEFAULT]``, as in Glance.
KEYSTONE_OPTS = (
    cfg.BoolOpt(
        "use_keystone_limits",
        default=False,
        help="Take the limits of each project from Keystone's unified limits. They have the names "
        "of the options in [quota], which are then ignored. A limit that is not registered in "
        "Keystone is zero. Needs imsgate[keystone] and [oslo_limit].",
    ),
)


class KeystoneSettings(Settings, group="DEFAULT", opts=KEYSTONE_OPTS):
    use_keystone_limits: bool


_RESOURCES = tuple(str(option.dest) for option in OPTS)


class Quotas:
    """The limits of projects."""

    def __init__(self, amounts: Callable[[str], Mapping[str, int]]) -> None:
        """``amounts`` returns the limits of a project, in the names and units of ``OPTS``."""
        self._amounts = amounts

    def of(self, project: str | None) -> Limits | None:
        """The limits of a project; None if it has none, and for images without owner.

        Raises Unavailable.
        """
        if project is None:
            return None
        amounts = self._amounts(project)
        limits = {name: in_bytes(name, amounts[name]) for name in _RESOURCES if amounts[name] >= 0}
        return Limits(project, limits) if limits else None

    def report(self, project: str, usage: Usage) -> dict[str, dict[str, int]]:
        """Limits and usage of a project as in Glance's responses. Raises Unavailable."""
        amounts = self._amounts(project)
        return {
            name: {"limit": amounts[name], "usage": in_units(name, getattr(usage, name))}
            for name in _RESOURCES
        }


def configured(settings: QuotaSettings) -> Quotas:
    """The same limits for every project."""
    return Quotas(lambda _: vars(settings))


#: Nothing is limited.
NONE = Quotas(lambda _: dict.fromkeys(_RESOURCES, -1))


def load(conf: config.Config) -> Quotas:
    """The quotas that the configuration selects. Raises BadConfig."""
    if not conf.read(KeystoneSettings).use_keystone_limits:
        return configured(conf.read(QuotaSettings))
    try:
        # Importing it needs the extra imsgate[keystone].
        from imsgate.quotas.keystone import UnifiedLimits  # noqa: PLC0415
    except ImportError as error:
        problem = "it needs the package oslo.limit: install imsgate[keystone]"
        raise BadConfig("[DEFAULT] use_keystone_limits", problem) from error
    return Quotas(UnifiedLimits(conf.native, _RESOURCES))
