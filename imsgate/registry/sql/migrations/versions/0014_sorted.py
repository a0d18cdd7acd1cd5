"""Indexes in the order of pages for every sort key: for ``id``, and with ``created_at``."""

from alembic import op

revision = "0014"
down_revision = "0013"

_SORT_KEYS = ("status", "size", "disk_format", "container_format")


def upgrade() -> None:
    op.create_index("ix_images_alive_id", "images", ["alive", "id"])
    for name in _SORT_KEYS:
        columns = ["alive", name, "created_at", "id"]
        op.create_index(f"ix_images_{'_'.join(columns)}", "images", columns)
    for name in _SORT_KEYS:
        op.drop_index(f"ix_images_alive_{name}_id", "images")
