"""Searches for images by their tags, as requests describe them. Pure.

IMS API, Image Tagging: Querying Images by Tag
(``POST /v2/{project_id}/images/resource_instances/action``).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imsgate.api.description import TEXT, Schema, listed, record
from imsgate.api.ims.tag_names import split
from imsgate.errors import BadAttribute, BadJson
from imsgate.http.json_body import flag, without_unused
from imsgate.model import Image

_DEFAULT_LIMIT, _MAX_LIMIT = 10, 1000
_MAX_ENTRIES = 10
_LISTS = ("tags", "tags_any", "not_tags", "not_tags_any")
_MATCHES = ("resource_name", "resource_id")

#: Tags by key, each with the values of which one is enough; none stands for any value.
Wanted = Mapping[str, frozenset[str]]


_TAGS: Schema = {
    **listed(record({"key": TEXT, "values": listed(TEXT)}, "values")),
    "maxItems": _MAX_ENTRIES,
}
#: A number, which the SDKs send as a string.
_NUMBER: Schema = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,9}$"}]
}
#: The body of a request; ``parse`` says what is wrong with one in IMS's codes.
SCHEMA = record(
    {
        "action": {"enum": ["filter", "count"]},
        "limit": _NUMBER,
        "offset": _NUMBER,
        "without_any_tag": {"type": "boolean"},
        **dict.fromkeys(_LISTS, _TAGS),
        "matches": {
            **listed(record({"key": {"enum": list(_MATCHES)}, "value": TEXT})),
            "maxItems": _MAX_ENTRIES,
        },
    },
    *("limit", "offset", "without_any_tag", *_LISTS, "matches"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """``action`` is filter or count."""

    action: str
    limit: int
    offset: int
    untagged: bool
    tags: Mapping[str, Wanted]
    matches: Mapping[str, str]

    def selects(self, image: Image) -> bool:
        """Whether the search finds the image."""
        name, image_id = self.matches.get("resource_name"), self.matches.get("resource_id")
        if name is not None and name != (image.name or ""):
            return False
        if image_id is not None and image_id.lower() != image.id:
            return False
        if self.untagged:
            return not image.tags
        found = dict(map(split, image.tags))
        has = {
            member: [_has(found, key, values) for key, values in wanted.items()]
            for member, wanted in self.tags.items()
        }
        return (
            all(has.get("tags", ()))
            and any(has.get("tags_any", [True]))
            and not all(has.get("not_tags", [False]))
            and not any(has.get("not_tags_any", ()))
        )


def _has(tags: Mapping[str, str], key: str, values: frozenset[str]) -> bool:
    return key in tags and (not values or tags[key] in values)


def parse(body: Mapping[str, Any]) -> Search:
    """The search that a body describes. Raises BadJson, BadAttribute."""
    body = without_unused(body, (*_LISTS, "matches", "limit", "offset"))
    action = body.get("action")
    if action not in ("filter", "count"):
        raise BadJson(problem="action: it must be filter or count")
    return Search(
        action=action,
        limit=min(_number(body, "limit", _DEFAULT_LIMIT, 1), _MAX_LIMIT),
        offset=_number(body, "offset", 0, 0),
        untagged=flag(body, "without_any_tag"),
        tags={member: _wanted(body, member) for member in _LISTS if member in body},
        matches=_matches(body),
    )


def _number(body: Mapping[str, Any], member: str, default: int, low: int) -> int:
    """A number, which the SDKs send as a string."""
    text = str(body.get(member, default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= low):
        raise BadJson(problem=f"{member}: it must be a number of at least {low}")
    return int(text)


def _objects(body: Mapping[str, Any], member: str) -> list[Mapping[str, Any]]:
    items = body.get(member, [])
    valid = isinstance(items, list) and len(items) <= _MAX_ENTRIES
    if not valid or not all(isinstance(item, dict) and item.get("key") for item in items):
        problem = f"{member}: it must be a list of up to {_MAX_ENTRIES} objects with keys"
        raise BadAttribute("IMG.0115", problem=problem)
    return list(items)


def _wanted(body: Mapping[str, Any], member: str) -> Wanted:
    found: dict[str, frozenset[str]] = {}
    for item in _objects(body, member):
        values = item.get("values") or []
        texts = [item["key"], *values] if isinstance(values, list) else [None]
        if not all(isinstance(text, str) for text in texts) or item["key"] in found:
            problem = f"{member}: each key is given once, with a list of values"
            raise BadAttribute("IMG.0115", problem=problem)
        found[item["key"]] = frozenset(values)
    return found


def _matches(body: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for item in _objects(body, "matches"):
        if item["key"] not in _MATCHES or not isinstance(item.get("value"), str):
            raise BadJson(problem=f"matches: a key must be one of {', '.join(_MATCHES)}")
        found[item["key"]] = item["value"]
    return found
