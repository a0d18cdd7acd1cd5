"""Indexes by which lists skip deleted images, and by which old jobs are removed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("images", sa.Column("alive", sa.Boolean, nullable=False, server_default="1"))
    images = sa.table("images", sa.column("status"), sa.column("alive"))
    gone = images.c.status.in_(["deleted", "pending_delete"])
    op.execute(sa.update(images).where(gone).values(alive=sa.false()))
    for key in ("created_at", "updated_at", "name", "owner", "visibility"):
        rest = ["id"] if key == "created_at" else ["created_at", "id"]
        by_alive = ["alive", key] if key not in ("owner", "visibility") else [key, "alive"]
        _index(*by_alive, *rest)
        op.drop_index(_name(key, *rest), "images")
    op.drop_index(_name("owner", "status"), "images")
    op.create_index("ix_jobs_end_at", "jobs", ["end_at"])


def _index(*columns: str) -> None:
    op.create_index(_name(*columns), "images", columns)


def _name(*columns: str) -> str:
    return f"ix_images_{'_'.join(columns)}"
