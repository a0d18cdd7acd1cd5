import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from setuptools import find_packages

from imsgate.registry import migrations, sql
from imsgate.registry.tables import METADATA


def test_revisions_build_the_schema_of_the_tables(migrated):
    engine = sa.create_engine(migrated.connection)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
        assert migrations.state(connection) is migrations.State.CURRENT
    engine.dispose()


def test_upgrade_may_be_repeated(settings):
    for _ in range(2):
        sql.upgrade(settings)
        sql.SqlRegistry(settings).close()


def test_revisions_are_shipped():
    assert "imsgate.registry.migrations.versions" in find_packages(include=["imsgate*"])


def test_files_are_named_by_their_revisions_in_order():
    script = ScriptDirectory.from_config(migrations.config())
    history = [revision.revision for revision in script.walk_revisions()]
    assert migrations.revisions() == history[::-1]
