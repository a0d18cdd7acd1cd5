"""The schema of the configured database: created, migrated, and checked before it is used."""

import contextlib
import os

from imsgate.config import Section
from imsgate.errors import BadConfig, Unavailable
from imsgate.registry import database, migrations
from imsgate.registry.database import DatabaseSettings
from imsgate.registry.migrations import State


def is_embedded(settings: Section | DatabaseSettings) -> bool:
    """Whether the database is a local file, which the first start creates and migrates."""
    return database.parse(DatabaseSettings.of(settings)).get_backend_name() == "sqlite"


def upgrade(settings: Section | DatabaseSettings) -> None:
    """Create or migrate the schema. Any number of processes may do it at the same time.

    Raises BadConfig if the database cannot be reached, or is newer than this code.
    """
    options = DatabaseSettings.of(settings)
    opened = database.Database(options)
    if is_embedded(options):
        _create_file(database.parse(options).database)
    try:
        with opened.migrating() as connection:
            state = migrations.state(connection)
            if state is State.FOREIGN:
                raise _wrong_schema(state)
            if state is State.UNMADE:
                migrations.create(connection)
            elif state is State.BEHIND:
                migrations.upgrade(connection)
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
