"""Events that wait until they are sent, and whose turn it is to send them."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Document, Exact, Position

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("position", Position, autoincrement=True, nullable=False),
        sa.Column("target", Exact(64), nullable=False),
        sa.Column("id", Exact(36), nullable=False),
        sa.Column("body", Document, nullable=False),
        sa.Column("recorded", sa.Double, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("position", name="pk_outbox"),
    )
    op.create_index("ix_outbox_target_position", "outbox", ["target", "position"])
    op.create_index("ix_outbox_recorded", "outbox", ["recorded"])
    op.create_table(
        "outbox_turns",
        sa.Column("target", Exact(64), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("target", name="pk_outbox_turns"),
    )
