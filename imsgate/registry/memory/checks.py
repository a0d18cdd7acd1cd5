"""Checks of the data in the memory of one process."""

import builtins
import dataclasses
from collections.abc import Collection, Iterator

from imsgate.model import READABLE, Damage, Location
from imsgate.registry.checks import StoredCopy
from imsgate.registry.memory.images import MemoryImages


class MemoryChecks(MemoryImages):
    def copies_to_check(
        self,
        before: float,
        stores: Collection[str] | None = None,
        after: StoredCopy | None = None,
        limit: int = 100,
    ) -> builtins.list[StoredCopy]:
        with self._lock:
            copies = [
                copy
                for copy in self._copies()
                if copy.checked_at < before
                and (stores is None or copy.location.store in stores)
                and (after is None or copy.order > after.order)
            ]
        return sorted(copies, key=lambda copy: copy.order)[:limit]

    def damaged_copies(
        self, after: StoredCopy | None = None, limit: int = 100
    ) -> builtins.list[StoredCopy]:
        with self._lock:
            copies = [
                copy
                for copy in self._copies()
                if copy.location.damage is not None
                and (after is None or copy.order[1:] > after.order[1:])
            ]
        return sorted(copies, key=lambda copy: copy.order[1:])[:limit]

    def record_check(
        self, image_id: str, location: Location, at: float, damage: Damage | None
    ) -> bool:
        with self._lock:
            image = self._images.get(image_id)
            if image is None or location not in image.locations:
                return False
            found = dataclasses.replace(location, damage=damage)
            locations = tuple(found if each == found else each for each in image.locations)
            self._images[image_id] = dataclasses.replace(image, locations=locations)
            self._checked[image_id, location] = at
            return True

    def _copies(self) -> Iterator[StoredCopy]:
        for image in self._images.values():
            if image.status in READABLE:
                for position, location in enumerate(image.locations):
                    yield StoredCopy(
                        image_id=image.id,
                        position=position,
                        location=location,
                        checked_at=self._checked[image.id, location],
                    )
