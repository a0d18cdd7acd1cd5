"""The query string of lists in Huawei's image service: text to a registry query. Pure."""

import dataclasses
from typing import Any

from imsgate.api import listing
from imsgate.api.ims import attributes
from imsgate.errors import BadQuery
from imsgate.model import Status, Visibility
from imsgate.profiles import Profile
from imsgate.registry.base import Condition, Op, Query

_NOTHING = Condition("id", Op.IN, ())

#: Statuses of records that this service calls by one word.
_STATUSES = {
    "saving": (Status.SAVING, Status.UPLOADING, Status.IMPORTING),
    "active": (Status.ACTIVE, Status.DEACTIVATED),
}

#: What says nothing of images here: no flavors are known, and what an image is not is not
#: written on it.
_IGNORED = frozenset({"flavor_id"})
_ABSENT_UNLESS_TRUE = ("__whole_image", "__support_")

#: What the vendor's SDK can send along that is no filter.
_HEADERS = frozenset({"X-Sdk-Date"})


def parse(params: listing.Params, viewer: str | None, profile: Profile, **bounds: Any) -> Query:
    """The query of the project ``viewer``; see ``listing.parse``. Raises BadQuery.

    Everything that is a filter there is one here as well.
    """
    kept: list[tuple[str, str]] = []
    conditions: list[Condition] = []
    kinds: set[str] = set()
    for key, text in params:
        if key == "__isregistered":
            conditions += _registered(text)
        elif key == "__imagetype":
            kinds.add(text)
        elif key == "visibility" and text == Visibility.PRIVATE:
            kinds.add("private")
        elif key == "visibility" and text == Visibility.SHARED:
            kinds.add("shared")
        elif key == "virtual_env_type":
            conditions.append(_iso(text == attributes.ISO))
            kept += [] if text == attributes.ISO else [(key, text)]
        elif key == "architecture":
            kept.append(("__architecture", _architecture(text)))
        elif not _says_nothing(key, text):
            kept.append((key, _boolean(key, text)))
    query = listing.parse(kept, viewer, **bounds)
    for kind in sorted(kinds):
        query = _of_kind(query, kind)
    shown = [_as_shown(condition, profile) for condition in query.conditions]
    return dataclasses.replace(query, conditions=[*shown, *conditions])


def _says_nothing(key: str, text: str) -> bool:
    if key.startswith(_ABSENT_UNLESS_TRUE):
        return text.lower() == "false"
    everything = key == "enterprise_project_id" and text == "all_granted_eps"
    return everything or key in _IGNORED or key in _HEADERS


def _registered(text: str) -> list[Condition]:
    """Every image is registered."""
    if text.lower() not in ("true", "false"):
        raise BadQuery(parameter="__isregistered", problem="it is true or false")
    return [] if text.lower() == "true" else [_NOTHING]


def _boolean(key: str, text: str) -> str:
    """As it is kept: clients written in Python send True."""
    return "true" if key.startswith(_ABSENT_UNLESS_TRUE) and text.lower() == "true" else text


def _as_shown(condition: Condition, profile: Profile) -> Condition:
    """For what is shown of a record in other words, or without being in it, what it has."""
    values = condition.value if condition.op is Op.IN else (condition.value,)
    if condition.field == "status":
        meant = [status for text in values for status in _STATUSES.get(text, (text,))]
        return Condition("status", Op.IN, tuple(meant))
    if condition.field == "disk_format" and profile.disk_format in values:
        return dataclasses.replace(condition, or_none=True)
    return condition


def _architecture(text: str) -> str:
    if text not in ("x86", "arm"):
        raise BadQuery(parameter="architecture", problem="it is x86 or arm")
    return text


def _iso(wanted: bool) -> Condition:
    """Every image of that format is shown as of that type, and no other."""
    return Condition("disk_format", Op.EQ if wanted else Op.NEQ, "iso", or_none=not wanted)


def _of_kind(query: Query, kind: str) -> Query:
    """Only the public images, the viewer's own, or those of others that it may use."""
    mine = Condition("owner", Op.EQ, query.viewer)
    others = Condition("owner", Op.NEQ, query.viewer)
    unseen = Condition("visibility", Op.IN, (Visibility.PRIVATE, Visibility.SHARED))
    found: dict[str, list[Condition]] = {
        "gold": [Condition("visibility", Op.EQ, Visibility.PUBLIC)],
        "private": [mine, unseen],
        "shared": [others, Condition("visibility", Op.EQ, Visibility.SHARED)],
        "market": [_NOTHING],
    }
    if kind not in found:
        problem = "it is one of gold, private, shared and market"
        raise BadQuery(parameter="__imagetype", problem=problem)
    return dataclasses.replace(query, conditions=[*query.conditions, *found[kind]])
