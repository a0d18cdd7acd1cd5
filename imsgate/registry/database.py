"""Connections to the database: pool, isolation, SQLite's switches, and what an outage becomes.

Transactions that read see one snapshot, so that a record and what belongs to it
are of the same moment. Those that write take their locks at once (SQLite) or
wait for the row (others), so that of two writers the later sees the earlier's work.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

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

#: Marks the engine whose transactions write.
_WRITES = "imsgate_writes"

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


class Database:
    """One process's connections. Nothing is opened before the first transaction."""

    def __init__(self, settings: Section) -> None:
        """Raises BadConfig for a URL that is none and for a missing driver."""
        self._url = parse(settings)
        self._engine = _engine(self._url, settings)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        if self._url.get_backend_name() == "sqlite":
            _prepare_sqlite(self._engine)
        else:
            self._writer = self._writer.execution_options(isolation_level="READ COMMITTED")

    def reading(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction that sees one snapshot. Raises Unavailable."""
        return _transaction(self._engine)

    def writing(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """A transaction that commits at the end of the block. Raises Unavailable."""
        return _transaction(self._writer)

    def close(self) -> None:
        """Close the idle connections; the next transaction opens a new one."""
        self._engine.dispose()

    def explain(self, error: Unavailable) -> str:
        """The cause of an outage in the driver's words, without the URL's secrets."""
        return without_secrets(self._url, getattr(error.__cause__, "orig", error.__cause__))

    @property
    def nulls_are_largest(self) -> bool:
        """Whether this database sorts NULL behind every value unless told otherwise."""
        return self._engine.dialect.name == "postgresql"


def parse(settings: Section) -> sa.URL:
    """The configured URL. Raises BadConfig, never showing it."""
    try:
        return sa.make_url(settings.connection)
    except (exc.ArgumentError, ValueError):
        raise BadConfig(KEY, "this is not a SQLAlchemy URL") from None


def without_secrets(url: sa.URL, problem: object) -> str:
    """The problem on one line, whatever of the URL's passwords it repeats left out."""
    query = url.normalized_query.items()
    secrets = [value for name, values in query if "pass" in name for value in values]
    text = str(problem)
    for secret in (url.password, *secrets):
        text = text.replace(secret, "***") if secret else text
    return " ".join(text.split())


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
            cursor.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait
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


def _is_outage(error: exc.SQLAlchemyError) -> bool:
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    if type(error) is exc.DatabaseError:  # of no kind: a file that is damaged, or no database
        return True
    return isinstance(error, (exc.OperationalError, exc.InterfaceError, exc.TimeoutError))


@contextlib.contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except exc.SQLAlchemyError as error:
        if not _is_outage(error):
            raise
        cause = getattr(error, "orig", error)
        LOG.error("The database failed: %s", without_secrets(engine.url, cause))
        raise Unavailable(what="The database") from error
