"""The part of the registry contract about lists: who sees what, filters, order, pages."""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import pytest

from imsgate.model import Image, MemberStatus, Status, Visibility
from imsgate.registry.base import LIST_BATCH_IMAGES, Condition, Op, Query, Registry
from imsgate.testing.records import after, image, member

#: Sees every image, community ones included.
EVERYTHING = Query(admin=True, all_visibilities=True, limit=1000)


def everything(**query: Any) -> Query:
    return dataclasses.replace(EVERYTHING, **query)


def names(registry: Registry, query: Query) -> list[str]:
    """The names of the images listed."""
    return [str(image.name) for image in registry.list(query)]


# Who sees what


def _add_projects(registry: Registry) -> None:
    """Images of projects a and b and of no project, named by owner and visibility or status.

    Some of b's are shared with a.
    """
    for owner in ("a", "b"):
        for visibility in Visibility:
            registry.add(image(name=f"{owner}-{visibility}", owner=owner, visibility=visibility))
    for status in MemberStatus:
        shared = image(name=f"b-{status}", owner="b", visibility=Visibility.SHARED)
        registry.add(shared)
        registry.add_member(member(shared.id, "a", status=status))
        registry.add_member(member(shared.id, "z", status=MemberStatus.PENDING))
    formerly = image(name="b-formerly", owner="b", visibility=Visibility.PRIVATE)
    registry.add(formerly)
    registry.add_member(member(formerly.id, "a", status=MemberStatus.ACCEPTED))
    registry.add(image(name="nobodys", owner=None, visibility=Visibility.PRIVATE))


_PUBLIC, _COMMUNITY = "a-public b-public", "a-community b-community"
_A = "a-private a-community a-shared a-public b-public"
_B = "b-private b-community b-shared b-public b-pending b-accepted b-rejected b-formerly a-public"
_NO_COMMUNITY = (
    "a-private a-shared a-public b-private b-shared b-public b-pending b-accepted b-rejected "
    "b-formerly nobodys"
)

_WHO_SEES_WHAT: list[tuple[dict[str, Any], str]] = [
    # A user without a project
    ({}, _PUBLIC),
    ({"member_status": None}, _PUBLIC),
    ({"all_visibilities": True}, f"{_PUBLIC} {_COMMUNITY}"),
    ({"visibility": Visibility.PUBLIC}, _PUBLIC),
    ({"visibility": Visibility.COMMUNITY}, _COMMUNITY),
    ({"visibility": Visibility.SHARED}, ""),
    ({"visibility": Visibility.PRIVATE}, ""),
    # A project with which another one shares images
    ({"viewer": "a"}, f"{_A} b-accepted"),
    ({"viewer": "a", "member_status": MemberStatus.PENDING}, f"{_A} b-pending"),
    ({"viewer": "a", "member_status": MemberStatus.REJECTED}, f"{_A} b-rejected"),
    ({"viewer": "a", "member_status": None}, f"{_A} b-pending b-accepted b-rejected"),
    ({"viewer": "a", "all_visibilities": True}, f"{_A} b-accepted b-community"),
    ({"viewer": "a", "visibility": Visibility.PUBLIC}, _PUBLIC),
    ({"viewer": "a", "visibility": Visibility.COMMUNITY}, _COMMUNITY),
    ({"viewer": "a", "visibility": Visibility.SHARED}, "a-shared b-accepted"),
    (
        {"viewer": "a", "visibility": Visibility.SHARED, "member_status": None},
        "a-shared b-pending b-accepted b-rejected",
    ),
    ({"viewer": "a", "visibility": Visibility.PRIVATE}, "a-private"),
    # The project that shares, a project without images, one whose name differs in case only
    ({"viewer": "b"}, _B),
    ({"viewer": "b", "all_visibilities": True}, f"{_B} a-community"),
    ({"viewer": "c"}, _PUBLIC),
    ({"viewer": "c", "all_visibilities": True}, f"{_PUBLIC} {_COMMUNITY}"),
    ({"viewer": "A", "member_status": None}, _PUBLIC),
    # Administrators
    ({"admin": True}, _NO_COMMUNITY),
    ({"admin": True, "viewer": "a"}, f"{_NO_COMMUNITY} a-community"),
    ({"admin": True, "all_visibilities": True}, f"{_NO_COMMUNITY} {_COMMUNITY}"),
    ({"admin": True, "visibility": Visibility.PUBLIC}, _PUBLIC),
    ({"admin": True, "visibility": Visibility.COMMUNITY}, _COMMUNITY),
    (
        {"admin": True, "viewer": "a", "visibility": Visibility.SHARED},
        "a-shared b-shared b-pending b-accepted b-rejected",
    ),
    (
        {"admin": True, "visibility": Visibility.PRIVATE},
        "a-private b-private b-formerly nobodys",
    ),
]

# Conditions

_EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))

_SIZED = [
    image(name="one", size=1, id="11", disk_format="raw", protected=True, created_at=after(1)),
    image(name="two", size=2, id="12", disk_format="qcow2", created_at=after(2), min_ram=7),
    image(
        name="big",
        size=2**40,
        id="13",
        disk_format="RAW",
        created_at=after(3),
        status=Status.ACTIVE,
    ),
    image(name="nil", size=None, id="14", disk_format=None, created_at=after(4)),
]

_CONDITIONS: list[tuple[str, Op, Any, str]] = [
    ("size", Op.EQ, 2, "two"),
    ("size", Op.EQ, 3, ""),
    ("size", Op.EQ, None, "nil"),
    ("size", Op.NEQ, 2, "one big"),
    ("size", Op.NEQ, None, "one two big"),
    ("size", Op.GT, 1, "two big"),
    ("size", Op.GT, None, ""),
    ("size", Op.GTE, 2, "two big"),
    ("size", Op.GTE, None, ""),
    ("size", Op.LT, 2, "one"),
    ("size", Op.LT, None, ""),
    ("size", Op.LTE, 2, "one two"),
    ("size", Op.LTE, None, ""),
    ("size", Op.IN, (1, 2**40, 5), "one big"),
    ("size", Op.IN, (None, 1), "one"),
    ("size", Op.IN, (None,), ""),
    ("size", Op.IN, (), ""),
    ("disk_format", Op.EQ, "raw", "one"),
    ("disk_format", Op.EQ, "raw ", ""),
    ("disk_format", Op.NEQ, "raw", "two big"),
    ("disk_format", Op.IN, ("raw", "RAW"), "one big"),
    ("disk_format", Op.LT, "a", "big"),
    ("name", Op.EQ, "%", ""),
    ("name", Op.GTE, "one", "one two"),
    ("id", Op.IN, (_SIZED[0].id, _SIZED[3].id), "one nil"),
    ("protected", Op.EQ, True, "one"),
    ("protected", Op.NEQ, True, "two big nil"),
    ("min_ram", Op.GT, 0, "two"),
    ("status", Op.EQ, "active", "big"),
    ("status", Op.EQ, Status.ACTIVE, "big"),
    ("status", Op.EQ, "no such status", ""),
    ("status", Op.IN, (Status.QUEUED, Status.SAVING), "one two nil"),
    ("visibility", Op.NEQ, Visibility.SHARED, ""),
    ("created_at", Op.EQ, after(2), "two"),
    ("created_at", Op.GT, after(2), "big nil"),
    ("created_at", Op.GT, after(2).astimezone(_EAST), "big nil"),
    ("created_at", Op.GTE, after(2), "two big nil"),
    ("created_at", Op.LT, after(2), "one"),
    ("created_at", Op.LTE, after(2), "one two"),
]

# Order

_SORTED = [
    image(name="b", size=2, id="3", created_at=after(0), updated_at=after(9)),
    image(name="B", size=None, id="5", created_at=after(0), updated_at=after(8)),
    image(name=None, size=2, id="1", created_at=after(1)),
    image(name="a", size=None, id="4", created_at=after(1), disk_format="raw"),
    image(name="", size=0, id="2", created_at=after(0), disk_format="ami", protected=True),
    image(name=None, size=None, id="6", created_at=after(2)),
    image(name="a", size=2, id="7", created_at=after(1), status=Status.ACTIVE),
]

_ORDERS: list[tuple[list[tuple[str, bool]], str]] = [
    ([], "6741532"),
    ([("created_at", True)], "6741532"),
    ([("created_at", False)], "2351476"),
    ([("id", False)], "1234567"),
    ([("id", True)], "7654321"),
    ([("updated_at", True)], "3567412"),
    ([("name", False)], "1625473"),
    ([("name", True)], "3745261"),
    ([("size", False)], "5462317"),
    ([("size", True)], "7132645"),
    ([("size", False), ("name", True)], "4562371"),
    ([("size", True), ("name", False)], "1732654"),
    ([("name", False), ("size", True), ("id", True)], "1625743"),
    ([("disk_format", False), ("created_at", True)], "6715324"),
    ([("protected", True), ("status", False), ("id", False)], "2713456"),
    ([("size", True), ("size", False), ("id", False)], "1372456"),
]


class ListContract:
    """The promises of ``imsgate.registry.base`` about ``list``."""

    @pytest.mark.parametrize(
        ("query", "expected"),
        _WHO_SEES_WHAT,
        ids=[" ".join(map(str, query.values())) or "nobody" for query, _ in _WHO_SEES_WHAT],
    )
    def test_who_sees_what(self, registry: Registry, query: dict[str, Any], expected: str) -> None:
        _add_projects(registry)
        assert sorted(names(registry, Query(**query))) == sorted(expected.split())

    @pytest.mark.parametrize(("field", "op", "value", "expected"), _CONDITIONS, ids=str)
    def test_condition(
        self, registry: Registry, field: str, op: Op, value: Any, expected: str
    ) -> None:
        for record in _SIZED:
            registry.add(record)
        query = everything(conditions=[Condition(field, op, value)], sort=[("created_at", False)])
        assert names(registry, query) == expected.split()

    @pytest.mark.parametrize(
        ("field", "op", "value", "expected"),
        [
            ("size", Op.EQ, 2, "two nil"),
            ("size", Op.LT, 2, "one nil"),
            ("size", Op.IN, (1, 2), "one two nil"),
            ("size", Op.IN, (), "nil"),
            ("size", Op.NEQ, None, "one two big nil"),
            ("disk_format", Op.NEQ, "raw", "two big nil"),
            ("name", Op.EQ, "one", "one"),
        ],
        ids=str,
    )
    def test_condition_that_no_value_satisfies_too(
        self, registry: Registry, field: str, op: Op, value: Any, expected: str
    ) -> None:
        for record in _SIZED:
            registry.add(record)
        conditions = [Condition(field, op, value, or_none=True)]
        query = everything(conditions=conditions, sort=[("created_at", False)])
        assert names(registry, query) == expected.split()

    def test_all_conditions_must_hold(self, registry: Registry) -> None:
        for record in _SIZED:
            registry.add(record)
        conditions = [Condition("size", Op.GT, 1), Condition("size", Op.LT, 3)]
        assert names(registry, everything(conditions=conditions)) == ["two"]

    @pytest.mark.parametrize(
        ("properties", "expected"),
        [
            ({"os": "linux"}, "both first"),
            ({"os": "Linux"}, "case"),
            ({"OS": "linux"}, "key"),
            ({"os": "linux "}, ""),
            ({"os": "lin%"}, ""),
            ({"os": "linux", "arch": "arm"}, "both"),
            ({"os": "linux", "arch": "arm", "none": ""}, ""),
            ({"arch": "linux"}, ""),
            ({"none": ""}, ""),
        ],
        ids=str,
    )
    def test_properties(
        self, registry: Registry, properties: dict[str, str], expected: str
    ) -> None:
        registry.add(image(name="first", properties={"os": "linux", "arch": "x86"}))
        registry.add(image(name="both", properties={"os": "linux", "arch": "arm"}))
        registry.add(image(name="case", properties={"os": "Linux", "arch": "arm"}))
        registry.add(image(name="key", properties={"OS": "linux"}))
        assert sorted(names(registry, everything(properties=properties))) == expected.split()

    @pytest.mark.parametrize(
        ("tags", "expected"),
        [("x", "both x"), ("X", "upper"), ("x,y", "both"), ("x,z", ""), ("x ", "")],
    )
    def test_tags(self, registry: Registry, tags: str, expected: str) -> None:
        registry.add(image(name="x", tags=frozenset({"x"})))
        registry.add(image(name="both", tags=frozenset({"x", "y"})))
        registry.add(image(name="upper", tags=frozenset({"X", "y"})))
        assert (
            sorted(names(registry, everything(tags=frozenset(tags.split(","))))) == expected.split()
        )

    def test_as_many_tags_and_properties_as_a_request_can_name(self, registry: Registry) -> None:
        words = [f"{number:04}" for number in range(1200)]
        for count in (2, 1199, 1200):
            tags, properties = frozenset(words[:count]), dict.fromkeys(words[:count], "")
            registry.add(image(name=str(count), tags=tags, properties=properties))
        assert names(registry, everything(tags=frozenset(words))) == ["1200"]
        assert names(registry, everything(properties=dict.fromkeys(words, ""))) == ["1200"]

    def test_an_order_may_name_a_field_again_and_again(self, registry: Registry) -> None:
        for record in _SORTED:
            registry.add(record)
        once = registry.list(everything(sort=[("name", False)]))
        again = everything(sort=[("name", False)] * 3000, limit=3)
        assert _paged(registry, again) == once

    @pytest.mark.parametrize(("sort", "expected"), _ORDERS, ids=str)
    def test_order_and_pages(
        self, registry: Registry, sort: list[tuple[str, bool]], expected: str
    ) -> None:
        for record in _SORTED:
            registry.add(record)
        whole = registry.list(everything(sort=sort))
        assert "".join(record.id for record in whole) == expected
        for limit in (1, 2, 3, 7, 8):
            assert _paged(registry, everything(sort=sort, limit=limit)) == whole

    def test_page_starts_behind_a_marker_that_has_left_the_list(self, registry: Registry) -> None:
        for record in _SORTED:
            registry.add(record)
        order = everything(sort=[("name", True)])
        marker = registry.list(order)[2]
        registry.change(marker.id, {}, name="zzz", status=Status.PENDING_DELETE)
        page = registry.list(dataclasses.replace(order, marker=marker))
        assert "".join(record.id for record in page) == "5261"

    def test_no_page_is_longer_than_its_limit(self, registry: Registry) -> None:
        assert registry.list(EVERYTHING) == []
        for record in _SORTED:
            registry.add(record)
        assert [len(registry.list(everything(limit=limit))) for limit in (0, 1, 6)] == [0, 1, 6]

    def test_page_that_is_long_enough_ends(self, registry: Registry) -> None:
        for number in range(LIST_BATCH_IMAGES + 10):
            registry.add(image(created_at=after(number)))
        whole = registry.list(EVERYTHING)
        asked: list[int] = []

        def is_enough(images: Sequence[Image]) -> bool:
            asked.append(len(images))
            assert list(images) == whole[: len(images)]
            return len(images) > LIST_BATCH_IMAGES // 2

        page = registry.list(EVERYTHING, is_enough)
        assert page == whole[: len(page)]
        assert asked[-1] == len(page)
        assert LIST_BATCH_IMAGES // 2 < len(page) <= LIST_BATCH_IMAGES
        assert registry.list(EVERYTHING, lambda images: False) == whole


def _paged(registry: Registry, query: Query) -> list[Image]:
    """The images of all pages, in order."""
    images: list[Image] = []
    while page := registry.list(query):
        assert len(page) <= query.limit
        images += page
        assert len(images) <= len(_SORTED), "the pages never end"
        query = dataclasses.replace(query, marker=page[-1])
    return images
