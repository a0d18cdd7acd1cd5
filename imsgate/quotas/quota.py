"""Quotas: how much each project may have, and bytes reserved before they are stored.

What a project uses is the sum over its image records (``model.Image.usage``), with the
bytes that each has reserved for data coming in. So a reservation ends with its attempt,
however that ends, and the registry refuses a step that would pass a limit.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg

from imsgate import config, errors
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

#: Reserved for data of unknown size before any has come.
FIRST = 1
#: Such data reserves as much again as has come, but no more than this.
_STEP = 64 << 20


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


class Meter:
    """Reads data, and lets none be stored that is not reserved."""

    def __init__(
        self,
        read: Callable[[int], bytes],
        size: int | None,
        reserve: Callable[[int], object],
    ) -> None:
        """``size`` is what was announced and is reserved already, or None: then FIRST is.

        ``reserve`` is given a whole number of bytes; it raises OverLimit, and what it gave
        before stays.
        """
        self._read = read
        self._size = size
        self._reserve = reserve
        self._reserved = FIRST if size is None else size
        self._count = 0

    def read(self, size: int) -> bytes:
        """Raises OverLimit, SizeMismatch once more comes than was announced, and as ``read``."""
        chunk = self._read(size)
        self._count += len(chunk)
        if self._count > self._reserved:
            self._grow()
        return chunk

    def _grow(self) -> None:
        if self._size is not None:
            raise errors.SizeMismatch(announced=self._size, received=self._count)
        ample = self._count + min(self._count, _STEP)
        try:
            self._reserve(ample)
            self._reserved = ample
        except errors.OverLimit:
            self._reserve(self._count)
            self._reserved = self._count
