"""Random walks: each step is made on a registry and on the memory registry, and compared."""

import dataclasses
import itertools
import operator
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from imsgate.errors import Error, LocationTaken
from imsgate.model import Limits, Location, MemberStatus, Status, Visibility, may_become
from imsgate.registry.base import Condition, Op, Query, Registry
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.records import START, after, image, member
from imsgate.testing.registries.statuses import path

_RUNS = itertools.count()

_PROJECTS = st.sampled_from(["a", "b", "A"])
_TEXTS = st.sampled_from([None, "", "a", "A", "a ", "aa", "é", "z", "%"])
_SIZES = st.sampled_from([None, 0, 1, 2**33])
_TIMES = st.integers(0, 3).map(after)
_WORDS = st.sampled_from(["a", "A", "a ", "é"])

_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "owner": st.none() | _PROJECTS,
    "name": _TEXTS,
    "status": st.sampled_from(Status),
    "visibility": st.sampled_from(Visibility),
    "disk_format": st.sampled_from([None, "raw", "qcow2"]),
    "min_ram": st.integers(0, 2),
    "protected": st.booleans(),
    "size": _SIZES,
    "created_at": _TIMES,
    "updated_at": _TIMES,
    "upload_key": _TEXTS,
    "upload_expires": st.sampled_from([None, 1.0, 1.000_001, 1e9]),
}
_CHILDREN: dict[str, st.SearchStrategy[Any]] = {
    "properties": st.dictionaries(_WORDS, _WORDS, max_size=3),
    "tags": st.frozensets(_WORDS, max_size=3),
    "locations": st.lists(st.builds(Location, _WORDS, _WORDS), max_size=2).map(tuple),
}

_LIMITS = st.builds(
    Limits,
    _PROJECTS,
    st.fixed_dictionaries(
        {},
        optional={
            "image_size_total": st.sampled_from([0, 1, 2**33]),
            "image_stage_total": st.sampled_from([0, 1, 2**33]),
            "image_count_total": st.integers(0, 3),
            "image_count_uploading": st.integers(0, 2),
        },
    ),
)

_some_fields = st.fixed_dictionaries({}, optional=_FIELDS | _CHILDREN)
_counted_fields = st.fixed_dictionaries(
    {}, optional=_FIELDS | _CHILDREN | {"upload_reserved": st.sampled_from([-1, 0, 1, 2**33])}
)
_few_columns = st.fixed_dictionaries({}, optional=_FIELDS)


@st.composite
def _conditions(draw: st.DrawFn) -> Condition:
    field = draw(st.sampled_from(sorted(_FIELDS)))
    op = draw(st.sampled_from(Op))
    values = _FIELDS[field]
    value = draw(st.lists(values, max_size=2).map(tuple) if op is Op.IN else values)
    return Condition(field, op, value, draw(st.booleans()))


_sorts = st.lists(st.tuples(st.sampled_from([*_FIELDS, "id"]), st.booleans()), max_size=3)

_wide_queries = st.builds(
    Query,
    admin=st.just(True),
    all_visibilities=st.just(True),
    conditions=st.lists(_conditions(), max_size=1),
    sort=_sorts,
    limit=st.integers(1, 3),
)
_narrow_queries = st.builds(
    Query,
    viewer=st.none() | _PROJECTS,
    admin=st.booleans(),
    visibility=st.none() | st.sampled_from(Visibility),
    all_visibilities=st.booleans(),
    member_status=st.none() | st.sampled_from(MemberStatus),
    conditions=st.just(()) | st.lists(_conditions(), max_size=2),
    properties=st.just({}) | _CHILDREN["properties"],
    tags=st.just(frozenset()) | _CHILDREN["tags"],
    sort=_sorts,
    limit=st.integers(1, 5),
)


class _Walk(RuleBasedStateMachine):
    """Each step is made on both registries, which must return or raise the same."""

    images = Bundle("images")

    registry: Registry

    def __init__(self) -> None:
        super().__init__()
        self.model = MemoryRegistry()
        self.run = next(_RUNS)
        self.ids: list[str] = []

    def both(self, step: Callable[[Registry], Any]) -> Any:
        outcome, expected = _outcome(step, self.registry), _outcome(step, self.model)
        assert outcome == expected
        return outcome

    @initialize(target=images, records=st.lists(_some_fields, min_size=2, max_size=6))
    def start(self, records: list[dict[str, Any]]) -> Any:
        return multiple(*map(self.add_one, records))

    @rule(target=images, fields=_some_fields)
    def add(self, fields: dict[str, Any]) -> str:
        return self.add_one(fields)

    def add_one(self, fields: dict[str, Any]) -> str:
        number = len(self.ids)
        image_id = f"{number * 7 % 10}-{number}-{self.run}"  # sorts differently than by age
        self.ids.append(image_id)
        record = image(**fields, id=image_id)
        if self.both(lambda registry: registry.add(record)) is LocationTaken:
            elsewhere = dataclasses.replace(record, locations=())
            self.both(lambda registry: registry.add(elsewhere))
        return image_id

    @rule(image_id=images)
    def add_again(self, image_id: str) -> None:
        record = image(id=image_id)
        self.both(lambda registry: registry.add(record))

    @rule(image_id=images)
    def get(self, image_id: str) -> None:
        self.both(lambda registry: registry.get(image_id))
        self.both(lambda registry: registry.recall(image_id))

    @rule(image_id=images, was=_few_columns, to=_some_fields, updated_at=_TIMES)
    def change(
        self, image_id: str, was: dict[str, Any], to: dict[str, Any], updated_at: Any
    ) -> None:
        to = {"updated_at": updated_at} | self.legal(image_id, to)
        self.both(lambda registry: registry.change(image_id, was, **to))

    @rule(image_id=images, fields=st.sets(st.sampled_from(sorted(_FIELDS))), to=_some_fields)
    def change_knowing(self, image_id: str, fields: set[str], to: dict[str, Any]) -> None:
        now = self.model.change(image_id, {})
        was = {field: getattr(now, field) for field in fields}
        to = {"updated_at": START} | self.legal(image_id, to)
        self.both(lambda registry: registry.change(image_id, was, **to))

    @rule(image_id=images, status=st.sampled_from(Status))
    def change_status(self, image_id: str, status: Status) -> None:
        """Legal or not."""
        self.both(lambda registry: registry.change(image_id, {}, status=status, updated_at=START))

    def legal(self, image_id: str, to: dict[str, Any]) -> dict[str, Any]:
        """``to`` without a status that the image cannot change to, which would refuse it all."""
        before = self.model.recall(image_id).status
        if may_become(before, to.get("status", before)):
            return to
        return {field: value for field, value in to.items() if field != "status"}

    @rule(image_id=images, member_id=_PROJECTS, status=st.sampled_from(MemberStatus))
    def share(self, image_id: str, member_id: str, status: MemberStatus) -> None:
        record = member(image_id, member_id, status=status)
        self.both(lambda registry: registry.add_member(record))

    @rule(image_id=images, member_id=_PROJECTS, status=st.sampled_from(MemberStatus))
    def answer(self, image_id: str, member_id: str, status: MemberStatus) -> None:
        self.both(lambda registry: registry.change_member(image_id, member_id, status).status)

    @rule(image_id=images, member_id=_PROJECTS)
    def unshare(self, image_id: str, member_id: str) -> None:
        self.both(lambda registry: registry.remove_member(image_id, member_id))

    @rule(image_id=images)
    def members(self, image_id: str) -> None:
        self.both(lambda r: [(one.member_id, one.status) for one in r.members(image_id)])

    @rule(query=_wide_queries | _narrow_queries)
    def pages(self, query: Query) -> None:
        while page := self.both(operator.methodcaller("list", query)):
            query = dataclasses.replace(query, marker=page[-1])

    @rule(now=st.sampled_from([1.0, 1.000_001, 2.0]))
    def expired(self, now: float) -> None:
        self.both(lambda registry: sorted(one.id for one in registry.expired(now)))

    def teardown(self) -> None:
        for image_id in self.ids:
            for status in path(self.registry.recall(image_id).status, Status.DELETED):
                self.registry.change(image_id, {}, status=status)
            self.registry.change(image_id, {}, locations=(), upload_expires=None)


class _LimitedWalk(_Walk):
    """Also changes within limits or beyond them, and a project's usage."""

    @rule(image_id=_Walk.images, within=_LIMITS, to=_counted_fields)
    def change_within(self, image_id: str, within: Limits, to: dict[str, Any]) -> None:
        to = {"updated_at": START} | self.legal(image_id, to)
        self.both(lambda registry: registry.change(image_id, {}, within, **to))

    @rule(project=_PROJECTS)
    def usage(self, project: str) -> None:
        self.both(lambda registry: registry.usage(project))


def _outcome(step: Callable[[Registry], Any], registry: Registry) -> Any:
    try:
        return step(registry)
    except (Error, ValueError) as error:
        return type(error)


def walk(registry: Registry, *, limited: bool = False, **overrides: Any) -> None:
    """Raise AssertionError at the first difference. Leaves deleted records behind.

    With ``limited``, some changes must keep within limits. ``overrides`` are settings of
    hypothesis.
    """
    options: dict[str, Any] = {
        "max_examples": 50,
        "stateful_step_count": 20,
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
    }
    walker = type("Walk", (_LimitedWalk if limited else _Walk,), {"registry": registry})
    run_state_machine_as_test(walker, settings=settings(**(options | overrides)))
