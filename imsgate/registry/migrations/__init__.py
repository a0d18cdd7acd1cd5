"""The schema's history, run by Alembic and configured here: there is no alembic.ini.

A new revision is one file in ``versions``, written by hand and named by its id; tests
compare what the revisions build with ``tables.METADATA``.

Alembic is imported where it is needed: a quarter of a server's start went into that,
and most starts find nothing to migrate.
"""

import enum
import importlib.resources
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config


def config() -> "Config":
    """Alembic's configuration, for its ``command`` functions too."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    settings = Config()
    settings.set_main_option("script_location", f"{__package__}:.")
    settings.set_main_option("path_separator", "os")
    return settings


def upgrade(connection: sa.Connection) -> None:
    """Bring the schema to the newest revision, in the connection's transaction."""
    from alembic import command  # noqa: PLC0415 - see above

    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def revisions() -> list[str]:
    """Every revision of this code, oldest first."""
    files = importlib.resources.files(f"{__package__}.versions").iterdir()
    names = (file.name for file in files if file.name.endswith(".py"))
    return sorted(name.partition("_")[0] for name in names if name[0].isdigit())


class State(enum.Enum):
    """How a database's schema relates to this code's."""

    CURRENT = "is current"
    BEHIND = "is not migrated: run 'imsgate db upgrade'"
    FOREIGN = "is of a newer release, or not imsgate's"


#: Where Alembic notes what has been applied.
_APPLIED = sa.table("alembic_version", sa.column("version_num"))


def state(connection: sa.Connection) -> State:
    known, found = revisions(), set()
    if sa.inspect(connection).has_table(_APPLIED.name):
        found = set(connection.scalars(sa.select(_APPLIED.c.version_num)))
    if found == {known[-1]}:
        return State.CURRENT
    return State.BEHIND if found <= set(known) else State.FOREIGN
