"""The schema's history, run by Alembic and configured here: there is no alembic.ini.

A new revision is one file in ``versions``, written by hand; tests compare what
the revisions build with ``tables.METADATA``.
"""

import enum

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory


def config() -> Config:
    """Alembic's configuration, for its ``command`` functions too."""
    settings = Config()
    settings.set_main_option("script_location", f"{__package__}:.")
    settings.set_main_option("path_separator", "os")
    return settings


def upgrade(connection: sa.Connection) -> None:
    """Bring the schema to the newest revision, in the connection's transaction."""
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


class State(enum.Enum):
    """How a database's schema relates to this code's."""

    CURRENT = "is current"
    BEHIND = "is not migrated: run 'imsgate db upgrade'"
    FOREIGN = "is of a newer release, or not imsgate's"


def state(connection: sa.Connection) -> State:
    script = ScriptDirectory.from_config(config())
    found = set(MigrationContext.configure(connection).get_current_heads())
    if found == set(script.get_heads()):
        return State.CURRENT
    known = {revision.revision for revision in script.walk_revisions()}
    return State.BEHIND if found <= known else State.FOREIGN
