"""Finds the images with given properties and tags from the indexes of properties and tags.

Databases cannot know whether few or most images have a property with a given value, and for one
that nobody has they read every image in the order of the page. So imsgate looks first.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from imsgate.registry.base import Query
from imsgate.registry.tables import PROPERTIES, TAGS, property_pair

Clause = sa.ColumnElement[bool]

#: With more candidates than this, reading images in the order of the page soon finds a pageful.
MAX_CANDIDATES = 1000
#: Requirements whose images are counted; SQLite allows 500 parts of a statement.
_MAX_COUNTED = 100


@dataclasses.dataclass(frozen=True)
class Requirement:
    """A row that an image must have: ``column`` of a child table with this value."""

    column: sa.Column[str]
    value: str

    def ids(self) -> sa.Select[tuple[str]]:
        return sa.select(self.column.table.c.image_id).where(self.column == self.value)


def requirements(query: Query) -> list[Requirement]:
    """The rows that every image of the query has."""
    pairs = (property_pair(name, value) for name, value in sorted(query.properties.items()))
    properties = [Requirement(PROPERTIES.c.pair, pair) for pair in pairs]
    return properties + [Requirement(TAGS.c.tag, tag) for tag in sorted(query.tags)]


def has_all(image_id: sa.ColumnElement[str], required: Sequence[Requirement]) -> list[Clause]:
    """Select images that have all these rows, of which no two are equal.

    The rows are counted: for twenty joins PostgreSQL takes seconds to find the best order.
    """
    clauses: list[Clause] = []
    for column in (PROPERTIES.c.pair, TAGS.c.tag):
        values = [each.value for each in required if each.column is column]
        if values:
            table = column.table.alias()
            rows = sa.select(sa.func.count()).select_from(table)
            rows = rows.where(table.c.image_id == image_id, table.c[column.name].in_(values))
            # Never more. For "=" PostgreSQL expects one image in 200 and sorts all images; for
            # ">=" it expects a third of them and stops after a pageful.
            clauses.append(rows.scalar_subquery() >= len(values))
    return clauses


def find(connection: sa.Connection, query: Query) -> list[str] | None:
    """The ids of all images with the query's properties and tags, deleted ones included.

    None if the query has neither, or if more than MAX_CANDIDATES images have them.
    """
    required = requirements(query)
    if not required:
        return None
    rarest = _rarest(connection, required)
    ids = [row.image_id for row in connection.execute(matching(rarest, required))]
    return ids if len(ids) <= MAX_CANDIDATES else None


def _rarest(connection: sa.Connection, required: Sequence[Requirement]) -> Requirement:
    if len(required) == 1:
        return required[0]
    counted = required[:_MAX_COUNTED]
    counts = connection.execute(counting(counted)).one()
    return min(zip(counts, counted, strict=True), key=lambda pair: pair[0])[1]


def counting(required: Sequence[Requirement]) -> sa.Select[Any]:
    """How many images have each of these rows, up to MAX_CANDIDATES + 1."""
    some = (each.ids().limit(MAX_CANDIDATES + 1).subquery() for each in required)
    counts = (sa.select(sa.func.count()).select_from(ids).scalar_subquery() for ids in some)
    return sa.select(*(count.label(f"count_{number}") for number, count in enumerate(counts)))


def matching(rarest: Requirement, required: Sequence[Requirement]) -> sa.Select[tuple[str]]:
    """The ids of images with all these rows, up to MAX_CANDIDATES + 1."""
    rest = [each for each in required if each != rarest]
    image_id = rarest.column.table.c.image_id
    return rarest.ids().where(*has_all(image_id, rest)).limit(MAX_CANDIDATES + 1)
