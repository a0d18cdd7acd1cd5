"""What an error of the database means: run the transaction again, unavailable, or a bug."""

import contextlib
import functools
import random
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import exc

from imsgate.errors import Unavailable

#: Errors with which the server undid a transaction before its commit: a conflict with another
#: transaction, or a cut connection. PostgreSQL has SQLSTATEs (serialization failure, deadlock,
#: three kinds of shutdown) ...
_UNDONE_STATES = frozenset({"40001", "40P01", "57P01", "57P02", "57P03"})
#: ... and MariaDB has error numbers: deadlock (Galera also uses it when its nodes cannot agree
#: on a commit), and record changed since last read.
_UNDONE_NUMBERS = frozenset({1213, 1020})
#: MariaDB's errors for a lost connection (server shutdown, connection killed) that SQLAlchemy
#: does not recognize as such.
_DISCONNECT_NUMBERS = frozenset({1053, 1927})

#: The longest pause before each repetition of a transaction, in seconds.
_PAUSES_SECONDS = tuple(0.01 * 2**n for n in range(7))

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Undone(Unavailable):
    """The transaction has changed nothing, and may be run again as a whole."""


def repeated(transaction: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function that runs one transaction: run it again if the database undid it.

    It is not run again if the connection was lost during the commit, since the commit may have
    succeeded.
    """

    @functools.wraps(transaction)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for pause in _PAUSES_SECONDS:
            with contextlib.suppress(Undone):
                return transaction(*args, **kwargs)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - so that two do not collide again
        return transaction(*args, **kwargs)

    return run


def is_undone(error: exc.SQLAlchemyError) -> bool:
    """Whether the database has rolled back the transaction, unless the commit had begun."""
    if not isinstance(error, exc.DBAPIError):
        return False
    driver: Any = error.orig
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    undone = state in _UNDONE_STATES or _number(driver) in _UNDONE_NUMBERS
    return error.connection_invalidated or undone


def is_outage(error: exc.SQLAlchemyError) -> bool:
    """Whether the database cannot be used now; otherwise the error is a bug."""
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    if type(error) is exc.DatabaseError:  # no subclass: the file is damaged or not a database
        return True
    return isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError)


def is_disconnect(error: BaseException) -> bool:
    """Whether a MariaDB error ends the connection, although SQLAlchemy does not say so."""
    return _number(error) in _DISCONNECT_NUMBERS


def _number(error: Any) -> Any:
    """MariaDB's number of an error."""
    return error.args[0] if getattr(error, "args", None) else None
