"""The schema's history, run by Alembic and configured here: there is no alembic.ini.

A new revision is one file in ``versions``, written by hand and named by its id. An empty
database is created from ``tables.METADATA``; tests compare the result with that of the
revisions.

Alembic is imported only where it is needed: the import took half the time of a first start,
and 15 MiB of memory in every worker.
"""

import enum
import importlib.resources
from typing import TYPE_CHECKING

import sqlalchemy as sa

from imsgate.registry.sql.tables import METADATA

if TYPE_CHECKING:
    from alembic.config import Config


def config() -> "Config":
    """Alembic's configuration, which its ``command`` functions take."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    settings = Config()
    settings.set_main_option("script_location", f"{__package__}:.")
    settings.set_main_option("path_separator", "os")
    return settings


def create(connection: sa.Connection) -> None:
    """Create the schema of the newest revision in an empty database, and record the revision.

    Raises SQLAlchemy's error if a table exists already.
    """
    METADATA.create_all(connection, checkfirst=False)
    _APPLIED.create(connection)
    connection.execute(sa.insert(_APPLIED).values(version_num=revisions()[-1]))


def upgrade(connection: sa.Connection) -> None:
    """Bring the schema to the newest revision, in the connection's transaction."""
    from alembic import command  # noqa: PLC0415 - see above

    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def revisions() -> list[str]:
    """All revisions that this code has, oldest first."""
    files = importlib.resources.files(f"{__package__}.versions").iterdir()
    names = (file.name for file in files if file.name.endswith(".py"))
    return sorted(name.partition("_")[0] for name in names if name[0].isdigit())


class State(enum.Enum):
    """The schema of a database, compared with this code's."""

    CURRENT = "is current"
    UNMADE = "has no tables yet: run 'imsgate db upgrade'"
    BEHIND = "is not migrated: run 'imsgate db upgrade'"
    FOREIGN = "belongs to a newer release of imsgate, or to another program"


#: Where Alembic records the applied revision, defined as Alembic would create it.
_APPLIED = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def revision(connection: sa.Connection) -> str | None:
    """The applied revision; None without tables."""
    if not sa.inspect(connection).has_table(_APPLIED.name):
        return None
    return ", ".join(sorted(connection.scalars(sa.select(_APPLIED.c.version_num)))) or None


def state(connection: sa.Connection) -> State:
    if not sa.inspect(connection).has_table(_APPLIED.name):
        return State.UNMADE
    known, applied = revisions(), set(connection.scalars(sa.select(_APPLIED.c.version_num)))
    if applied == {known[-1]}:
        return State.CURRENT
    return State.BEHIND if applied <= set(known) else State.FOREIGN
