"""Alembic runs this to apply revisions, on the caller's connection and in its transaction."""

from alembic import context

from imsgate.registry.sql.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
