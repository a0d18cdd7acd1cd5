"""Connections to the database: pool, isolation, SQLite's switches, and what an outage becomes.

Transactions that read see one snapshot, so that a record and what belongs to it
are of the same moment. Those that write take their locks at once (SQLite) or
wait for the row (others), so that of two writers the later sees the earlier's work.
"""

import contextlib
import functools
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from oslo_config import cfg
from oslo_log import log
from sqlalchemy import event, exc
from sqlalchemy.pool import QueuePool

from imsgate.config import Section
from imsgate.errors import BadConfig, Unavailable

LOG = log.getLogger(__name__)

#: The configuration key that a refusal to start names.
KEY = "[database] connection"

#: Seconds a SQLite transaction waits for another process's.
_SQLITE_WAIT = 60

_MYSQL = ("mysql", "mariadb")
_LIBPQ = ("psycopg", "psycopg2")

#: PostgreSQL names its locks by numbers; any will do that nobody else has.
_MIGRATION = 0x696D7367617465
#: Seconds that a migration waits for another process's.
_MIGRATION_WAIT = 3600

#: Marks the engine whose transactions write.
_WRITES = "imsgate_writes"

#: Where others got in the way, or the connection was cut, before anything was committed:
#: SQLSTATE for PostgreSQL (serialization, deadlock, three ways to shut down) ...
_UNDONE_STATES = frozenset({"40001", "40P01", "57P01", "57P02", "57P03"})
#: ... and for MariaDB its own numbers (deadlock, which Galera also calls it when its nodes
#: cannot agree on a commit; row changed since).
_UNDONE_NUMBERS = frozenset({1213, 1020})
#: These two (shutdown, killed) SQLAlchemy does not know for the end of a connection.
_CUT_NUMBERS = frozenset({1053, 1927})

#: How often a transaction is run again, and the longest pause before each, in seconds.
_PAUSES = tuple(0.01 * 2**n for n in range(7))

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "connection",
        default="sqlite:///$state_path/imsgate.sqlite",
        secret=True,
        help="SQLAlchemy URL of the database. SQLite serves one host.",
    ),
    cfg.IntOpt(
        "max_pool_size",
        default=5,
        min=1,
        help="Connections each process keeps open.",
    ),
    cfg.IntOpt(
        "max_overflow",
        default=50,
        min=0,
        help="Connections each process may open beyond max_pool_size while it is busy.",
    ),
    cfg.IntOpt(
        "pool_timeout",
        default=30,
        min=1,
        help="Seconds a request waits for a free connection before it is answered 503.",
    ),
    cfg.IntOpt(
        "connection_recycle_time",
        default=3600,
        min=1,
        help="Seconds after which a connection is replaced; below any idle limit on the way.",
    ),
)


class Undone(Unavailable):
    """The transaction left nothing behind: it may be run again as a whole."""


def repeated(transaction: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorates what may be run again, as a whole, when the database has undone it.

    A connection that was lost at the commit itself is not tried again: nobody knows
    whether it took place.
    """

    @functools.wraps(transaction)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for pause in _PAUSES:
            with contextlib.suppress(Undone):
                return transaction(*args, **kwargs)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - so that two do not meet again
        return transaction(*args, **kwargs)

    return run


class Database:
    """One process's connections. Nothing is opened before the first transaction."""

    def __init__(self, settings: Section) -> None:
        """Raises BadConfig for a URL that is none and for a missing driver."""
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
        """A transaction that sees one snapshot. Raises Unavailable; Undone where it may be
        run again; BadConfig for a database that cannot hold every text."""
        return _transaction(self._engine)

    def writing(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction that commits at the end of the block. Raises as ``reading``."""
        return _transaction(self._writer)

    @contextlib.contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """``writing``, by one process at a time. Raises Unavailable."""
        with self.writing() as connection:
            if self._engine.dialect.name == "postgresql":
                lock = sa.func.pg_advisory_xact_lock(_MIGRATION)
                connection.execute(sa.select(lock))
            elif self._engine.dialect.name in _MYSQL:
                # Of the session, for there each statement of a migration ends the transaction;
                # and of the whole server, whose other databases are none of ours.
                name = sa.func.concat("imsgate ", sa.func.md5(sa.func.database()))
                if not connection.scalar(sa.select(sa.func.get_lock(name, _MIGRATION_WAIT))):
                    raise BadConfig(KEY, "another process has been migrating it for an hour")
            # The lock ends with transaction or session: "Database.close" sees to the latter.
            yield connection

    def close(self) -> None:
        """Close the idle connections; the next transaction opens a new one."""
        self._engine.dispose()

    def explain(self, error: Unavailable) -> str:
        """The cause of an outage in the driver's words, without the URL's secrets."""
        said = _said(self._url, error.__cause__)
        # SQLite does not say which file.
        file = self._url.get_backend_name() == "sqlite" and self._url.database
        return f"{file}: {said}" if file else said

    @property
    def nulls_are_largest(self) -> bool:
        """Whether this database sorts NULL behind every value unless told otherwise."""
        return self._engine.dialect.name == "postgresql"


def parse(settings: Section) -> sa.URL:
    """The configured URL. Raises BadConfig, never showing it."""
    try:
        url = sa.make_url(settings.connection)
    except (exc.ArgumentError, ValueError):
        raise BadConfig(KEY, "this is not a SQLAlchemy URL") from None
    if "@" in (url.host or ""):
        # What stands before it is the end of a password.
        raise BadConfig(KEY, "in a user name and a password @ is written %40")
    return url


def without_secrets(url: sa.URL, problem: object) -> str:
    """The problem on one line, whatever of the URL's passwords it repeats left out."""
    query = url.normalized_query.items()
    secrets = [value for name, values in query if "pass" in name for value in values]
    text = str(problem)
    for secret in (url.password, *secrets):
        text = text.replace(secret, "***") if secret else text
    return " ".join(text.split())


def _said(url: sa.URL, error: BaseException | None) -> str:
    """The driver's own words."""
    return without_secrets(url, getattr(error, "orig", error))


def _engine(url: sa.URL, settings: Section) -> sa.Engine:
    sqlite = url.get_backend_name() == "sqlite"
    special: dict[str, Any] = (
        # The driver must not begin transactions on its own: see _prepare_sqlite.
        {"connect_args": {"isolation_level": None, "timeout": _SQLITE_WAIT}}
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
    def switches(connection: Any, record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            _use_wal(cursor)
            # A 204 promises that the image is kept: WAL's usual NORMAL forgets the last
            # commits when the power fails. There are two commits per upload.
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A reader that turns into a writer fails at once when another wrote meanwhile,
        # whatever the timeout: so a writer asks for the lock first.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@repeated
def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Let readers and the writer not wait for one another.

    A new file turns to that once; of two connections that turn it at the same moment one
    fails at once, whatever the timeout.
    """
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise Undone(what="The database") from error


def _prepare_postgresql(engine: sa.Engine) -> None:
    # Before SQLAlchemy asks the server for its version: in SQL_ASCII it gets bytes, and fails.
    @event.listens_for(engine, "connect", insert=True)
    def encoding(connection: Any, record: object) -> None:
        found = connection.info.parameter_status("server_encoding")
        if found != "UTF8":
            problem = f"this database is in {found}: create one with -E UTF8 -T template0"
            raise BadConfig(KEY, problem)


def _prepare_mysql(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def strict(connection: Any, record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            # A server may have been told to cut off what is too long, and to say nothing.
            cursor.execute("SET SESSION sql_mode = 'TRADITIONAL'")

    @event.listens_for(engine, "handle_error")
    def cut(context: sa.ExceptionContext) -> None:
        if _number(context.original_exception) in _CUT_NUMBERS:
            context.is_disconnect = True


def _number(error: Any) -> Any:
    """MariaDB's number of an error."""
    return error.args[0] if getattr(error, "args", None) else None


def _is_undone(error: exc.SQLAlchemyError) -> bool:
    """Whether the database has rolled back what was not at its commit yet."""
    if not isinstance(error, exc.DBAPIError):
        return False
    driver: Any = error.orig
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    undone = state in _UNDONE_STATES or _number(driver) in _UNDONE_NUMBERS
    return error.connection_invalidated or undone


def _is_outage(error: exc.SQLAlchemyError) -> bool:
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    if type(error) is exc.DatabaseError:  # of no kind: a file that is damaged, or no database
        return True
    return isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError))


@contextlib.contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    committing = False
    try:
        with engine.begin() as connection:
            yield connection
            committing = True
    except exc.SQLAlchemyError as error:
        lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
        if _is_undone(error) and not (committing and lost):
            LOG.warning("The database undid a transaction: %s", _said(engine.url, error))
            raise Undone(what="The database") from error
        if not _is_outage(error):
            raise
        LOG.error("The database failed: %s", _said(engine.url, error))
        raise Unavailable(what="The database") from error
