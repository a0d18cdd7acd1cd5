"""Images with their properties, tags and locations, and members."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Exact, Moment, Word

revision = "0001"
down_revision = None


def upgrade() -> None:
    _images()
    _children()
    _members()


def _images() -> None:
    op.create_table(
        "images",
        sa.Column("id", Exact(36), nullable=False),
        sa.Column("owner", Exact(255)),
        sa.Column("name", Exact(255)),
        sa.Column("status", Word(30), nullable=False),
        sa.Column("visibility", Word(30), nullable=False),
        sa.Column("disk_format", Exact(20)),
        sa.Column("container_format", Exact(20)),
        sa.Column("min_disk", sa.BigInteger, nullable=False),
        sa.Column("min_ram", sa.BigInteger, nullable=False),
        sa.Column("protected", sa.Boolean, nullable=False),
        sa.Column("os_hidden", sa.Boolean, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("virtual_size", sa.BigInteger),
        sa.Column("checksum", Exact(32)),
        sa.Column("os_hash_algo", Exact(64)),
        sa.Column("os_hash_value", Exact(128)),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.Column("upload_store", Exact(255)),
        sa.Column("upload_key", Exact(255)),
        sa.Column("upload_expires", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
    )
    for columns in (
        ["status"],
        ["checksum"],
        ["os_hash_value"],
        ["upload_expires"],
        ["created_at", "id"],
        ["updated_at", "created_at", "id"],
        ["name", "created_at", "id"],
        ["owner", "created_at", "id"],
        ["visibility", "created_at", "id"],
    ):
        op.create_index(f"ix_images_{'_'.join(columns)}", "images", columns)


def _child(table: str, *columns: sa.Column[Any], key: str) -> None:
    op.create_table(
        table,
        sa.Column("image_id", Exact(36), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("image_id", key, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=f"fk_{table}_image_id"),
    )


def _children() -> None:
    _child(
        "image_properties",
        sa.Column("name", Exact(255), nullable=False),
        sa.Column("value", Exact, nullable=False),
        key="name",
    )
    op.create_index("ix_image_properties_name", "image_properties", ["name"])
    _child("image_tags", sa.Column("tag", Exact(255), nullable=False), key="tag")
    op.create_index("ix_image_tags_tag", "image_tags", ["tag"])
    _child(
        "image_locations",
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("store", Exact(255), nullable=False),
        sa.Column("url", Exact, nullable=False),
        key="position",
    )


def _members() -> None:
    _child(
        "image_members",
        sa.Column("member_id", Exact(255), nullable=False),
        sa.Column("status", Word(30), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        key="member_id",
    )
    op.create_index("ix_image_members_member_id", "image_members", ["member_id"])
