"""Read-only mode of the whole service."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Exact, Moment

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "maintenance",
        sa.Column("mode", Exact(64), nullable=False),
        sa.Column("since", Moment, nullable=False),
        sa.PrimaryKeyConstraint("mode", name="pk_maintenance"),
    )
