"""Image records as rows of four tables, and back."""

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate.errors import LocationTaken
from imsgate.model import DELETED, Image, Location
from imsgate.registry.base import LIST_BATCH_IMAGES, Enough
from imsgate.registry.sql.tables import IMAGES, LOCATIONS, PROPERTIES, TAGS, property_pair

Row = Mapping[Any, Any]

#: The texts of a row of a child table. Only those of LOCATIONS have a third one, which may be None.
Texts = tuple[str, str, str | None]


@dataclasses.dataclass(frozen=True)
class _Child:
    """A field of an image with its own table, where each row has one to three texts."""

    table: sa.Table
    #: The columns of the texts. Without a second column, the second text is empty.
    first: str
    second: str | None
    #: The column that orders the rows. Without it, they are ordered by their first text.
    position: str | None
    split: Callable[[Any], Iterable[tuple[str, str]]]
    join: Callable[[Sequence[Texts]], Any]
    #: Computes further columns from the texts.
    derived: Callable[[str, str], Row] = lambda first, second: {}
    #: The column of a text that is not written with the others.
    third: str | None = None

    def rows(self, image_id: str, value: Any) -> list[Row]:
        """The rows to insert for a value of the field."""
        return [
            {"image_id": image_id, self.first: first}
            | ({self.second: second} if self.second else {})
            | ({self.position: position} if self.position else {})
            | dict(self.derived(first, second))
            for position, (first, second) in enumerate(self.split(value))
        ]

    def value(self, rows: Sequence[Row]) -> Any:
        """The value of the field with these rows."""

        def text(row: Row, name: str | None) -> Any:
            return row[name] if name else ""

        return self.join(
            [(row[self.first], text(row, self.second), text(row, self.third)) for row in rows]
        )


_CHILDREN = {
    "properties": _Child(
        PROPERTIES,
        "name",
        "value",
        None,
        lambda properties: list(properties.items()),
        lambda texts: MappingProxyType({name: value for name, value, _ in texts}),
        lambda name, value: {"pair": property_pair(name, value)},
    ),
    "tags": _Child(
        TAGS,
        "tag",
        None,
        None,
        lambda tags: [(tag, "") for tag in tags],
        lambda texts: frozenset(tag for tag, _, _ in texts),
    ),
    "locations": _Child(
        LOCATIONS,
        "store",
        "url",
        "position",
        lambda locations: [(location.store, location.url) for location in locations],
        lambda texts: tuple(Location(*each) for each in texts),
        lambda store, url: {
            "place": Location(store, url).place,
            "checked_at": time.time(),
            "damage": None,
        },
        "damage",
    ),
}
_NAMES = tuple(_CHILDREN)
#: The children of an image that has none, as most images do.
_EMPTY = {name: child.join(()) for name, child in _CHILDREN.items()}


def _selects(chosen: Callable[[sa.Column[str]], sa.ColumnElement[bool]]) -> list[sa.Select[Any]]:
    """The rows of each child: number of the child, image id, position and texts."""

    def of(number: int, child: _Child) -> sa.Select[Any]:
        columns = child.table.c
        return sa.select(
            sa.literal_column(str(number)).label("child"),
            columns.image_id,
            (columns[child.position] if child.position else sa.literal_column("0")).label("place"),
            columns[child.first].label("first"),
            (columns[child.second] if child.second else sa.literal_column("''")).label("second"),
            (columns[child.third] if child.third else sa.literal_column("''")).label("third"),
        ).where(chosen(columns.image_id))

    return [of(number, child) for number, child in enumerate(_CHILDREN.values())]


def _each_by_key() -> sa.CompoundSelect[Any]:
    """PostgreSQL: the rows of many images, each image's read by the primary key.

    For a list of ids, its planner reads whole tables: 400 ms instead of 10 for 1000 images of
    20 000. OFFSET keeps it from doing so.
    """
    ids = sa.bindparam("ids", type_=sa.ARRAY(sa.Text))
    wanted = sa.func.unnest(ids).table_valued("id", name="wanted").render_derived()
    children = (
        select.offset(sa.literal_column("0")).lateral()
        for select in _selects(lambda image_id: image_id == wanted.c.id)
    )
    return sa.union_all(*(sa.select(child).select_from(wanted, child) for child in children))


# Built once, since building takes longer than running. The one for a single image is faster,
# since SQLAlchemy renders a list of parameters anew each time.
_OF_ONE = sa.union_all(*_selects(lambda image_id: image_id == sa.bindparam("image_id")))
_OF_MANY = sa.union_all(
    *_selects(lambda image_id: image_id.in_(sa.bindparam("ids", expanding=True)))
)
_OF_MANY_LATERAL = _each_by_key()
#: Images per statement. It has three times as many parameters, and SQLite allows 32766.
_BATCH_IMAGES = 1000


#: The fields of an image that are columns of IMAGES.
COLUMNS = [field.name for field in dataclasses.fields(Image) if field.name not in _CHILDREN]


def columns(fields: Row) -> dict[str, Any]:
    """The columns of IMAGES for these fields of an image."""
    values = {name: value for name, value in fields.items() if name not in _CHILDREN}
    if "status" in values:
        values["alive"] = values["status"] not in DELETED
    return values


def insert(connection: sa.Connection, image: Image) -> None:
    """Raises IntegrityError if the id is taken, else LocationTaken if a location is."""
    fields = {field.name: getattr(image, field.name) for field in dataclasses.fields(image)}
    connection.execute(sa.insert(IMAGES).values(columns(fields)))
    for name, child in _CHILDREN.items():
        _fill(connection, child, child.rows(image.id, fields[name]))


def read(connection: sa.Connection, select: sa.Select[Any], **parameters: Any) -> list[Image]:
    """Read the images that ``select`` selects from IMAGES, in its order, with two statements."""
    images = _childless(connection, select, **parameters)
    _add_children(connection, images)
    return images


def read_until(
    connection: sa.Connection, select: sa.Select[Any], is_enough: Enough | None
) -> list[Image]:
    """Read images as ``read`` does, until ``is_enough`` says so. See ``Registry.list``."""
    images = _childless(connection, select)
    step = LIST_BATCH_IMAGES if is_enough else max(len(images), 1)
    for end in range(step, len(images) + step, step):
        _add_children(connection, images[end - step : end])
        if is_enough and is_enough(images[:end]):
            return images[:end]
    return images


def _childless(connection: sa.Connection, select: sa.Select[Any], **parameters: Any) -> list[Image]:
    result = connection.execute(select, parameters)
    names = tuple(result.keys())
    return [_image(zip(names, row, strict=True)) for row in result.all()]


def _add_children(connection: sa.Connection, images: Sequence[Image]) -> None:
    children = _children(connection, [image.id for image in images])
    for image in images:
        vars(image).update(children.get(image.id, _EMPTY))


def _image(columns: Iterable[tuple[str, Any]]) -> Image:
    """An image without its children.

    Without ``__init__``, which took longer than the database: a row has all fields.
    """
    image = object.__new__(Image)
    vars(image).update(columns)
    del vars(image)["alive"]
    return image


def replace(connection: sa.Connection, image: Image, to: Row) -> Image:
    """Write the children in ``to`` that differ from the image's, and return the image with them.

    Raises LocationTaken for a location that is recorded already.
    """
    for name, child in _CHILDREN.items():
        if name in to and to[name] != getattr(image, name):
            written = child.rows(image.id, to[name])
            if child.table is LOCATIONS:
                written = _with_checks(connection, image, written)
            connection.execute(sa.delete(child.table).where(child.table.c.image_id == image.id))
            _fill(connection, child, written)
            image = dataclasses.replace(image, **{name: child.value(written)})
    return image


def _with_checks(connection: sa.Connection, image: Image, locations: list[Row]) -> list[Row]:
    """These rows, with what is recorded of the checks of those that exist already."""
    if not image.locations:
        return locations
    columns = LOCATIONS.c
    select = sa.select(columns.store, columns.url, columns.checked_at, columns.damage)
    recorded = {
        (row.store, row.url): {"checked_at": row.checked_at, "damage": row.damage}
        for row in connection.execute(select.where(columns.image_id == image.id))
    }
    return [{**row, **recorded.get((row["store"], row["url"]), {})} for row in locations]


def _fill(connection: sa.Connection, child: _Child, rows: Sequence[Row]) -> None:
    if rows:
        try:
            connection.execute(sa.insert(child.table), rows)
        except exc.IntegrityError:
            if child.table is not LOCATIONS:
                raise
            raise LocationTaken from None


def _children(connection: sa.Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The children of each image that has any, by its id."""
    all_texts: dict[tuple[str, str], list[Texts]] = defaultdict(list)
    for number, image_id, _, first, second, third in sorted(_child_rows(connection, ids)):
        all_texts[image_id, _NAMES[number]].append((first, second, third))
    children: dict[str, dict[str, Any]] = {}
    for (image_id, name), texts in all_texts.items():
        children.setdefault(image_id, {**_EMPTY})[name] = _CHILDREN[name].join(texts)
    return children


def _child_rows(connection: sa.Connection, ids: Sequence[str]) -> list[tuple[Any, ...]]:
    if len(ids) == 1:
        return [tuple(row) for row in connection.execute(_OF_ONE, {"image_id": ids[0]})]
    select = of_many(connection)
    batches = (ids[at : at + _BATCH_IMAGES] for at in range(0, len(ids), _BATCH_IMAGES))
    return [tuple(row) for batch in batches for row in connection.execute(select, {"ids": batch})]


def of_many(connection: sa.Connection) -> sa.CompoundSelect[Any]:
    """The rows of the children of the images ``ids``."""
    return _OF_MANY_LATERAL if connection.dialect.name == "postgresql" else _OF_MANY
