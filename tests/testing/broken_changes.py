"""Registries that break one promise about changes or locations each, and the test to fail."""

import contextlib
import dataclasses
import threading
from unittest import mock

from imsgate import model
from imsgate.errors import Conflict, LocationTaken, NotFound
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.records import START


class ComparesNothing(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, {}, **to)


class ComparesStatusOnly(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        was = {"status": was["status"]} if "status" in was else {}
        return super().change(image_id, was, **to)


class NeverEqualsNone(MemoryRegistry):
    """As ``column = NULL``, which is never true."""

    def change(self, image_id, was, /, **to):
        if None in was.values():
            raise Conflict(problem="NULL is not equal to NULL")
        return super().change(image_id, was, **to)


class IgnoresNone(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, {f: v for f, v in was.items() if v is not None}, **to)


class ChecksThenWrites(MemoryRegistry):
    """All threads may have looked before one writes."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def change(self, image_id, was, /, **to):
        super().change(image_id, was)
        if was:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.all_looked.wait()
        return super().change(image_id, {}, **to)


class WritesCollectionsBeforeItChecks(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        if "properties" in to:
            super().change(image_id, {}, properties=to["properties"])
        return super().change(image_id, was, **to)


class ReadsInTwoSteps(MemoryRegistry):
    """A record and its tags may be read at different times."""

    def __init__(self):
        super().__init__()
        self.read, self.changed = threading.Event(), threading.Event()

    def change(self, image_id, was, /, **to):
        self.read.wait(10)
        changed = super().change(image_id, was, **to)
        self.changed.set()
        return changed

    def get(self, image_id):
        image = super().get(image_id)
        self.read.set()
        self.changed.wait(10)
        return dataclasses.replace(image, tags=super().get(image_id).tags)


class MergesProperties(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        if "properties" in to:
            to["properties"] = self._images[image_id].properties | to["properties"]
        return super().change(image_id, was, **to)


class SortsLocations(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        if "locations" in to:
            to["locations"] = tuple(sorted(to["locations"], key=lambda one: one.store))
        return super().change(image_id, was, **to)


class NeverMovesUpdatedAt(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, was, **{"updated_at": START} | to)


class MovesUpdatedAtForLeases(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, was, **{"updated_at": model.now()} | to)


class ReturnsTheRecordAsItWas(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        before = self._images.get(image_id)
        super().change(image_id, was, **to)
        return before


class HidesDeletedFromChange(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        self.get(image_id)
        return super().change(image_id, was, **to)


class UnknownIsAConflict(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        try:
            return super().change(image_id, was, **to)
        except NotFound:
            raise Conflict(problem="no row was changed") from None


class ChangesNothingUnchecked(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, was if to else {}, **to)


# Locations


class PutsAnyNumberAtOnePlace(MemoryRegistry):
    def _check_places(self, image):
        pass


class LooksAtPlacesBeforeItWrites(MemoryRegistry):
    """All threads may have looked before one writes."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def change(self, image_id, was, /, **to):
        if any(self.holds(place) for place in to["locations"]):
            raise LocationTaken
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        with mock.patch.object(self, "_check_places"):
            return super().change(image_id, was, **to)


REJECTED = [
    (ComparesNothing, "every_field_can_be_compared"),
    (ComparesNothing, "one_of_many_writers_wins"),
    (ComparesStatusOnly, "all_fields_are_compared"),
    (NeverEqualsNone, "no_value_can_be_compared"),
    (IgnoresNone, "every_field_can_be_compared"),
    (ChecksThenWrites, "one_of_many_writers_wins"),
    (WritesCollectionsBeforeItChecks, "lost_change_leaves_nothing"),
    (ReadsInTwoSteps, "record_and_collections_are_of_one_moment"),
    (MergesProperties, "collections_are_replaced_whole"),
    (SortsLocations, "change_returns_the_record_as_it_is_then"),
    (NeverMovesUpdatedAt, "updated_at"),
    (MovesUpdatedAtForLeases, "updated_at"),
    (ReturnsTheRecordAsItWas, "change_returns_the_record_as_it_is_then"),
    (HidesDeletedFromChange, "deleted_record_is_seen_by_change_and_recall"),
    (UnknownIsAConflict, "change_of_an_unknown_image"),
    (ChangesNothingUnchecked, "change_of_nothing_still_compares"),
    (PutsAnyNumberAtOnePlace, "a_place_is_one_images"),
    (LooksAtPlacesBeforeItWrites, "a_place_becomes_one_images"),
]
