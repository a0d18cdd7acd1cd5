"""The contract of checks: when each copy of an image's data was compared with its digest."""

import abc
import builtins
import dataclasses
from collections.abc import Collection

from imsgate.model import Damage, Location


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredCopy:
    """A copy of an image's data.

    ``checked_at`` is when it was written or last checked, in seconds since the epoch; 0 if that is
    unknown. ``position`` is that of the location in ``Image.locations``.
    """

    image_id: str
    position: int
    location: Location
    checked_at: float

    @property
    def order(self) -> tuple[float, str, int]:
        """The place in a list of ``Checks.copies_to_check``."""
        return self.checked_at, self.image_id, self.position


class Checks(abc.ABC):
    """What checks of the data have found.

    A change of ``locations`` keeps what is recorded of the locations that stay. A location that is
    new counts as checked at that moment, since its digest was computed when it was written.
    """

    @abc.abstractmethod
    def copies_to_check(
        self,
        before: float,
        stores: Collection[str] | None = None,
        after: StoredCopy | None = None,
        limit: int = 100,
    ) -> builtins.list[StoredCopy]:
        """Return the copies that were last checked before a time, in these stores or in all.

        Only those of images in ``model.READABLE``, in the order of ``StoredCopy.order``, which
        begins with the one whose check is the longest ago. ``after`` is the last one of the page
        before.
        """

    @abc.abstractmethod
    def damaged_copies(
        self, after: StoredCopy | None = None, limit: int = 100
    ) -> builtins.list[StoredCopy]:
        """Return the copies with damage of images in ``model.READABLE``, ordered by image and
        position, the same page by page."""

    @abc.abstractmethod
    def record_check(
        self, image_id: str, location: Location, at: float, damage: Damage | None
    ) -> bool:
        """Record that a copy was checked, and what was found.

        The image's ``updated_at`` stays, and there is no event. Returns False, and does nothing,
        if the image has no such location any more.
        """
