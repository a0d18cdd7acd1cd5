"""The query string of lists in IMS, from text to a registry query. Pure.

IMS API, Image: Querying Images.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imsgate.api import listing
from imsgate.api.description import TEXT, Schema
from imsgate.api.ims import attributes
from imsgate.errors import BadQuery
from imsgate.model import Status, Visibility
from imsgate.profiles import Profile
from imsgate.registry.base import Condition, Op, Query

#: A condition that no image meets.
_NOTHING = Condition("id", Op.IN, ())

#: Statuses of records that IMS shows as one.
_STATUSES = {
    "saving": (Status.SAVING, Status.UPLOADING, Status.IMPORTING),
    "active": (Status.ACTIVE, Status.DEACTIVATED),
}

#: Filters without effect: this gateway knows no flavors.
_IGNORED = frozenset({"flavor_id"})
#: Prefixes of attributes that a record has only if they are true.
_ABSENT_UNLESS_TRUE = ("__whole_image", "__support_")

#: Headers that the vendor's SDK may send as query parameters.
_HEADERS = frozenset({"X-Sdk-Date"})


_BOOLEAN: Schema = {"enum": ["true", "false"]}
#: The query parameters of a list of images; attributes are filters as well.
PARAMETERS: Mapping[str, Schema] = {
    **listing.PARAMETERS,
    "__isregistered": _BOOLEAN,
    "__imagetype": {"enum": ["gold", "private", "shared", "market"]},
    "virtual_env_type": TEXT,
    "architecture": {"enum": ["x86", "arm"]},
    "enterprise_project_id": TEXT,
    "__os_type": TEXT,
    "__platform": TEXT,
}


def parse(params: listing.Params, viewer: str | None, profile: Profile, **bounds: Any) -> Query:
    """The query of the project ``viewer``; see ``listing.parse``. Raises BadQuery.

    All filters of the Image API are filters here, too.
    """
    filters: list[tuple[str, str]] = []
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
            filters += [] if text == attributes.ISO else [(key, text)]
        elif key == "architecture":
            filters.append(("__architecture", _architecture(text)))
        elif not _is_ignored(key, text):
            filters.append((key, _boolean(key, text)))
    query = listing.parse(filters, viewer, **bounds)
    for kind in sorted(kinds):
        query = _of_kind(query, kind)
    shown = [_as_shown(condition, profile) for condition in query.conditions]
    return dataclasses.replace(query, conditions=[*shown, *conditions])


def _is_ignored(key: str, text: str) -> bool:
    if key.startswith(_ABSENT_UNLESS_TRUE):
        return text.lower() == "false"
    everything = key == "enterprise_project_id" and text == "all_granted_eps"
    return everything or key in _IGNORED or key in _HEADERS


def _registered(text: str) -> list[Condition]:
    """All images are registered."""
    if text.lower() not in ("true", "false"):
        raise BadQuery(parameter="__isregistered", problem="it must be true or false")
    return [] if text.lower() == "true" else [_NOTHING]


def _boolean(key: str, text: str) -> str:
    """The value as records store it: clients written in Python send True."""
    return "true" if key.startswith(_ABSENT_UNLESS_TRUE) and text.lower() == "true" else text


def _as_shown(condition: Condition, profile: Profile) -> Condition:
    """The condition on records that selects those which IMS shows as the given one says."""
    values = condition.value if condition.op is Op.IN else (condition.value,)
    if condition.field == "status":
        statuses = [status for text in values for status in _STATUSES.get(text, (text,))]
        return Condition("status", Op.IN, tuple(statuses))
    if condition.field == "disk_format" and profile.disk_format in values:
        return dataclasses.replace(condition, or_none=True)
    return condition


def _architecture(text: str) -> str:
    if text not in ("x86", "arm"):
        raise BadQuery(parameter="architecture", problem="it must be x86 or arm")
    return text


def _iso(wanted: bool) -> Condition:
    """Images of the format iso, and no others, are shown as of the type IsoImage."""
    return Condition("disk_format", Op.EQ if wanted else Op.NEQ, "iso", or_none=not wanted)


def _of_kind(query: Query, kind: str) -> Query:
    """The query restricted to one ``__imagetype``."""
    mine = Condition("owner", Op.EQ, query.viewer)
    others = Condition("owner", Op.NEQ, query.viewer)
    unseen = Condition("visibility", Op.IN, (Visibility.PRIVATE, Visibility.SHARED))
    conditions: dict[str, list[Condition]] = {
        "gold": [Condition("visibility", Op.EQ, Visibility.PUBLIC)],
        "private": [mine, unseen],
        "shared": [others, Condition("visibility", Op.EQ, Visibility.SHARED)],
        "market": [_NOTHING],
    }
    if kind not in conditions:
        problem = "it must be one of gold, private, shared and market"
        raise BadQuery(parameter="__imagetype", problem=problem)
    return dataclasses.replace(query, conditions=[*query.conditions, *conditions[kind]])
