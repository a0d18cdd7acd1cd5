"""The database: whether it answers, the revision of its tables, and its clock."""

import contextlib
import time
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation
from imsgate.errors import BadConfig, Unavailable
from imsgate.registry.loader import RegistrySettings
from imsgate.registry.sql import schema
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.registry.sql.migrations import State

#: Of a database in a file: the next start of the server changes it.
_BEFORE_START = (State.UNMADE, State.BEHIND)

#: Seconds by which two clocks may differ. The shortest useful lease is several times as long.
CLOCK_LIMIT = 5.0

#: The seconds since the epoch, with fractions, by SQLAlchemy's name of the dialect.
_NOW = {
    "postgresql": sa.text("SELECT extract(epoch FROM clock_timestamp())"),
    "mysql": sa.text("SELECT unix_timestamp(sysdate(6))"),
    "mariadb": sa.text("SELECT unix_timestamp(sysdate(6))"),
}


def check(installation: Installation) -> Iterator[Diagnosis]:
    """The connection, the revision and the clock."""
    if not installation.has_records:
        yield _finding("database", Severity.SKIPPED, "This service only passes requests on")
        return
    driver = installation.conf.read(RegistrySettings).driver
    if driver != "sql":
        yield _finding("database", Severity.SKIPPED, f"The registry driver {driver} uses none")
        return
    settings = installation.conf.read(DatabaseSettings)
    try:
        version = schema.version(settings)
    except BadConfig as problem:
        advice = (
            "Start the database server, and check that this host may connect with the user, "
            "password and database of [database] connection."
        )
        yield _finding("database.connection", Severity.ERROR, str(problem), advice)
        return
    embedded = schema.is_embedded(settings)
    yield _revision(version, embedded=embedded)
    if embedded:  # a file has the clock of this host
        return
    with contextlib.closing(Database(settings)) as opened:
        yield clock(opened)


def is_before_start(installation: Installation) -> bool:
    """Whether the database is a file that the next start creates or migrates."""
    if installation.conf.read(RegistrySettings).driver != "sql":
        return False
    settings = installation.conf.read(DatabaseSettings)
    return schema.is_embedded(settings) and schema.version(settings).state in _BEFORE_START


def _revision(version: schema.Version, *, embedded: bool) -> Diagnosis:
    if version.state is State.CURRENT:
        message = f"The tables have revision {version.revision}, as this release needs"
        return _finding("database.revision", Severity.OK, message)
    if version.state is State.FOREIGN:
        message = f"The tables have revision {version.revision}, which this release does not know"
        advice = "Install the release that upgraded the database, or restore a backup."
        return _finding("database.revision", Severity.ERROR, message, advice)
    had = f"revision {version.revision}" if version.revision else "no tables"
    message = f"The database has {had}, and this release needs {version.newest}"
    if embedded:
        message += "; the next start of this release migrates it"
        return _finding("database.revision", Severity.SKIPPED, message)
    advice = "Run 'imsgate db upgrade'."
    return _finding("database.revision", Severity.ERROR, message, advice)


def clock(opened: Database, now: Callable[[], float] = time.time) -> Diagnosis:
    """Compare the server's clock with ``now``, in seconds since the epoch.

    Hosts compare times of leases with their own clocks, and this server is what they all share.
    """
    name = "database.clock"
    try:
        with opened.reading() as connection:
            before = now()
            there = float(connection.scalar(_NOW[connection.dialect.name]))
            after = now()
    except Unavailable as error:
        return _finding(name, Severity.ERROR, f"{error}: {opened.explain(error)}")
    # Between the two, the server has looked at its clock.
    ahead = before - there if there < before else min(after - there, 0.0)
    message = f"The clock of this host differs by {abs(ahead):.1f} s from that of the database"
    if abs(ahead) <= CLOCK_LIMIT:
        return _finding(name, Severity.OK, message)
    advice = (
        "Synchronize the clocks of all hosts, for example with chrony: a host whose clock is ahead "
        "takes uploads and jobs away from hosts that still work on them."
    )
    return _finding(name, Severity.WARNING, message, advice)


def _finding(name: str, severity: Severity, message: str, advice: str = "") -> Diagnosis:
    return Diagnosis(check=name, severity=severity, message=f"{message}.", advice=advice)
