"""The part of the registry contract about image records: they come back as they were added."""

import dataclasses
import datetime
from typing import Any

import pytest

from imsgate.errors import AlreadyExists, Conflict, NotFound
from imsgate.model import DELETED, Status, Visibility
from imsgate.registry.base import Condition, Op, Registry
from imsgate.testing.records import FULL_IMAGE, image
from imsgate.testing.registries.lists import EVERYTHING, everything
from imsgate.testing.registries.statuses import bring
from imsgate.testing.registries.threads import together, winner


class RecordContract:
    """The promises of ``imsgate.registry.base`` about adding and reading images."""

    @pytest.mark.parametrize("fields", [{}, FULL_IMAGE], ids=["bare", "full"])
    def test_record_comes_back_as_it_was(self, registry: Registry, fields: dict[str, Any]) -> None:
        record = image(**fields)
        registry.add(record)
        assert registry.get(record.id) == record
        assert registry.list(EVERYTHING) == [record]

    def test_long_values_come_back(self, registry: Registry) -> None:
        record = image(properties={"long": "ü" * 70_000})
        registry.add(record)
        assert registry.get(record.id).properties["long"] == record.properties["long"]

    def test_times_come_back_in_utc(self, registry: Registry) -> None:
        record = image(**FULL_IMAGE)
        registry.add(record)
        stored = registry.get(record.id)
        assert stored.created_at.tzinfo is stored.updated_at.tzinfo is datetime.UTC

    def test_record_does_not_follow_what_it_was_made_from(self, registry: Registry) -> None:
        properties = {"a": "1"}
        record = image(properties=properties)
        registry.add(record)
        properties["a"] = "2"
        assert registry.get(record.id).properties == {"a": "1"}
        registry.change(record.id, {}, properties=properties)
        properties["a"] = "3"
        assert registry.get(record.id).properties == {"a": "2"}

    def test_unknown_image(self, registry: Registry) -> None:
        with pytest.raises(NotFound):
            registry.get(image().id)
        with pytest.raises(NotFound):
            registry.recall(image().id)

    def test_living_image_is_recalled_as_it_is(self, registry: Registry) -> None:
        record = image(**FULL_IMAGE)
        registry.add(record)
        assert registry.recall(record.id) == record

    @pytest.mark.parametrize("status", Status)
    def test_id_is_used_once(self, registry: Registry, status: Status) -> None:
        first = image(name="first", tags=frozenset({"first"}))
        registry.add(first)
        bring(registry, first.id, status)
        with pytest.raises(AlreadyExists):
            registry.add(image(id=first.id, tags=frozenset({"second"})))
        stored = registry.change(first.id, {})
        assert (stored.name, stored.status) == ("first", status)
        assert stored.tags == frozenset({"first"})

    @pytest.mark.parametrize("status", sorted(DELETED))
    def test_deleted_record_is_seen_by_change_and_recall(
        self, registry: Registry, status: Status
    ) -> None:
        record = image(**FULL_IMAGE | {"visibility": Visibility.PUBLIC, "status": Status.QUEUED})
        registry.add(record)
        deleted = bring(registry, record.id, status)
        assert registry.recall(record.id) == deleted
        assert deleted == dataclasses.replace(record, status=status, updated_at=deleted.updated_at)
        with pytest.raises(NotFound):
            registry.get(record.id)
        assert registry.list(EVERYTHING) == []
        assert registry.list(everything(conditions=[Condition("status", Op.EQ, status)])) == []
        with pytest.raises(Conflict):
            registry.change(record.id, {"status": Status.QUEUED}, status=Status.SAVING)
        assert registry.change(record.id, {"status": status}, name="still").name == "still"

    def test_closing_may_be_repeated(self, registry: Registry) -> None:
        registry.close()
        registry.close()

    def test_one_of_many_creators_wins(self, registry: Registry) -> None:
        for _ in range(5):
            image_id = image().id

            def create(number: int, image_id: str = image_id) -> object:
                return registry.add(image(id=image_id, properties={"by": str(number)}))

            number = winner(together(8, create), AlreadyExists)
            assert registry.get(image_id).properties == {"by": str(number)}
