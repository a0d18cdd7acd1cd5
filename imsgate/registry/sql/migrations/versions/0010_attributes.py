"""Indexes by which images with a certain attribute are found."""

from alembic import op

revision = "0010"
down_revision = "0009"

_ATTRIBUTES = (
    *("status", "size", "virtual_size", "disk_format", "container_format"),
    *("min_disk", "min_ram", "protected", "os_hidden", "checksum", "os_hash_value"),
)


def upgrade() -> None:
    for name in _ATTRIBUTES:
        op.create_index(f"ix_images_alive_{name}_id", "images", ["alive", name, "id"])
    op.drop_index("ix_images_checksum", "images")
    op.drop_index("ix_images_os_hash_value", "images")
