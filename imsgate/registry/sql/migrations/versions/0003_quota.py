"""Quotas: bytes reserved for data that is coming in, and a row to lock for each project."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Exact

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    reserved = sa.Column("upload_reserved", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("images", reserved)
    op.create_index("ix_images_owner_status", "images", ["owner", "status"])
    op.create_table(
        "projects",
        sa.Column("id", Exact(255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
