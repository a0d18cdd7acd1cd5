"""What every registry driver must do, as tests.

Subclass :class:`RegistryContract` in a test module and give a ``registry``
fixture that yields an empty registry::

    class TestMine(RegistryContract):
        @pytest.fixture
        def registry(self, tmp_path):
            with contextlib.closing(MyRegistry(...)) as registry:
                yield registry
"""

import dataclasses
import datetime
from typing import Any

import pytest

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, Error, LocationTaken, NotFound, QuotaExceeded
from imsgate.model import DELETED, Image, Location, MemberStatus, Status, Visibility
from imsgate.registry.base import Condition, Op, Query, Registry
from imsgate.testing import registry_machine
from imsgate.testing.records import START, after, image, member
from imsgate.testing.registry_jobs import JobContract, together
from imsgate.testing.registry_limits import LimitContract
from imsgate.testing.registry_lists import EVERYTHING, ListContract, everything

_FULL: dict[str, Any] = {
    "owner": "project",
    "name": "Ünï 🐧 %_'\"",
    "status": Status.SAVING,
    "visibility": Visibility.COMMUNITY,
    "disk_format": "qcow2",
    "container_format": "bare",
    "min_disk": 2**31 - 1,
    "min_ram": 2**31 - 1,
    "protected": True,
    "os_hidden": True,
    "size": 2**40 + 1,
    "virtual_size": 2**63 - 1,
    "checksum": "0" * 32,
    "os_hash_algo": "sha512",
    "os_hash_value": "f" * 128,
    "created_at": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    "updated_at": datetime.datetime(2024, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
    "properties": {"Key": "upper", "key": "lower", "key ": "", "long": "x" * 5000},
    "tags": frozenset({"t", "T", "t ", "ü"}),
    "locations": (Location("slow", "z"), Location("fast", "b"), Location("fast", "a")),
    "upload_store": "fast",
    "upload_key": "attempt-1",
    "upload_expires": 1_700_000_000.123_456,
    "upload_reserved": 2**62,
}

_CHILDREN = ("properties", "tags", "locations")

#: The fields that can stand in ``was``, each with a value that is not _FULL's.
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
    "created_at": _FULL["created_at"] + datetime.timedelta(microseconds=1),
    "updated_at": _FULL["updated_at"] - datetime.timedelta(microseconds=1),
    "upload_store": "slow",
    "upload_key": "attempt-10",
    "upload_expires": 1_700_000_000.123_457,
    "upload_reserved": -1,
}


def _winner(outcomes: list[object], losing: type[Error]) -> int:
    """The only thread that raised nothing; every other one must have raised ``losing``."""
    winners = [number for number, one in enumerate(outcomes) if not isinstance(one, Exception)]
    assert len(winners) == 1, outcomes
    assert sum(isinstance(one, losing) for one in outcomes) == len(outcomes) - 1, outcomes
    return winners[0]


class RegistryContract(ListContract, LimitContract, JobContract):
    """The promises of ``imsgate.registry.base``."""

    @pytest.fixture
    def registry(self) -> Registry:
        """An empty registry. Override this."""
        raise NotImplementedError

    # Records

    @pytest.mark.parametrize("fields", [{}, _FULL], ids=["bare", "full"])
    def test_record_comes_back_as_it_was(self, registry: Registry, fields: dict[str, Any]) -> None:
        given = image(**fields)
        registry.add(given)
        assert registry.get(given.id) == given
        assert registry.list(EVERYTHING) == [given]

    def test_long_values_come_back(self, registry: Registry) -> None:
        given = image(properties={"long": "ü" * 70_000})
        registry.add(given)
        assert registry.get(given.id).properties["long"] == given.properties["long"]

    def test_times_come_back_in_utc(self, registry: Registry) -> None:
        given = image(**_FULL)
        registry.add(given)
        found = registry.get(given.id)
        assert found.created_at.tzinfo is found.updated_at.tzinfo is datetime.UTC

    def test_record_does_not_follow_what_it_was_made_from(self, registry: Registry) -> None:
        properties = {"a": "1"}
        given = image(properties=properties)
        registry.add(given)
        properties["a"] = "2"
        assert registry.get(given.id).properties == {"a": "1"}
        registry.change(given.id, {}, properties=properties)
        properties["a"] = "3"
        assert registry.get(given.id).properties == {"a": "2"}

    def test_unknown_image(self, registry: Registry) -> None:
        with pytest.raises(NotFound):
            registry.get(image().id)
        with pytest.raises(NotFound):
            registry.recall(image().id)

    def test_living_image_is_recalled_as_it_is(self, registry: Registry) -> None:
        given = image(**_FULL)
        registry.add(given)
        assert registry.recall(given.id) == given

    @pytest.mark.parametrize("status", Status)
    def test_id_is_used_once(self, registry: Registry, status: Status) -> None:
        first = image(name="first", tags=frozenset({"first"}))
        registry.add(first)
        registry.change(first.id, {}, status=status)
        with pytest.raises(AlreadyExists):
            registry.add(image(id=first.id, tags=frozenset({"second"})))
        kept = registry.change(first.id, {})
        assert (kept.name, kept.status, kept.tags) == ("first", status, {"first"})

    @pytest.mark.parametrize("status", sorted(DELETED))
    def test_deleted_record_is_seen_by_change_and_recall(
        self, registry: Registry, status: Status
    ) -> None:
        given = image(**_FULL | {"visibility": Visibility.PUBLIC, "status": Status.QUEUED})
        registry.add(given)
        gone = registry.change(given.id, {"status": Status.QUEUED}, status=status)
        assert registry.recall(given.id) == gone
        assert gone == dataclasses.replace(given, status=status, updated_at=gone.updated_at)
        with pytest.raises(NotFound):
            registry.get(given.id)
        assert registry.list(EVERYTHING) == []
        assert registry.list(everything(conditions=[Condition("status", Op.EQ, status)])) == []
        with pytest.raises(Conflict):
            registry.change(given.id, {"status": Status.QUEUED}, status=Status.SAVING)
        assert registry.change(given.id, {"status": status}, name="still").name == "still"

    def test_closing_may_be_repeated(self, registry: Registry) -> None:
        registry.close()
        registry.close()

    # Changes

    def test_change_returns_the_record_as_it_is_then(self, registry: Registry) -> None:
        given = image(properties={"a": "1", "b": "2"}, tags=frozenset({"x"}))
        bystander = image(properties={"a": "1"}, tags=frozenset({"x"}))
        registry.add(given)
        registry.add(bystander)
        changed = registry.change(given.id, {"status": Status.QUEUED}, **_FULL)
        assert changed == registry.get(given.id) == image(id=given.id, **_FULL)
        assert registry.get(bystander.id) == bystander

    @pytest.mark.parametrize("field", _CHILDREN)
    def test_collections_are_replaced_whole(self, registry: Registry, field: str) -> None:
        given = image(**_FULL)
        registry.add(given)
        empty = type(_FULL[field])()
        for value in (empty, _FULL[field], _FULL[field]):
            to = {field: value, "updated_at": START}
            expected = dataclasses.replace(given, **to)
            assert registry.change(given.id, {}, **to) == expected
            assert registry.get(given.id) == expected

    @pytest.mark.parametrize("field", _OTHERS)
    def test_every_field_can_be_compared(self, registry: Registry, field: str) -> None:
        given = image(**_FULL)
        registry.add(given)
        for wrong in (_OTHERS[field], None):
            with pytest.raises(Conflict):
                registry.change(given.id, {field: wrong}, name="changed")
        registry.change(given.id, {field: _FULL[field]}, name="changed")
        assert registry.get(given.id).name == "changed"

    @pytest.mark.parametrize(
        "field", ["name", "owner", "size", "checksum", "upload_key", "upload_expires"]
    )
    def test_no_value_can_be_compared(self, registry: Registry, field: str) -> None:
        given = image()
        registry.add(given)
        with pytest.raises(Conflict):
            registry.change(given.id, {field: _FULL[field]}, min_ram=1)
        assert registry.change(given.id, {field: None}, min_ram=1).min_ram == 1

    def test_all_fields_are_compared(self, registry: Registry) -> None:
        given = image(**_FULL)
        registry.add(given)
        was = {field: _FULL[field] for field in _OTHERS}
        for field, wrong in _OTHERS.items():
            with pytest.raises(Conflict):
                registry.change(given.id, was | {field: wrong}, name="changed")
        assert registry.change(given.id, was, name="changed").name == "changed"

    def test_lost_change_leaves_nothing(self, registry: Registry) -> None:
        given = image(properties={"a": "1"}, tags=frozenset({"x"}))
        registry.add(given)
        with pytest.raises(Conflict):
            registry.change(given.id, {"status": Status.SAVING}, **_FULL)
        assert registry.get(given.id) == given

    def test_change_of_an_unknown_image(self, registry: Registry) -> None:
        with pytest.raises(NotFound):
            registry.change(image().id, {}, name="name")
        with pytest.raises(NotFound):
            registry.change(image().id, {"status": Status.QUEUED}, properties={"a": "1"})

    def test_change_of_nothing_still_compares(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        assert registry.change(given.id, {"status": Status.QUEUED}) == given
        with pytest.raises(Conflict):
            registry.change(given.id, {"status": Status.SAVING})

    def test_whose_data_lies_where(self, registry: Registry) -> None:
        place = Location("fast", "a")
        assert not registry.holds(place)
        given = image(locations=(Location("slow", "z"), place))
        registry.add(given)
        registry.change(given.id, {}, status=Status.PENDING_DELETE)
        assert registry.holds(place)
        for other in (Location("fast", "A"), Location("fast", "z"), Location("slow", "a")):
            assert not registry.holds(other)
        registry.change(given.id, {}, locations=())
        assert not registry.holds(place)

    def test_a_place_is_one_images(self, registry: Registry) -> None:
        place, other = Location("fast", "a"), Location("fast", "b")
        first, second = image(locations=(place,)), image(locations=(other,))
        for one in (first, second):
            registry.add(one)
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
        ],
        ids=str,
    )
    def test_updated_at(self, registry: Registry, to: dict[str, Any], moves: bool) -> None:
        given = image()
        registry.add(given)
        before = model.now()
        changed = registry.change(given.id, {}, **to)
        if moves:
            assert before <= changed.updated_at <= model.now()
        else:
            assert changed.updated_at == START
        assert registry.get(given.id) == changed
        assert registry.change(given.id, {}, updated_at=after(1), **to).updated_at == after(1)

    # Races

    def test_one_of_many_writers_wins(self, registry: Registry) -> None:
        for _ in range(10):
            given = image()
            registry.add(given)

            def take(number: int, image_id: str = given.id) -> object:
                key, was = f"key-{number}", {"status": Status.QUEUED, "upload_key": None}
                to = {"upload_key": key, "properties": {"by": key}, "tags": frozenset({key})}
                return registry.change(image_id, was, status=Status.SAVING, **to)

            winner = f"key-{_winner(together(8, take), Conflict)}"
            kept = registry.get(given.id)
            assert kept.upload_key == winner
            assert (kept.properties, kept.tags) == ({"by": winner}, {winner})

    def test_one_of_many_creators_wins(self, registry: Registry) -> None:
        for _ in range(5):
            image_id = image().id

            def create(number: int, image_id: str = image_id) -> object:
                return registry.add(image(id=image_id, properties={"by": str(number)}))

            winner = _winner(together(8, create), AlreadyExists)
            assert registry.get(image_id).properties == {"by": str(winner)}

    def test_a_place_becomes_one_images(self, registry: Registry) -> None:
        for round_ in range(5):
            place, rivals = Location("fast", str(round_)), [image() for _ in range(8)]
            for rival in rivals:
                registry.add(rival)

            def take(number: int, place: Location = place, rivals: list[Image] = rivals) -> object:
                return registry.change(rivals[number].id, {}, locations=(place,))

            winner = _winner(together(8, take), LocationTaken)
            kept = [registry.get(rival.id).locations for rival in rivals]
            assert kept == [(place,) if number == winner else () for number in range(8)]

    def test_writers_of_different_images_do_not_disturb_one_another(
        self, registry: Registry
    ) -> None:
        def work(number: int) -> object:
            given = image(name=str(number))
            registry.add(given)
            for step in range(5):
                registry.change(given.id, {"min_ram": step}, min_ram=step + 1, tags={str(step)})
                registry.list(Query(viewer="project"))
            return registry.get(given.id)

        outcomes = together(8, work)
        assert [
            (one.name, one.min_ram, one.tags) for one in outcomes if isinstance(one, Image)
        ] == [(str(number), 5, {"4"}) for number in range(8)], outcomes

    def test_record_and_collections_are_of_one_moment(self, registry: Registry) -> None:
        given = image(properties={"n": "0"}, tags=frozenset("0"))
        registry.add(given)

        def work(number: int) -> object:
            if number == 0:
                for step in map(str, range(1, 30)):
                    registry.change(given.id, {}, name=step, properties={"n": step}, tags={step})
                return None
            return [registry.get(given.id) for _ in range(30)]

        seen = [one for found in together(3, work) if isinstance(found, list) for one in found]
        assert len(seen) == 60
        for one in seen:
            assert (one.properties, one.tags) == ({"n": one.name or "0"}, {one.name or "0"})

    # The sweep

    def test_expired(self, registry: Registry) -> None:
        for status in Status:
            registry.add(image(name=f"late {status}", status=status, upload_expires=9.999_999))
            registry.add(image(name=f"early {status}", status=status, upload_expires=10.0))
            registry.add(image(name=f"none {status}", status=status))
        late = {f"late {status}" for status in Status}
        pending = {"early pending_delete", "none pending_delete"}
        listed = registry.expired(10.0)
        assert sorted(str(one.name) for one in listed) == sorted(late | pending)

    def test_expired_images_are_whole(self, registry: Registry) -> None:
        given = image(**_FULL)
        registry.add(given)
        assert registry.expired(2e9) == [given]

    # Members

    def test_members_come_back_oldest_first(self, registry: Registry) -> None:
        given, other = image(), image()
        for one in (given, other):
            registry.add(one)
        added = [
            member(given.id, "c", created_at=after(1)),
            member(given.id, "b", created_at=after(2), status=MemberStatus.ACCEPTED),
            member(given.id, "a", created_at=after(3)),
        ]
        for record in [added[1], added[2], added[0], member(other.id, "a")]:
            registry.add_member(record)
        assert registry.members(given.id) == added
        assert registry.members(image().id) == []

    def test_member_is_added_once(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        registry.add_member(member(given.id, "a", status=MemberStatus.ACCEPTED))
        with pytest.raises(AlreadyExists):
            registry.add_member(member(given.id, "a"))
        registry.add_member(member(given.id, "A"))
        statuses = {one.member_id: one.status for one in registry.members(given.id)}
        assert statuses == {"a": MemberStatus.ACCEPTED, "A": MemberStatus.PENDING}

    def test_members_are_limited(self, registry: Registry) -> None:
        given, other = image(), image()
        for one in (given, other):
            registry.add(one)
            registry.add_member(member(one.id, "a"), 1)
        registry.add_member(member(given.id, "b"), 2)
        for most in (0, 1, 2):
            with pytest.raises(QuotaExceeded):
                registry.add_member(member(given.id, "c"), most)
        assert [one.member_id for one in registry.members(given.id)] == ["a", "b"]
        registry.remove_member(given.id, "a")
        registry.add_member(member(given.id, "c"), 2)
        registry.add_member(member(given.id, "d"))

    def test_many_members_at_once_keep_within_the_limit(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        registry.add_member(member(given.id, "first"), 3)
        outcomes = together(8, lambda number: registry.add_member(member(given.id, str(number)), 3))
        assert outcomes.count(None) == 2, outcomes
        assert all(isinstance(one, QuotaExceeded | None) for one in outcomes), outcomes
        assert len(registry.members(given.id)) == 3

    def test_member_answers(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        registry.add_member(member(given.id, "a"))
        registry.add_member(member(given.id, "b"))
        before = model.now()
        changed = registry.change_member(given.id, "a", MemberStatus.REJECTED)
        assert before <= changed.updated_at <= model.now()
        expected = member(given.id, "a", status="rejected", updated_at=changed.updated_at)
        assert changed == expected
        assert registry.members(given.id) == [changed, member(given.id, "b")]

    def test_member_leaves_and_returns(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        for name in ("a", "b"):
            registry.add_member(member(given.id, name))
        registry.remove_member(given.id, "a")
        assert registry.members(given.id) == [member(given.id, "b")]
        registry.add_member(member(given.id, "a"))
        assert len(registry.members(given.id)) == 2

    @pytest.mark.parametrize("gone", [None, *sorted(DELETED)])
    def test_members_of_nothing(self, registry: Registry, gone: Status | None) -> None:
        given = image()
        if gone:
            registry.add(given)
            registry.add_member(member(given.id, "a"))
            registry.change(given.id, {}, status=gone)
        with pytest.raises(NotFound):
            registry.add_member(member(given.id, "b"))
        assert registry.members(given.id) == []
        _refuses_member(registry, given.id, "a")

    def test_unknown_member(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        registry.add_member(member(given.id, "a"))
        _refuses_member(registry, given.id, "b")
        assert registry.members(given.id) == [member(given.id, "a")]

    # Everything at once

    def test_random_walk(self, registry: Registry) -> None:
        registry_machine.walk(registry)


def _refuses_member(registry: Registry, image_id: str, member_id: str) -> None:
    with pytest.raises(NotFound):
        registry.change_member(image_id, member_id, MemberStatus.ACCEPTED)
    with pytest.raises(NotFound):
        registry.remove_member(image_id, member_id)
