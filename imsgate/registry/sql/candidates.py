"""Finds the images with given properties, tags and attributes from their indexes.

Databases cannot know whether few or most images have a property with a given value, and for one
that nobody has they read every image in the order of the page. So imsgate looks first. The same
holds for attributes, since every list also has an order that an index serves.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import sqlalchemy as sa

from imsgate.registry.base import Condition, Op, Query
from imsgate.registry.sql.conditions import holds
from imsgate.registry.sql.tables import IMAGES, PROPERTIES, TAGS, property_pair

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

    @property
    def image_id(self) -> sa.ColumnElement[str]:
        return self.column.table.c.image_id

    def ids(self, *, in_order: bool = False) -> sa.Select[tuple[str]]:
        select = sa.select(self.column.table.c.image_id).where(self.column == self.value)
        return select.order_by(self.image_id) if in_order else select


@dataclasses.dataclass(frozen=True)
class Attribute:
    """All conditions on one column of images, which has an index."""

    conditions: tuple[Condition, ...]

    @property
    def image_id(self) -> sa.ColumnElement[str]:
        return IMAGES.c.id

    def ids(self, *, in_order: bool = False) -> sa.Select[tuple[str]]:
        clauses = [holds(IMAGES.c, each) for each in self.conditions]
        select: sa.Select[tuple[str]] = sa.select(IMAGES.c.id.label("image_id"))
        select = select.where(IMAGES.c.alive == sa.true(), *clauses)
        # A list of values is several ranges of the index.
        if not in_order or any(each.op is Op.IN for each in self.conditions):
            return select
        return select.order_by(*_INDEXED[self.conditions[0].field])


#: The columns by which images are looked for. Each has an index.
_ATTRIBUTES = frozenset(
    ("name", "status", "size", "virtual_size", "disk_format", "container_format", "min_disk")
).union(
    ("min_ram", "checksum", "os_hash_value", "protected", "os_hidden", "created_at", "updated_at")
)


#: By attribute, the columns of its index, except the first one.
_INDEXED = {
    columns[1].name: columns[1:]
    for columns in (tuple(index.columns) for index in IMAGES.indexes)
    if columns[0] is IMAGES.c.alive
}


def _attributes(query: Query) -> Iterator[Attribute]:
    found = sorted(filter(_is_selective, query.conditions), key=attrgetter("field"))
    for _, conditions in itertools.groupby(found, key=attrgetter("field")):
        yield Attribute(tuple(conditions))


def wanted(query: Query) -> list[Requirement | Attribute]:
    """Everything that the query asks for and that has an index."""
    return [*requirements(query), *_attributes(query)]


def _is_selective(condition: Condition) -> bool:
    """Whether few images may satisfy it. Nearly all are neither hidden nor protected."""
    return (
        condition.field in _ATTRIBUTES
        and condition.op is not Op.NEQ
        and not condition.or_none
        and condition.value is not None
        and condition.value is not False
    )


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
    """The ids of images among which are all of the query's; some may be deleted ones.

    None if the query asks for nothing that has an index, or if more than MAX_CANDIDATES images
    have it.
    """
    required = wanted(query)
    if not required:
        return None
    # Where PostgreSQL expects many, it reads the table until it has found enough: all of it if
    # those come last. In the order of the index, it reads the index.
    in_order = connection.dialect.name == "postgresql"
    rarest, count = _rarest(connection, required, in_order=in_order)
    if isinstance(rarest, Attribute) and count > MAX_CANDIDATES:
        return None
    select = matching(rarest, required, in_order=in_order)
    ids = [row.image_id for row in connection.execute(select)]
    return ids if len(ids) <= MAX_CANDIDATES else None


def _rarest(
    connection: sa.Connection,
    required: Sequence[Requirement | Attribute],
    *,
    in_order: bool,
) -> tuple[Requirement | Attribute, int]:
    """The one that the fewest images have (the first of several), and how many at least."""
    if len(required) == 1 and isinstance(required[0], Requirement):
        return required[0], 0
    counted = required[:_MAX_COUNTED]
    counts = connection.execute(counting(counted, in_order=in_order)).one()
    return min(zip(counted, counts, strict=True), key=itemgetter(1))


def counting(
    required: Sequence[Requirement | Attribute], *, in_order: bool = False
) -> sa.Select[Any]:
    """How many images have each of these rows, up to MAX_CANDIDATES + 1."""
    some = (each.ids(in_order=in_order).limit(MAX_CANDIDATES + 1).subquery() for each in required)
    counts = (sa.select(sa.func.count()).select_from(each).scalar_subquery() for each in some)
    return sa.select(*(count.label(f"count_{number}") for number, count in enumerate(counts)))


def matching(
    rarest: Requirement | Attribute,
    required: Sequence[Requirement | Attribute],
    *,
    in_order: bool = False,
) -> sa.Select[tuple[str]]:
    """The ids of images with ``rarest`` and all required rows, up to MAX_CANDIDATES + 1."""
    rows = [each for each in required if isinstance(each, Requirement) and each != rarest]
    ids = rarest.ids(in_order=in_order)
    return ids.where(*has_all(rarest.image_id, rows)).limit(MAX_CANDIDATES + 1)
