"""Image records as rows of four tables, and back."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from imsgate.model import GONE, Image, Location
from imsgate.registry.tables import IMAGES, LOCATIONS, PROPERTIES, TAGS

Row = Mapping[Any, Any]


@dataclasses.dataclass(frozen=True)
class _Child:
    """A field that is kept in a table of its own."""

    table: sa.Table
    #: Without image_id, in the order that the rows are read.
    split: Callable[[Any], Iterable[Row]]
    join: Callable[[Sequence[Row]], Any]

    @functools.cached_property
    def of(self) -> sa.Select[Any]:
        """The rows of some images; built once, since building takes longer than running it."""
        of = self.table.c.image_id.in_(sa.bindparam("ids", expanding=True))
        return sa.select(self.table).where(of).order_by(*self.table.primary_key)


_CHILDREN = {
    "properties": _Child(
        PROPERTIES,
        lambda properties: [{"name": name, "value": properties[name]} for name in properties],
        lambda rows: MappingProxyType({row["name"]: row["value"] for row in rows}),
    ),
    "tags": _Child(
        TAGS,
        lambda tags: [{"tag": tag} for tag in tags],
        lambda rows: frozenset(row["tag"] for row in rows),
    ),
    "locations": _Child(
        LOCATIONS,
        lambda locations: [
            {"position": position, "store": location.store, "url": location.url}
            for position, location in enumerate(locations)
        ],
        lambda rows: tuple(Location(row["store"], row["url"]) for row in rows),
    ),
}


#: The fields of an image that are columns of its own row.
COLUMNS = [field.name for field in dataclasses.fields(Image) if field.name not in _CHILDREN]


def columns(fields: Row) -> dict[str, Any]:
    """The columns of an image's own row that these of its fields make."""
    found = {name: value for name, value in fields.items() if name not in _CHILDREN}
    if "status" in found:
        found["alive"] = found["status"] not in GONE
    return found


def insert(connection: sa.Connection, image: Image) -> None:
    """Raises IntegrityError, before all else, when the id is taken."""
    fields = {field.name: getattr(image, field.name) for field in dataclasses.fields(image)}
    connection.execute(sa.insert(IMAGES).values(columns(fields)))
    for name, child in _CHILDREN.items():
        _fill(connection, child, image.id, fields[name])


def read(connection: sa.Connection, select: sa.Select[Any], **parameters: Any) -> list[Image]:
    """The images that ``select`` finds in IMAGES, in its order; four statements for any number."""
    result = connection.execute(select, parameters)
    names = tuple(result.keys())
    # A third faster than SQLAlchemy's own mappings, which look every column up.
    found = [dict(zip(names, row, strict=True)) for row in result]
    ids = [row["id"] for row in found]
    joined = {name: _gather(connection, child, ids) for name, child in _CHILDREN.items() if ids}
    return [
        Image(
            **{name: row[name] for name in COLUMNS},
            **{name: joined[name](row["id"]) for name in joined},
        )
        for row in found
    ]


def replace(connection: sa.Connection, image: Image, to: Row) -> Image:
    """Write those fields of ``to`` that have tables of their own, where they differ."""
    for name, child in _CHILDREN.items():
        if name in to and to[name] != getattr(image, name):
            connection.execute(sa.delete(child.table).where(child.table.c.image_id == image.id))
            _fill(connection, child, image.id, to[name])
            image = dataclasses.replace(image, **{name: child.join(list(child.split(to[name])))})
    return image


def _fill(connection: sa.Connection, child: _Child, image_id: str, value: Any) -> None:
    rows = [{"image_id": image_id, **row} for row in child.split(value)]
    if rows:
        connection.execute(sa.insert(child.table), rows)


def _gather(connection: sa.Connection, child: _Child, ids: Sequence[str]) -> Callable[[str], Any]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in connection.execute(child.of, {"ids": ids}).mappings():
        rows[row["image_id"]].append(row)
    none = child.join(())  # what most images have
    return lambda image_id: child.join(rows[image_id]) if image_id in rows else none
