"""Resumable uploads, and the progress of every upload."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Exact, Moment, Word

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    received = sa.Column("upload_received", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("images", received)
    op.add_column("images", sa.Column("upload_started", sa.Double))
    op.create_table(
        "uploads",
        sa.Column("id", Exact(36), nullable=False),
        sa.Column("image_id", Exact(36), nullable=False),
        sa.Column("user", Exact(255)),
        sa.Column("project", Exact(255)),
        sa.Column("staged", sa.Boolean, nullable=False),
        sa.Column("store", Exact(255), nullable=False),
        sa.Column("key", Exact(255), nullable=False),
        sa.Column("target", Exact(255)),
        sa.Column("planned_size", sa.BigInteger),
        sa.Column("length", sa.BigInteger),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("writing", sa.Boolean, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("state", Word(10), nullable=False),
        sa.Column("digest", Exact),
        sa.Column("metadata", Exact),
        sa.Column("job_id", Exact(36)),
        sa.Column("reason", Exact),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_uploads_image_id"),
    )
    op.create_index("ix_uploads_expires", "uploads", ["expires"])
    columns = ["image_id", "created_at", "id"]
    op.create_index(f"ix_uploads_{'_'.join(columns)}", "uploads", columns)
