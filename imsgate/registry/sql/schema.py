"""The schema of the configured database: created, migrated, and checked before it is used."""

import contextlib
import dataclasses
import os

from imsgate.config import Section
from imsgate.errors import BadConfig, Unavailable
from imsgate.registry.sql import database, migrations
from imsgate.registry.sql.database import DatabaseSettings
from imsgate.registry.sql.migrations import State


def is_embedded(settings: Section | DatabaseSettings) -> bool:
    """Whether the database is a local file, which the first start creates and migrates."""
    return database.parse(DatabaseSettings.of(settings)).get_backend_name() == "sqlite"


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """The revision of a database, None without tables, and how it compares with this code's."""

    revision: str | None
    newest: str
    state: State


def version(settings: Section | DatabaseSettings) -> Version:
    """Raises BadConfig if the database cannot be reached."""
    options = DatabaseSettings.of(settings)
    newest = migrations.revisions()[-1]
    if is_embedded(options) and not os.path.exists(database.parse(options).database or ""):
        return Version(None, newest, State.UNMADE)  # connecting would create an empty file
    opened = database.Database(options)
    try:
        with opened.reading() as connection:
            return Version(migrations.revision(connection), newest, migrations.state(connection))
    except Unavailable as error:
        raise _unusable(opened, error) from None
    finally:
        opened.close()


def upgrade(settings: Section | DatabaseSettings) -> tuple[str | None, str]:
    """Create or migrate the schema. Any number of processes may do it at the same time.

    Returns the revisions before and after, None before for a database without tables. Raises
    BadConfig if the database cannot be reached, or is newer than this code.
    """
    options = DatabaseSettings.of(settings)
    opened = database.Database(options)
    if is_embedded(options):
        _create_file(database.parse(options).database)
    try:
        with opened.migrating() as connection:
            state, before = migrations.state(connection), migrations.revision(connection)
            if state is State.FOREIGN:
                raise _wrong_schema(state)
            if state is State.UNMADE:
                migrations.create(connection)
            elif state is State.BEHIND:
                migrations.upgrade(connection)
            return before, migrations.revisions()[-1]
    except Unavailable as error:
        raise _unusable(opened, error) from None
    finally:
        opened.close()


def check(opened: database.Database, options: DatabaseSettings) -> None:
    """Raises BadConfig if the database cannot be reached or has another schema than this code."""
    if is_embedded(options) and not os.path.exists(database.parse(options).database or ""):
        raise _wrong_schema(State.UNMADE)  # connecting would create an empty file
    try:
        with opened.reading() as connection:
            state = migrations.state(connection)
    except Unavailable as error:
        raise _unusable(opened, error) from None
    if state is not State.CURRENT:
        raise _wrong_schema(state)


def _create_file(file: str | None) -> None:
    """Create SQLite's file with permissions for its owner only.

    SQLite gives the files beside it the same permissions. Jobs may contain URIs with passwords,
    and the directory may be open to everybody.
    """
    if file and file != ":memory:":
        with contextlib.suppress(OSError):  # it exists, or SQLite will say what is wrong
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _wrong_schema(state: State) -> BadConfig:
    return BadConfig(database.KEY, f"the database {state.value}")


def _unusable(opened: database.Database, error: Unavailable) -> BadConfig:
    return BadConfig(database.KEY, f"the database cannot be used: {opened.explain(error)}")
