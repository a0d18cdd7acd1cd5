"""How large the parts of an upload are. Pure arithmetic."""

import dataclasses

from imsgate.stores.s3.options import MIB

#: AWS takes no larger part, and others follow it.
MAX_PART = 5 * 1024 * MIB


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The part sizes of one store. ``part`` is the smallest."""

    part: int
    max_parts: int = 10_000
    equal: bool = False

    def capacity(self) -> int:
        """Bytes of the largest object there can be."""
        return self.max_parts * MAX_PART

    def size(self, number: int, announced: int | None) -> int:
        """Bytes of part ``number``, counted from 1, of an object of ``announced`` bytes.

        All parts are equal where the size is known: just large enough that
        ``max_parts`` of them suffice. Where it is not, they double every
        twelfth of the parts there may be: ten thousand that begin with 5 MiB
        then hold 8 TiB, while the first 4 GiB take no more memory than ever.
        """
        if announced is not None:
            least = -(-announced // self.max_parts)
            return self.part if least <= self.part else -(-least // MIB) * MIB
        if self.equal:
            return self.part
        step = max(1, self.max_parts // 12)
        return min(MAX_PART, self.part << min((number - 1) // step, 40))
