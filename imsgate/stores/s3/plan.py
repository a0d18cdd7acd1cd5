"""The size of each part of a multipart upload. Pure arithmetic."""

import dataclasses
from typing import Self

from imsgate.stores.s3 import options
from imsgate.stores.s3.options import MIB, S3Settings

#: Maximum size of a part. AWS sets this limit and other services follow it.
MAX_PART_BYTES = 5 * 1024 * MIB


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The part sizes of one store. ``part`` is the smallest size, in bytes."""

    part: int
    max_parts: int = 10_000
    equal: bool = False

    @classmethod
    def of(cls, settings: S3Settings) -> Self:
        """The plan of a store with these settings."""
        part = options.part_bytes(settings)
        return cls(part, settings.s3_store_max_parts, settings.s3_store_equal_parts)

    def aligned(self) -> Self:
        """The same plan with parts of a power of two bytes, which are no smaller.

        Clients append pieces of round sizes, such as 64 MiB. If these end where a part ends,
        nothing is left over that would have to be stored separately and sent again.
        """
        part = min(MAX_PART_BYTES, 1 << (self.part - 1).bit_length())
        return dataclasses.replace(self, part=part)

    def capacity(self) -> int:
        """The size of the largest possible object in bytes."""
        return self.max_parts * MAX_PART_BYTES

    def end(self, count: int, announced: int | None) -> int:
        """The size in bytes of the first ``count`` parts together."""
        if announced is not None or self.equal:
            return count * self.size(1, announced)
        return sum(self.size(number, None) for number in range(1, count + 1))

    def size(self, number: int, announced: int | None) -> int:
        """The size in bytes of part ``number``, counted from 1.

        If the size of the object is known (``announced``), all parts have the same size, just
        large enough for ``max_parts`` of them. If it is unknown, the size doubles after each
        twelfth of the maximum number of parts: ten thousand parts that start with 5 MiB hold
        8 TiB, and the first 4 GiB need no more memory than equal parts would.
        """
        if announced is not None:
            needed = -(-announced // self.max_parts)
            return self.part if needed <= self.part else -(-needed // MIB) * MIB
        if self.equal:
            return self.part
        step = max(1, self.max_parts // 12)
        return min(MAX_PART_BYTES, self.part << min((number - 1) // step, 40))
