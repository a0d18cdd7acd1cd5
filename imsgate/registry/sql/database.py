"""Connections to the database: options, pool, isolation, and the settings of each server.

A transaction that reads sees one snapshot, so that a record and its properties are of the same
moment. A transaction that writes takes its lock at the start (SQLite) or waits for the row
(other databases), so that the second of two writers sees what the first one wrote.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg
from sqlalchemy import event, exc
from sqlalchemy.pool import QueuePool

from imsgate import metrics
from imsgate.errors import BadConfig, Unavailable
from imsgate.registry.sql import outages
from imsgate.settings import Settings
from imsgate.telemetry.dependencies import Dependency

LOG = logging.getLogger(__name__)

DATABASE = Dependency("The database", LOG)

GROUP = "database"

#: The configuration key that a BadConfig of this module names.
KEY = "[database] connection"

#: How long a SQLite transaction waits for another process's.
_SQLITE_WAIT_SECONDS = 60

_MYSQL = ("mysql", "mariadb")
_LIBPQ = ("psycopg", "psycopg2")

#: PostgreSQL names its advisory locks by numbers; any number works that nobody else uses.
_MIGRATION_LOCK = 0x696D7367617465
#: How long a migration waits for another process's.
_MIGRATION_WAIT_SECONDS = 3600

#: The execution option of the engine whose transactions write.
_WRITES = "imsgate_writes"

OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "connection",
        default="sqlite:///$state_path/imsgate.sqlite",
        secret=True,
        help="SQLAlchemy URL of the database. SQLite is for a single host; several hosts need "
        "PostgreSQL or MariaDB.",
    ),
    cfg.IntOpt(
        "max_pool_size",
        default=5,
        min=1,
        help="Number of connections that each process keeps open while it is idle.",
    ),
    cfg.IntOpt(
        "max_overflow",
        default=50,
        min=0,
        help="Number of connections that each busy process may open beyond max_pool_size.",
    ),
    cfg.IntOpt(
        "pool_timeout",
        default=30,
        min=1,
        help="Seconds that a request waits for a free connection before it fails with 503.",
    ),
    cfg.IntOpt(
        "connection_recycle_time",
        default=3600,
        min=1,
        help="Seconds after which a connection is replaced by a new one. Set it below the idle "
        "timeout of the database server and of every proxy or firewall in between.",
    ),
)


class DatabaseSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[database]``."""

    connection: str
    max_pool_size: int
    max_overflow: int
    pool_timeout: int
    connection_recycle_time: int


class Database:
    """The connections of one process. The first transaction opens the first connection."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Raises BadConfig for an invalid URL or a missing driver."""
        self._url = parse(settings)
        self._engine = _engine(self._url, settings)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        backend = self._url.get_backend_name()
        if backend == "sqlite":
            _prepare_sqlite(self._engine)
        else:
            if backend in _MYSQL:
                _prepare_mysql(self._engine)
            elif self._engine.driver in _LIBPQ:
                _prepare_postgresql(self._engine)
            self._writer = self._writer.execution_options(isolation_level="READ COMMITTED")

    def reading(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction that sees one snapshot.

        Raises Unavailable; Undone if the transaction may be run again; BadConfig if the database
        cannot store every text.
        """
        return _transaction(self._engine)

    def writing(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction that is committed at the end of the block. Raises what ``reading`` does."""
        return _transaction(self._writer)

    @contextlib.contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """As ``writing``, but one process at a time.

        Raises Unavailable, and BadConfig after an hour of waiting for another process.
        """
        with self.writing() as connection:
            if self._engine.dialect.name == "postgresql":
                lock = sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)
                connection.execute(sa.select(lock))
            elif self._engine.dialect.name in _MYSQL:
                # A lock of the session, since each DDL statement ends the transaction here. Its
                # name is the server's, so it contains the database: others may be migrated, too.
                name = sa.func.concat("imsgate ", sa.func.md5(sa.func.database()))
                lock = sa.func.get_lock(name, _MIGRATION_WAIT_SECONDS)
                if not connection.scalar(sa.select(lock)):
                    raise BadConfig(KEY, "another process has been migrating it for an hour")
            # The lock ends with the transaction or the session; Database.close ends the latter.
            yield connection

    def close(self) -> None:
        """Close the idle connections; the next transaction opens a new one."""
        self._engine.dispose()

    def explain(self, error: Unavailable) -> str:
        """The cause of an outage as the driver reports it, without the secrets of the URL."""
        cause = _reported(self._url, error.__cause__)
        # SQLite does not name the file.
        file = self._url.get_backend_name() == "sqlite" and self._url.database
        return f"{file}: {cause}" if file else cause

    @property
    def nulls_are_largest(self) -> bool:
        """Whether this database sorts NULL above every value by default."""
        return self._engine.dialect.name == "postgresql"


def parse(settings: DatabaseSettings) -> sa.URL:
    """The configured URL. Raises BadConfig, which never shows the URL."""
    try:
        url = sa.make_url(settings.connection)
    except (exc.ArgumentError, ValueError):
        raise BadConfig(KEY, "this is not a SQLAlchemy URL") from None
    if "@" in (url.host or ""):
        # What precedes the last @ is then the end of a password.
        raise BadConfig(KEY, "write %40 for each @ in the user name and the password")
    return url


def without_secrets(url: sa.URL, problem: object) -> str:
    """The problem on one line, with the URL's passwords replaced by asterisks."""
    query = url.normalized_query.items()
    secrets = [value for name, values in query if "pass" in name for value in values]
    text = str(problem)
    for secret in (url.password, *secrets):
        text = text.replace(secret, "***") if secret else text
    return " ".join(text.split())


def _reported(url: sa.URL, error: BaseException | None) -> str:
    """An error in the driver's words."""
    return without_secrets(url, getattr(error, "orig", error))


def _engine(url: sa.URL, settings: DatabaseSettings) -> sa.Engine:
    sqlite = url.get_backend_name() == "sqlite"
    special: dict[str, Any] = (
        # The driver must not begin transactions by itself: see _prepare_sqlite.
        {"connect_args": {"isolation_level": None, "timeout": _SQLITE_WAIT_SECONDS}}
        if sqlite
        else {"isolation_level": "REPEATABLE READ", "pool_pre_ping": True}
    )
    try:
        return sa.create_engine(
            url,
            poolclass=QueuePool,
            pool_size=settings.max_pool_size,
            max_overflow=settings.max_overflow,
            pool_timeout=settings.pool_timeout,
            pool_recycle=settings.connection_recycle_time,
            hide_parameters=True,
            **special,
        )
    except (exc.ArgumentError, ImportError) as error:
        problem = f"no driver for {url.drivername!r}: {without_secrets(url, error)}"
        raise BadConfig(KEY, problem) from None


def _prepare_sqlite(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            _use_wal(cursor)
            # A 204 promises that the image is stored, but with NORMAL, the default for WAL, a
            # power failure loses the last commits. There are only two commits per upload.
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later fails at once, whatever the timeout, if
        # another one wrote in between. So a writer takes the lock at the start.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@outages.repeated
def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Keep readers and the writer from waiting for each other.

    A new file changes to WAL once. If two connections do that at the same moment, one fails at
    once, whatever the timeout.
    """
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise outages.Undone(what="The database") from error


def _prepare_postgresql(engine: sa.Engine) -> None:
    # Inserted before SQLAlchemy's own listener, which asks the server for its version: with
    # SQL_ASCII it receives bytes and fails.
    @event.listens_for(engine, "connect", insert=True)
    def check_encoding(connection: Any, record: object) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            problem = f"the encoding is {encoding}: create a database with -E UTF8 -T template0"
            raise BadConfig(KEY, problem)


def _prepare_mysql(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_strict_mode(connection: Any, record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            # The server may be configured to truncate long values without an error.
            cursor.execute("SET SESSION sql_mode = 'TRADITIONAL'")

    @event.listens_for(engine, "handle_error")
    def mark_disconnect(context: sa.ExceptionContext) -> None:
        if outages.is_disconnect(context.original_exception):
            context.is_disconnect = True


@contextlib.contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    committing = False
    try:
        with metrics.PHASE_SECONDS.time("database"), engine.begin() as connection:
            yield connection
            committing = True
        DATABASE.works()
    except exc.SQLAlchemyError as error:
        lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
        if outages.is_undone(error) and not (committing and lost):
            LOG.warning("The database undid a transaction: %s", _reported(engine.url, error))
            raise outages.Undone(what="The database") from error
        if not outages.is_outage(error):
            raise
        DATABASE.failed(_reported(engine.url, error))
        raise Unavailable(what="The database") from error
