"""Idempotency keys: which requests were begun, and their answers."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Bytes, Document, Exact

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", Exact(64), nullable=False),
        sa.Column("fingerprint", Exact(64), nullable=False),
        sa.Column("holder", Exact(32), nullable=False),
        sa.Column("lease", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", Document, nullable=False),
        sa.Column("body", Bytes),
        sa.PrimaryKeyConstraint("id", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires", "idempotency_keys", ["expires"])
