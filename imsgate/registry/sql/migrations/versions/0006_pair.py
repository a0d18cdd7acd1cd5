"""Indexes by which images with a property of a certain value, or with a tag, are found."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Exact, property_pair

revision = "0006"
down_revision = "0005"

#: Rows that are read and written at a time.
_BATCH_ROWS = 1000

_TABLE = sa.table("image_properties", *map(sa.column, ("image_id", "name", "value")))
_KEY = sa.tuple_(_TABLE.c.image_id, _TABLE.c.name)
_SET = (
    sa.update(sa.table("image_properties", *map(sa.column, ("image_id", "name", "pair"))))
    .where(sa.column("image_id") == sa.bindparam("its_image"))
    .where(sa.column("name") == sa.bindparam("its_name"))
    .values(pair=sa.bindparam("its_pair"))
)


def upgrade() -> None:
    op.add_column("image_properties", sa.Column("pair", Exact(64)))
    connection = op.get_bind()
    for rows in _batches(connection):
        pairs = [
            {"its_image": image_id, "its_name": name, "its_pair": property_pair(name, value)}
            for image_id, name, value in rows
        ]
        connection.execute(_SET, pairs)
    op.create_index("ix_image_properties_pair_image_id", "image_properties", ["pair", "image_id"])
    op.create_index("ix_image_tags_tag_image_id", "image_tags", ["tag", "image_id"])
    op.drop_index("ix_image_properties_name", "image_properties")
    op.drop_index("ix_image_tags_tag", "image_tags")


def _batches(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    ordered = sa.select(_TABLE).order_by(_TABLE.c.image_id, _TABLE.c.name).limit(_BATCH_ROWS)
    rows = connection.execute(ordered).all()
    while rows:
        yield rows
        rows = connection.execute(ordered.where(tuple(rows[-1][:2]) < _KEY)).all()
