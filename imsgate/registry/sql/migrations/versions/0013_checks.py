"""When each copy of an image's data was checked, and what was found."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Exact

revision = "0013"
down_revision = "0012"

_TABLE = "image_locations"


def upgrade() -> None:
    checked_at = sa.Column("checked_at", sa.Double, nullable=False, server_default="0")
    op.add_column(_TABLE, checked_at)
    op.add_column(_TABLE, sa.Column("damage", Exact(30)))
    op.create_index("ix_image_locations_damage", _TABLE, ["damage"])
    columns = ["checked_at", "image_id", "position"]
    op.create_index("ix_image_locations_checked_at_image_id_position", _TABLE, columns)
