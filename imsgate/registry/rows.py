"""Image records as rows of four tables, and back."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate.errors import LocationTaken
from imsgate.model import DELETED, Image, Location
from imsgate.registry.tables import IMAGES, LOCATIONS, PROPERTIES, TAGS

Row = Mapping[Any, Any]

#: Two texts of a row.
Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class _Child:
    """A field that is kept in a table of its own: a row is a text or two, in some order."""

    table: sa.Table
    #: The columns of the texts; without a second one it is empty.
    first: str
    second: str | None
    #: The column that orders the rows; without one, their first texts do.
    position: str | None
    split: Callable[[Any], Iterable[Pair]]
    join: Callable[[Sequence[Pair]], Any]
    #: Columns that follow from the texts.
    derived: Callable[[str, str], Row] = lambda first, second: {}

    def rows(self, image_id: str, value: Any) -> list[Row]:
        """The rows to insert for a value of the field."""
        return [
            {"image_id": image_id, self.first: first}
            | ({self.second: second} if self.second else {})
            | ({self.position: position} if self.position else {})
            | dict(self.derived(first, second))
            for position, (first, second) in enumerate(self.split(value))
        ]


_CHILDREN = {
    "properties": _Child(
        PROPERTIES,
        "name",
        "value",
        None,
        lambda properties: list(properties.items()),
        lambda pairs: MappingProxyType(dict(pairs)),
    ),
    "tags": _Child(
        TAGS,
        "tag",
        None,
        None,
        lambda tags: [(tag, "") for tag in tags],
        lambda pairs: frozenset(tag for tag, _ in pairs),
    ),
    "locations": _Child(
        LOCATIONS,
        "store",
        "url",
        "position",
        lambda locations: [(location.store, location.url) for location in locations],
        lambda pairs: tuple(Location(*pair) for pair in pairs),
        lambda store, url: {"place": Location(store, url).place},
    ),
}
_NAMES = tuple(_CHILDREN)
#: What most images have.
_NONE = {name: child.join(()) for name, child in _CHILDREN.items()}


def _rows(chosen: Callable[[sa.Column[str]], sa.ColumnElement[bool]]) -> sa.CompoundSelect[Any]:
    """All children's rows of some images: which child, whose, their position and their texts."""

    def of(number: int, child: _Child) -> sa.Select[Any]:
        columns = child.table.c
        return sa.select(
            sa.literal_column(str(number)),
            columns.image_id,
            columns[child.position] if child.position else sa.literal_column("0"),
            columns[child.first],
            columns[child.second] if child.second else sa.literal_column("''"),
        ).where(chosen(columns.image_id))

    return sa.union_all(*(of(number, child) for number, child in enumerate(_CHILDREN.values())))


# Built once, since building takes longer than running; of one image, since a list of
# parameters is put into the statement anew each time.
_OF_ONE = _rows(lambda image_id: image_id == sa.bindparam("image_id"))
_OF_MANY = _rows(lambda image_id: image_id.in_(sa.bindparam("ids", expanding=True)))
#: Images asked about at a time: three times as many are parameters, of which SQLite takes 32766.
_BATCH = 1000


#: The fields of an image that are columns of its own row.
COLUMNS = [field.name for field in dataclasses.fields(Image) if field.name not in _CHILDREN]


def columns(fields: Row) -> dict[str, Any]:
    """The columns of an image's own row that these of its fields make."""
    found = {name: value for name, value in fields.items() if name not in _CHILDREN}
    if "status" in found:
        found["alive"] = found["status"] not in DELETED
    return found


def insert(connection: sa.Connection, image: Image) -> None:
    """Raises IntegrityError, before all else, when the id is taken, and LocationTaken."""
    fields = {field.name: getattr(image, field.name) for field in dataclasses.fields(image)}
    connection.execute(sa.insert(IMAGES).values(columns(fields)))
    for name, child in _CHILDREN.items():
        _fill(connection, child, image.id, fields[name])


def read(connection: sa.Connection, select: sa.Select[Any], **parameters: Any) -> list[Image]:
    """The images that ``select`` finds in IMAGES, in its order; two statements for a page."""
    result = connection.execute(select, parameters)
    names = tuple(result.keys())
    found = [_image(zip(names, row, strict=True)) for row in result.all()]
    joined = _joined(connection, [image.id for image in found])
    for image in found:
        vars(image).update(joined.get(image.id, _NONE))
    return found


def _image(columns: Iterable[tuple[str, Any]]) -> Image:
    """Without its children. A row has all other fields, so that nothing is left to do for
    ``__init__``, which took longer than the database."""
    image = object.__new__(Image)
    vars(image).update(columns)
    del vars(image)["alive"]
    return image


def replace(connection: sa.Connection, image: Image, to: Row) -> Image:
    """Write those fields of ``to`` that have tables of their own, where they differ.

    Raises LocationTaken for a place where another image has its data.
    """
    for name, child in _CHILDREN.items():
        if name in to and to[name] != getattr(image, name):
            connection.execute(sa.delete(child.table).where(child.table.c.image_id == image.id))
            _fill(connection, child, image.id, to[name])
            image = dataclasses.replace(image, **{name: child.join(list(child.split(to[name])))})
    return image


def _fill(connection: sa.Connection, child: _Child, image_id: str, value: Any) -> None:
    if rows := child.rows(image_id, value):
        try:
            connection.execute(sa.insert(child.table), rows)
        except exc.IntegrityError:
            if child.table is not LOCATIONS:
                raise
            raise LocationTaken from None


def _joined(connection: sa.Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of each image that has any children, all its fields that are kept as such."""
    pairs: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for number, image_id, _, first, second in sorted(_found(connection, ids)):
        pairs[image_id, _NAMES[number]].append((first, second))
    joined: dict[str, dict[str, Any]] = {}
    for (image_id, name), those in pairs.items():
        joined.setdefault(image_id, {**_NONE})[name] = _CHILDREN[name].join(those)
    return joined


def _found(connection: sa.Connection, ids: Sequence[str]) -> list[tuple[Any, ...]]:
    if len(ids) == 1:
        return [tuple(row) for row in connection.execute(_OF_ONE, {"image_id": ids[0]})]
    batches = (ids[at : at + _BATCH] for at in range(0, len(ids), _BATCH))
    return [tuple(row) for batch in batches for row in connection.execute(_OF_MANY, {"ids": batch})]
