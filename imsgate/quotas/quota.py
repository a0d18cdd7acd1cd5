"""Quotas: how much each project may have, and bytes reserved before they are stored.

What a project uses is the sum over its image records (``model.Image.usage``), with the
bytes that each has reserved for data coming in. So a reservation ends with its attempt,
however that ends, and the registry refuses a step that would pass a limit.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.model import Limits, Usage
from imsgate.quotas.limits import in_bytes, in_units

GROUP = "quota"
OPTS = (
    cfg.IntOpt(
        "image_size_total",
        default=-1,
        min=-1,
        help="MiB that the images of one project may take in the stores, each copy counted; "
        "-1: no limit.",
    ),
    cfg.IntOpt(
        "image_stage_total",
        default=-1,
        min=-1,
        help="MiB of one project that may be staged and not imported yet; -1: no limit.",
    ),
    cfg.IntOpt(
        "image_count_total",
        default=-1,
        min=-1,
        help="Images that one project may have; -1: no limit.",
    ),
    cfg.IntOpt(
        "image_count_uploading",
        default=-1,
        min=-1,
        help="Images of one project whose data may be coming in at a time; -1: no limit.",
    ),
)

#: Of ``[DEFAULT]``, as in Glance.
KEYSTONE_OPTS = (
    cfg.BoolOpt(
        "use_keystone_limits",
        default=False,
        help="Take the limits of each project from Keystone's unified limits, by the names of "
        "[quota], which then does not count. One that is not registered there is zero. Needs "
        "imsgate[keystone] and [oslo_limit].",
    ),
)

_RESOURCES = tuple(option.dest for option in OPTS)


class Quotas:
    """The limits of projects. ``amounts`` gives those of one, in the units and names of OPTS."""

    def __init__(self, amounts: Callable[[str], Mapping[str, int]]) -> None:
        self._amounts = amounts

    def of(self, project: str | None) -> Limits | None:
        """The limits of a project; None where there is none, and for images without owner.

        Raises Unavailable.
        """
        if project is None:
            return None
        amounts = self._amounts(project)
        most = {name: in_bytes(name, amounts[name]) for name in _RESOURCES if amounts[name] >= 0}
        return Limits(project, most) if most else None

    def told(self, project: str, usage: Usage) -> dict[str, dict[str, int]]:
        """Limits and usage of a project as Glance tells them. Raises Unavailable."""
        amounts = self._amounts(project)
        return {
            name: {"limit": amounts[name], "usage": in_units(name, getattr(usage, name))}
            for name in _RESOURCES
        }


def configured(settings: Any) -> Quotas:
    """The same limits for every project. ``settings`` are the values of OPTS."""
    return Quotas(lambda _: vars(settings))


#: Nothing is limited.
NONE = Quotas(lambda _: dict.fromkeys(_RESOURCES, -1))


def load(conf: config.Config) -> Quotas:
    """What the configuration asks for. Raises BadConfig."""
    if not conf.section("DEFAULT", KEYSTONE_OPTS).use_keystone_limits:
        return configured(conf.section(GROUP, OPTS))
    try:
        unified: Any = importlib.import_module("imsgate.quotas.keystone")
    except ImportError as error:
        problem = "it needs the package oslo.limit: imsgate[keystone]"
        raise BadConfig("[DEFAULT] use_keystone_limits", problem) from error
    return Quotas(unified.UnifiedLimits(conf.native, _RESOURCES))
