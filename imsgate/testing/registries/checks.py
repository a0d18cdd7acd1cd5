"""The part of the registry contract about checks of the data."""

import time
from collections.abc import Collection, Iterable

import pytest

from imsgate.model import READABLE, Damage, Image, Location, Status
from imsgate.registry.base import Registry
from imsgate.registry.checks import StoredCopy
from imsgate.testing.records import image, job
from imsgate.testing.registries.threads import together

_FAST, _SLOW = Location("fast", "a"), Location("slow", "b")
_ALL = ("fast", "slow")
#: Later than everything that a test records.
_LATE = 4e9


def _active(registry: Registry, *locations: Location) -> Image:
    record = image(status=Status.ACTIVE, locations=locations)
    registry.add(record)
    return record


def _places(copies: Iterable[StoredCopy]) -> list[tuple[str, str]]:
    return [(copy.location.store, copy.location.url) for copy in copies]


def _pages(registry: Registry, stores: Collection[str] | None = None) -> list[StoredCopy]:
    found: list[StoredCopy] = []
    while page := registry.copies_to_check(_LATE, stores, found[-1] if found else None, limit=2):
        found += page
    return found


class CheckContract:
    """The promises of ``imsgate.registry.checks``."""

    def test_a_new_copy_counts_as_checked(self, registry: Registry) -> None:
        began = time.time()
        record = _active(registry, _FAST)
        (copy,) = registry.copies_to_check(_LATE, _ALL)
        assert (copy.image_id, copy.position, copy.location) == (record.id, 0, _FAST)
        assert began <= copy.checked_at <= time.time()
        assert registry.copies_to_check(copy.checked_at, _ALL) == []

    def test_the_copy_that_was_checked_longest_ago_is_first(self, registry: Registry) -> None:
        record = _active(registry, *(Location("fast", str(number)) for number in range(5)))
        for number, at in enumerate((30.0, 10.0, 20.0, 10.0, 20.0)):
            assert registry.record_check(record.id, record.locations[number], at, None)
        assert _places(_pages(registry)) == [("fast", url) for url in "13240"]
        assert _places(registry.copies_to_check(20.0, _ALL)) == [("fast", "1"), ("fast", "3")]

    def test_only_the_stores_that_are_asked_for(self, registry: Registry) -> None:
        _active(registry, _FAST, _SLOW)
        assert _places(_pages(registry, ["slow"])) == [("slow", "b")]
        assert _pages(registry, []) == []
        assert _places(_pages(registry)) == [("fast", "a"), ("slow", "b")]

    def test_only_images_that_have_their_data(self, registry: Registry) -> None:
        for number, status in enumerate(Status):
            registry.add(image(status=status, locations=(Location("fast", str(number)),)))
        assert {registry.recall(copy.image_id).status for copy in _pages(registry)} == READABLE

    def test_damage_is_shown_until_a_later_check(self, registry: Registry) -> None:
        record = _active(registry, _FAST, _SLOW)
        assert registry.damaged_copies() == []
        assert registry.record_check(record.id, _SLOW, 1.0, Damage.CONTENT)
        found = registry.get(record.id)
        assert found == record
        assert [each.damage for each in found.locations] == [None, Damage.CONTENT]
        (damaged,) = registry.damaged_copies()
        assert (damaged.location, damaged.location.damage) == (_SLOW, Damage.CONTENT)
        assert (damaged.position, damaged.checked_at) == (1, 1.0)
        assert registry.record_check(record.id, _SLOW, 2.0, None)
        assert registry.damaged_copies() == []
        assert [each.damage for each in registry.get(record.id).locations] == [None, None]

    def test_damaged_copies_page_by_page(self, registry: Registry) -> None:
        for number in range(3):
            places = (Location("fast", str(number)), Location("slow", str(number)))
            record = _active(registry, *places)
            for place in places:
                registry.record_check(record.id, place, number, Damage.SIZE)
        found = registry.damaged_copies(limit=2)
        while page := registry.damaged_copies(found[-1], limit=2):
            found += page
        assert [copy.order[1:] for copy in found] == sorted(copy.order[1:] for copy in found)
        assert len(found) == 6

    def test_a_location_that_is_gone(self, registry: Registry) -> None:
        record = _active(registry, _FAST)
        assert not registry.record_check(record.id, _SLOW, 1.0, None)
        assert not registry.record_check(image().id, _FAST, 1.0, None)
        registry.change(record.id, {}, status=Status.PENDING_DELETE)
        registry.change(record.id, {}, status=Status.DELETED, locations=())
        assert not registry.record_check(record.id, _FAST, 1.0, Damage.MISSING)
        assert registry.damaged_copies() == _pages(registry) == []

    @pytest.mark.parametrize("with_job", [False, True])
    def test_a_change_of_locations_keeps_those_that_stay(
        self, registry: Registry, with_job: bool
    ) -> None:
        record = _active(registry, _FAST, _SLOW)
        registry.record_check(record.id, _SLOW, 1.0, Damage.CONTENT)
        new, claimed = Location("fast", "new"), Location("fast", "c", Damage.SIZE)
        locations = (new, _SLOW, claimed)
        if with_job:
            registry.add_job(job(record.id), {}, None, None, locations=locations)
        else:
            changed = registry.change(record.id, {}, locations=locations)
            assert [each.damage for each in changed.locations] == [None, Damage.CONTENT, None]
        found = registry.get(record.id).locations
        assert found == locations
        assert [each.damage for each in found] == [None, Damage.CONTENT, None]
        first, *others = _pages(registry)
        assert (first.location, first.checked_at) == (_SLOW, 1.0)
        assert all(copy.checked_at > 1.0 for copy in others)
        registry.change(record.id, {}, locations=(new,))
        registry.change(record.id, {}, locations=(new, _SLOW))
        assert [each.damage for each in registry.get(record.id).locations] == [None, None]

    def test_checks_and_changes_at_the_same_time(self, registry: Registry) -> None:
        record = _active(registry, _FAST, _SLOW)

        def step(number: int) -> object:
            if number % 2:
                return registry.record_check(record.id, _SLOW, 1.0, Damage.SIZE)
            extra = Location("fast", f"extra-{number}")
            return registry.change(record.id, {}, locations=(_FAST, _SLOW, extra))

        together(8, step)
        found = registry.get(record.id).locations
        assert [each.damage for each in found] == [None, Damage.SIZE, None]

    def test_a_check_is_no_change_of_the_image(self, registry: Registry) -> None:
        record = _active(registry, _FAST)
        registry.record_check(record.id, _FAST, 1.0, Damage.SIZE)
        assert registry.get(record.id).updated_at == record.updated_at
