"""The part of the registry contract about changes of an image: one atomic compare-and-set."""

import dataclasses
import datetime
from typing import Any

import pytest

from imsgate import model
from imsgate.errors import Conflict, NotFound
from imsgate.model import Image, Location, Status, Visibility
from imsgate.registry.base import Query, Registry
from imsgate.testing.records import FULL_IMAGE, START, after, image
from imsgate.testing.registries.threads import together, winner

#: The fields that ``was`` may contain, each with a value that FULL_IMAGE does not have.
_OTHERS: dict[str, Any] = {
    "owner": "Project",
    "name": "ünï 🐧 %_'\"",
    "status": Status.QUEUED,
    "visibility": Visibility.PUBLIC,
    "disk_format": "QCOW2",
    "container_format": "bare ",
    "min_disk": 0,
    "min_ram": 0,
    "protected": False,
    "os_hidden": False,
    "size": 1,
    "virtual_size": 2**63 - 2,
    "checksum": "1" * 32,
    "os_hash_algo": "sha256",
    "os_hash_value": "e" * 128,
    "created_at": FULL_IMAGE["created_at"] + datetime.timedelta(microseconds=1),
    "updated_at": FULL_IMAGE["updated_at"] - datetime.timedelta(microseconds=1),
    "upload_store": "slow",
    "upload_key": "attempt-10",
    "upload_expires": 1_700_000_000.123_457,
    "upload_reserved": -1,
    "uploaded_by": "d" * 64,
    "uploaded_at": 1_700_000_000.234_568,
    "upload_received": 0,
    "upload_started": 1_699_999_999.123_457,
}


class ChangeContract:
    """The promises of ``imsgate.registry.base`` about ``change``."""

    def test_change_returns_the_record_as_it_is_then(self, registry: Registry) -> None:
        record = image(properties={"a": "1", "b": "2"}, tags=frozenset({"x"}))
        bystander = image(properties={"a": "1"}, tags=frozenset({"x"}))
        registry.add(record)
        registry.add(bystander)
        changed = registry.change(record.id, {"status": Status.QUEUED}, **FULL_IMAGE)
        assert changed == registry.get(record.id) == image(id=record.id, **FULL_IMAGE)
        assert registry.get(bystander.id) == bystander

    @pytest.mark.parametrize("field", ["properties", "tags", "locations"])
    def test_collections_are_replaced_whole(self, registry: Registry, field: str) -> None:
        record = image(**FULL_IMAGE)
        registry.add(record)
        empty = type(FULL_IMAGE[field])()
        for value in (empty, FULL_IMAGE[field], FULL_IMAGE[field]):
            to = {field: value, "updated_at": START}
            expected = dataclasses.replace(record, **to)
            assert registry.change(record.id, {}, **to) == expected
            assert registry.get(record.id) == expected

    @pytest.mark.parametrize("field", _OTHERS)
    def test_every_field_can_be_compared(self, registry: Registry, field: str) -> None:
        record = image(**FULL_IMAGE)
        registry.add(record)
        for wrong in (_OTHERS[field], None):
            with pytest.raises(Conflict):
                registry.change(record.id, {field: wrong}, name="changed")
        registry.change(record.id, {field: FULL_IMAGE[field]}, name="changed")
        assert registry.get(record.id).name == "changed"

    @pytest.mark.parametrize(
        "field", ["name", "owner", "size", "checksum", "upload_key", "upload_expires"]
    )
    def test_no_value_can_be_compared(self, registry: Registry, field: str) -> None:
        record = image()
        registry.add(record)
        with pytest.raises(Conflict):
            registry.change(record.id, {field: FULL_IMAGE[field]}, min_ram=1)
        assert registry.change(record.id, {field: None}, min_ram=1).min_ram == 1

    def test_all_fields_are_compared(self, registry: Registry) -> None:
        record = image(**FULL_IMAGE)
        registry.add(record)
        was = {field: FULL_IMAGE[field] for field in _OTHERS}
        for field, wrong in _OTHERS.items():
            with pytest.raises(Conflict):
                registry.change(record.id, was | {field: wrong}, name="changed")
        assert registry.change(record.id, was, name="changed").name == "changed"

    def test_lost_change_leaves_nothing(self, registry: Registry) -> None:
        record = image(properties={"a": "1"}, tags=frozenset({"x"}))
        registry.add(record)
        with pytest.raises(Conflict):
            registry.change(record.id, {"status": Status.SAVING}, **FULL_IMAGE)
        assert registry.get(record.id) == record

    def test_change_of_an_unknown_image(self, registry: Registry) -> None:
        with pytest.raises(NotFound):
            registry.change(image().id, {}, name="name")
        with pytest.raises(NotFound):
            registry.change(image().id, {"status": Status.QUEUED}, properties={"a": "1"})

    def test_change_of_nothing_still_compares(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        assert registry.change(record.id, {"status": Status.QUEUED}) == record
        with pytest.raises(Conflict):
            registry.change(record.id, {"status": Status.SAVING})

    @pytest.mark.parametrize(
        ("to", "moves"),
        [
            ({"name": "n"}, True),
            ({"name": None}, True),
            ({"status": Status.SAVING, "upload_key": "k"}, True),
            ({"properties": {"a": "1"}}, True),
            ({"tags": frozenset({"x"})}, True),
            ({"locations": (Location("s", "u"),)}, True),
            ({"upload_expires": 2.0}, False),
            ({"upload_store": "s", "upload_key": "k", "upload_expires": 2.0}, False),
            ({"upload_reserved": 1}, False),
            ({"upload_received": 1, "upload_started": 2.0}, False),
        ],
        ids=str,
    )
    def test_updated_at(self, registry: Registry, to: dict[str, Any], moves: bool) -> None:
        record = image()
        registry.add(record)
        before = model.now()
        changed = registry.change(record.id, {}, **to)
        if moves:
            assert before <= changed.updated_at <= model.now()
        else:
            assert changed.updated_at == START
        assert registry.get(record.id) == changed
        assert registry.change(record.id, {}, updated_at=after(1), **to).updated_at == after(1)

    def test_one_of_many_writers_wins(self, registry: Registry) -> None:
        for _ in range(10):
            record = image()
            registry.add(record)

            def take(number: int, image_id: str = record.id) -> object:
                key, was = f"key-{number}", {"status": Status.QUEUED, "upload_key": None}
                to = {"upload_key": key, "properties": {"by": key}, "tags": frozenset({key})}
                return registry.change(image_id, was, status=Status.SAVING, **to)

            key = f"key-{winner(together(8, take), Conflict)}"
            stored = registry.get(record.id)
            assert stored.upload_key == key
            assert (stored.properties, stored.tags) == ({"by": key}, frozenset({key}))

    def test_writers_of_different_images_do_not_disturb_one_another(
        self, registry: Registry
    ) -> None:
        def work(number: int) -> object:
            record = image(name=str(number))
            registry.add(record)
            for step in range(5):
                registry.change(record.id, {"min_ram": step}, min_ram=step + 1, tags={str(step)})
                registry.list(Query(viewer="project"))
            return registry.get(record.id)

        outcomes = together(8, work)
        images = [outcome for outcome in outcomes if isinstance(outcome, Image)]
        written = [(stored.name, stored.min_ram, stored.tags) for stored in images]
        assert written == [(str(number), 5, frozenset("4")) for number in range(8)], outcomes

    def test_record_and_collections_are_of_one_moment(self, registry: Registry) -> None:
        record = image(properties={"n": "0"}, tags=frozenset("0"))
        registry.add(record)

        def work(number: int) -> object:
            if number == 0:
                for step in map(str, range(1, 30)):
                    registry.change(record.id, {}, name=step, properties={"n": step}, tags={step})
                return None
            return [registry.get(record.id) for _ in range(30)]

        pages = [outcome for outcome in together(3, work) if isinstance(outcome, list)]
        images: list[Image] = [stored for page in pages for stored in page]
        assert len(images) == 60
        for stored in images:
            step = stored.name or "0"
            assert (stored.properties, stored.tags) == ({"n": step}, frozenset({step}))
