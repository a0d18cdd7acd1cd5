"""The query string of ``GET /v2/images``, from text to a registry query. Pure.

Image API v2, Images: List images.
"""

import csv
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from imsgate import errors
from imsgate.api.description import NUMBER, TEXT, Schema
from imsgate.model import MemberStatus, Visibility
from imsgate.registry.base import Condition, Op, Query

SORT_KEYS = (
    "name",
    "status",
    "container_format",
    "disk_format",
    "size",
    "id",
    "created_at",
    "updated_at",
)
_DIRECTIONS = ("asc", "desc")
_TEXT = frozenset({"name", "id", "status", "container_format", "disk_format"})
_EXACT = frozenset({"owner", "checksum", "os_hash_algo", "os_hash_value"})
_NUMBER = frozenset({"size", "virtual_size", "min_ram", "min_disk"})
_TIME = frozenset({"created_at", "updated_at"})
_ORDERS = frozenset({"neq", "gt", "gte", "lt", "lte"})
_BOOL = frozenset({"protected", "os_hidden"})

#: The values that a list of images is filtered by, without custom properties.
_FILTERS: Mapping[str, Schema] = {
    **dict.fromkeys(sorted(_TEXT | _EXACT), TEXT),
    **dict.fromkeys(sorted(_NUMBER), NUMBER),
    **{f"{name}_{end}": NUMBER for name in ("size", "virtual_size") for end in ("min", "max")},
    **{name: {"type": "boolean"} for name in sorted(_BOOL)},
    **{name: {**TEXT, "description": "gt:2026-01-01T00:00:00Z"} for name in sorted(_TIME)},
    "tag": {"type": "array", "items": TEXT},
    "visibility": {"enum": ["all", *Visibility]},
    "member_status": {"enum": ["all", *MemberStatus]},
}
#: The query parameters of a list of images.
PARAMETERS: Mapping[str, Schema] = {
    **_FILTERS,
    "limit": NUMBER,
    "marker": {**TEXT, "description": "The id of the last image of the previous page"},
    "sort": {**TEXT, "description": "name:asc,size"},
    "sort_key": {"type": "array", "items": {"enum": list(SORT_KEYS)}},
    "sort_dir": {"type": "array", "items": {"enum": list(_DIRECTIONS)}},
}

Params = Iterable[tuple[str, str]]


def parse(params: Params, viewer: str | None, *, admin: bool, default: int, maximum: int) -> Query:
    """The query of the project ``viewer``, without its marker. Raises BadQuery.

    A page has ``default`` images if there is no ``limit``, and at most ``maximum``. As in
    Glance, a parameter that is not an attribute is a custom property, and the last value of a
    repeated parameter counts; of tags and times, all values count.
    """
    params = list(params)
    single = {key: text for key, text in params if key not in _REPEATED}
    conditions = [_time_condition(key, text) for key, text in params if key in _TIME]
    properties: dict[str, str] = {}
    for key, text in single.items():
        if key in _PAGING | _IGNORED:
            continue
        condition = _condition(key, text)
        if condition:
            conditions.append(condition)
        else:
            properties[key] = text
    if not any(condition.field == "os_hidden" for condition in conditions):
        conditions.append(Condition("os_hidden", Op.EQ, False))
    visibility = single.get("visibility")
    return Query(
        viewer=viewer,
        admin=admin,
        visibility=None if visibility in (None, "all") else _visibility(visibility),
        all_visibilities=visibility == "all",
        member_status=_member_status(single.get("member_status", MemberStatus.ACCEPTED)),
        conditions=conditions,
        properties=properties,
        tags=frozenset(text for key, text in params if key == "tag"),
        sort=_sort(params, single.get("sort")),
        limit=_limit(single.get("limit"), default, maximum),
    )


_PAGING = frozenset({"limit", "marker", "visibility", "member_status", "sort"})
_REPEATED = frozenset({"tag", "sort_key", "sort_dir", *_TIME})
#: Glance's filter for deleted images. Lists never contain those here.
_IGNORED = frozenset({"deleted"})


def _bad(parameter: str, problem: str) -> errors.BadQuery:
    return errors.BadQuery(parameter=parameter, problem=problem)


def _condition(key: str, text: str) -> Condition | None:
    """The comparison that a parameter asks for; None if it is not the name of an attribute."""
    base = key.removesuffix("_min").removesuffix("_max")
    if base != key and base in _NUMBER:
        return Condition(base, Op.GTE if key.endswith("_min") else Op.LTE, _number(key, text))
    if key in _TEXT:
        return _text_condition(key, text)
    if key in _NUMBER:
        return Condition(key, Op.EQ, _number(key, text))
    if key in _BOOL:
        if text.lower() not in ("true", "false"):
            raise _bad(key, "it must be true or false")
        return Condition(key, Op.EQ, text.lower() == "true")
    if key in _EXACT:
        return Condition(key, Op.EQ, text)
    if key == "changes-since":
        raise _bad(key, "this filter is no longer available in v2")
    return None


def _text_condition(key: str, text: str) -> Condition:
    """An exact value, or a list of values as ``in:a,"b,c"``, which may end with a comma."""
    if key == "id":
        text = text.lower()
    if text.startswith("in:"):
        listed = text.removeprefix("in:").removesuffix(",")
        try:
            values = next(csv.reader([listed], skipinitialspace=True, strict=True))
        except (csv.Error, StopIteration) as error:
            raise _bad(key, "the list after in: is malformed") from error
        return Condition(key, Op.IN, tuple(values))
    op, colon, rest = text.partition(":")
    if colon and op in _ORDERS:
        raise _bad(key, f"the operator {op} is only for times")
    return Condition(key, Op.EQ, rest if colon and op == "eq" else text)


def _time_condition(key: str, text: str) -> Condition:
    op, _, rest = text.partition(":")
    if op not in {"eq", *_ORDERS}:
        op, rest = "eq", text
    try:
        when = datetime.datetime.fromisoformat(rest.strip())
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.UTC)
        return Condition(key, Op(op), when.astimezone(datetime.UTC))
    except (ValueError, OverflowError) as error:
        problem = "it must be an ISO 8601 time, optionally after gt:, gte:, lt:, lte:, eq: or neq:"
        raise _bad(key, problem) from error


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _bad(key, "it must be a whole number")
    return int(text)


def _visibility(text: Any) -> Visibility:
    try:
        return Visibility(text)
    except ValueError as error:
        raise _bad("visibility", f"it must be one of all, {', '.join(Visibility)}") from error


def _member_status(text: str) -> MemberStatus | None:
    try:
        return None if text == "all" else MemberStatus(text)
    except ValueError as error:
        raise _bad("member_status", f"it must be one of all, {', '.join(MemberStatus)}") from error


def _limit(text: str | None, default: int, maximum: int) -> int:
    return min(default if text is None else _number("limit", text), maximum)


def _sort(params: list[tuple[str, str]], combined: str | None) -> list[tuple[str, bool]]:
    """Fields, and whether each is descending. Glance has two forms: ``sort=name:asc,size``, and
    ``sort_key`` and ``sort_dir``, repeated."""
    keys = [text.strip() for key, text in params if key == "sort_key"]
    directions = [text.strip() for key, text in params if key == "sort_dir"]
    if combined is not None:
        if keys or directions:
            raise _bad("sort", "it cannot be combined with sort_key and sort_dir")
        pairs = [item.partition(":") for item in combined.split(",")]
        keys = [key.strip() for key, _, _ in pairs]
        directions = [direction.strip() or "desc" for _, _, direction in pairs]
    keys = keys or ["created_at"]
    directions = directions or ["desc"]
    if len(directions) == 1:
        directions *= len(keys)
    if len(directions) != len(keys):
        raise _bad("sort_dir", "give one, or as many as sort_key")
    for key in keys:
        if key not in SORT_KEYS:
            raise _bad("sort_key", f"it must be one of {', '.join(SORT_KEYS)}")
    for direction in directions:
        if direction not in _DIRECTIONS:
            raise _bad("sort_dir", "it must be asc or desc")
    return [(key, direction == "desc") for key, direction in zip(keys, directions, strict=True)]
