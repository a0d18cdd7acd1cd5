"""Who uploaded an image's data, and when: by this, a repeated upload is recognized."""

import sqlalchemy as sa
from alembic import op

from imsgate.registry.sql.tables import Exact

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("images", sa.Column("uploaded_by", Exact(64)))
    op.add_column("images", sa.Column("uploaded_at", sa.Double))
