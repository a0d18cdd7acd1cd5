"""Whether a change keeps within the limits of a project, as every registry judges it."""

from collections.abc import Mapping

from imsgate import errors
from imsgate.model import Image, Limits, Usage

_MIB = 1 << 20

#: Quotas of bytes; they are set and told in MiB, as in Glance.
_IN_MIB = frozenset({"image_size_total", "image_stage_total"})


def in_bytes(resource: str, amount: int) -> int:
    """An amount as it is set, in the units of Usage."""
    return amount * _MIB if resource in _IN_MIB else amount


def in_units(resource: str, amount: int) -> int:
    """An amount of Usage as it is told: bytes in whole MiB."""
    return amount // _MIB if resource in _IN_MIB else amount


def grown(limits: Limits, before: Image | None, after: Image) -> dict[str, int]:
    """By how much a change makes each limited resource of the project grow, where it does.

    Raises Conflict when the image is not the project's: its owner was changed meanwhile.
    """
    if after.owner != limits.project:
        raise errors.Conflict(problem=f"Image {after.id} has another owner now")
    old = before.usage if before and before.owner == limits.project else Usage()
    deltas = {name: getattr(after.usage, name) - getattr(old, name) for name in limits.maximum}
    return {name: delta for name, delta in deltas.items() if delta > 0}


def check_members(count: int, most: int | None) -> None:
    """Raises QuotaExceeded when an image with so many members may have none more."""
    if most is not None and count >= most:
        asked = f"{most} allowed, {count + 1} asked for"
        raise errors.MemberQuotaExceeded(resource="members of an image", limit=asked)


def check(limits: Limits, deltas: Mapping[str, int], usage: Usage) -> None:
    """Raises OverLimit when what has grown by ``deltas`` to ``usage`` is beyond its limit.

    Nothing else of ``usage`` is looked at.
    """
    for name, delta in deltas.items():
        total, most = getattr(usage, name), limits.maximum[name]
        if total > most:
            before = in_units(name, total - delta)
            raise errors.OverLimit(
                project=limits.project,
                resource=name,
                limit=in_units(name, most),
                usage=before,
                delta=-in_units(name, -total) - before,
            )
