"""The part of the registry contract about places in stores: each has one image's data."""

import pytest

from imsgate.errors import LocationTaken
from imsgate.model import Image, Location, Status
from imsgate.registry.base import Registry
from imsgate.testing.records import image
from imsgate.testing.registries.threads import together, winner


class LocationContract:
    """The promises of ``imsgate.registry.base`` about locations."""

    def test_whose_data_lies_where(self, registry: Registry) -> None:
        place = Location("fast", "a")
        assert not registry.holds(place)
        record = image(locations=(Location("slow", "z"), place))
        registry.add(record)
        registry.change(record.id, {}, status=Status.PENDING_DELETE)
        assert registry.holds(place)
        for other in (Location("fast", "A"), Location("fast", "z"), Location("slow", "a")):
            assert not registry.holds(other)
        registry.change(record.id, {}, locations=())
        assert not registry.holds(place)

    def test_a_place_is_one_images(self, registry: Registry) -> None:
        place, other = Location("fast", "a"), Location("fast", "b")
        first, second = image(locations=(place,)), image(locations=(other,))
        for record in (first, second):
            registry.add(record)
        with pytest.raises(LocationTaken):
            registry.add(image(locations=(place,)))
        with pytest.raises(LocationTaken):
            registry.change(second.id, {}, name="taken", locations=(other, place))
        with pytest.raises(LocationTaken):
            registry.change(second.id, {}, locations=(other, other))
        assert registry.get(second.id) == second
        registry.change(first.id, {}, locations=())
        for locations in ((other, place), (place, other), (place,)):
            assert registry.change(second.id, {}, locations=locations).locations == locations

    def test_a_place_becomes_one_images(self, registry: Registry) -> None:
        for round_ in range(5):
            place, rivals = Location("fast", str(round_)), [image() for _ in range(8)]
            for rival in rivals:
                registry.add(rival)

            def take(number: int, place: Location = place, rivals: list[Image] = rivals) -> object:
                return registry.change(rivals[number].id, {}, locations=(place,))

            owner = winner(together(8, take), LocationTaken)
            locations = [registry.get(rival.id).locations for rival in rivals]
            assert locations == [(place,) if number == owner else () for number in range(8)]
