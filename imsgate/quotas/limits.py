"""Whether a change exceeds a limit of its project. Every registry decides by this module."""

from collections.abc import Mapping

from imsgate import errors
from imsgate.model import Image, Limits, Usage

_MIB = 1 << 20

#: Quotas of bytes. Options and responses have them in MiB, as in Glance.
_IN_MIB = frozenset({"image_size_total", "image_stage_total"})


def in_bytes(resource: str, amount: int) -> int:
    """Converts an amount from the unit of its option to that of Usage."""
    return amount * _MIB if resource in _IN_MIB else amount


def in_units(resource: str, amount: int) -> int:
    """Converts an amount of Usage to the unit of its option: bytes to whole MiB, rounded down."""
    return amount // _MIB if resource in _IN_MIB else amount


def grown(limits: Limits, before: Image | None, after: Image) -> dict[str, int]:
    """The increase of each limited resource of the project, for those that increase.

    Raises Conflict if the image now belongs to another project.
    """
    if after.owner != limits.project:
        raise errors.Conflict(problem=f"Image {after.id} has another owner now")
    old = before.usage if before and before.owner == limits.project else Usage()
    deltas = {name: getattr(after.usage, name) - getattr(old, name) for name in limits.maximum}
    return {name: delta for name, delta in deltas.items() if delta > 0}


def check_members(count: int, limit: int | None) -> None:
    """Raises MemberQuotaExceeded if an image with ``count`` members may not get another one."""
    if limit is not None and count >= limit:
        amounts = f"{limit} allowed, {count + 1} asked for"
        raise errors.MemberQuotaExceeded(resource="members of an image", limit=amounts)


def check(limits: Limits, deltas: Mapping[str, int], usage: Usage) -> None:
    """Raises OverLimit if a resource that has grown by ``deltas`` to ``usage`` exceeds its limit.

    Only the resources in ``deltas`` are checked.
    """
    for name, delta in deltas.items():
        total, limit = getattr(usage, name), limits.maximum[name]
        if total > limit:
            before = in_units(name, total - delta)
            raise errors.OverLimit(
                project=limits.project,
                resource=name,
                limit=in_units(name, limit),
                usage=before,
                # Rounded up, so that before + delta exceeds the limit in whole MiB too.
                delta=-in_units(name, -total) - before,
            )
