"""A unique index of locations, so that each has the data of one image."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from imsgate.model import Location
from imsgate.registry.sql.tables import Exact

revision = "0005"
down_revision = "0004"

#: Rows that are read and written at a time.
_BATCH_ROWS = 1000

_TABLE = sa.table("image_locations", *map(sa.column, ("image_id", "position", "store", "url")))
_PLACE: sa.ColumnClause[str] = sa.column("place")
_KEY = sa.tuple_(_TABLE.c.image_id, _TABLE.c.position)
_SET = (
    sa.update(sa.table("image_locations", *map(sa.column, ("image_id", "position", "place"))))
    .where(sa.column("image_id") == sa.bindparam("its_image"))
    .where(sa.column("position") == sa.bindparam("its_position"))
    .values(place=sa.bindparam("its_place"))
)


def upgrade() -> None:
    op.add_column("image_locations", sa.Column("place", Exact(64)))
    connection = op.get_bind()
    for rows in _batches(connection):
        places = [(row[0], row[1], Location(*row[2:]).place) for row in rows]
        _set(connection, places)
    # Images may share a location, which nothing prevented before. One of them gets its place.
    for shared in connection.scalars(_shared()).all():
        keys = sa.select(_TABLE.c.image_id, _TABLE.c.position).where(shared == _PLACE)
        _, *others = connection.execute(keys.order_by(*keys.selected_columns)).all()
        _set(connection, [(image, number, None) for image, number in others])
    op.create_index("ix_image_locations_place", "image_locations", ["place"], unique=True)


def _batches(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    ordered = sa.select(_TABLE).order_by(_TABLE.c.image_id, _TABLE.c.position).limit(_BATCH_ROWS)
    rows = connection.execute(ordered).all()
    while rows:
        yield rows
        rows = connection.execute(ordered.where(tuple(rows[-1][:2]) < _KEY)).all()


def _shared() -> sa.Select[Any]:
    several = sa.func.count() > 1
    return sa.select(_PLACE).select_from(_TABLE).group_by(_PLACE).having(several)


def _set(connection: sa.Connection, rows: Sequence[tuple[str, int, str | None]]) -> None:
    names = ("its_image", "its_position", "its_place")
    connection.execute(_SET, [dict(zip(names, row, strict=True)) for row in rows])
