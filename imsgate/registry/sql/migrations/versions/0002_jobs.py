"""Jobs: work that continues after its request."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Document, Exact, Moment, Word

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", Exact(36), nullable=False),
        sa.Column("kind", Exact(64), nullable=False),
        sa.Column("project", Exact(255)),
        sa.Column("image_id", Exact(36)),
        sa.Column("arguments", Document, nullable=False),
        sa.Column("state", Word(10), nullable=False),
        sa.Column("progress", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("error_code", Exact(64)),
        sa.Column("reason", Exact),
        sa.Column("lease", sa.Double),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.Column("begin_at", Moment),
        sa.Column("end_at", Moment),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_jobs_image_id"),
    )
    for columns in (
        ["created_at", "id"],
        ["state", "created_at", "id"],
        ["project", "created_at", "id"],
        ["image_id", "created_at", "id"],
    ):
        op.create_index(f"ix_jobs_{'_'.join(columns)}", "jobs", columns)
