"""Translates the server's error responses and failed connections to the store contract.

Exceptions of the libraries contain addresses and paths. They are neither passed on nor kept as
the cause of an exception, which a traceback would print.
"""

import logging
import ssl

from urllib3 import exceptions

from imsgate import errors

_LOG = logging.getLogger(__name__)

_MISSING = frozenset({404, 410})
_FULL = frozenset({413, 507})
_DENIED = frozenset({401, 403, 407})
_BUSY = frozenset({429, 503})

#: What an operation has done if it succeeded. 202 and 207 promise less.
DONE = frozenset({200, 201, 204})

_PROBLEMS = {
    409: "the collection of http_store_url does not exist",
    411: "it accepts only images whose size is announced",
    423: "the file is locked",
}

#: Retry-After in seconds if the server sends none, and the maximum that is passed on.
_DEFAULT_RETRY_SECONDS, _MAX_RETRY_SECONDS = 30, 3600


class FileMissing(errors.StoreUnavailable):
    """There is no file of this name: 404 or 410."""


class FileExists(errors.StoreUnavailable):
    """A file of this name exists: 412."""


class BeyondEnd(errors.StoreUnavailable):
    """The file ends before the requested range: 416."""


class Unsupported(errors.StoreUnavailable):
    """The server does not support the method: 405 or 501."""


class Overloaded(errors.StoreUnavailable):
    """The server asks to come back later: 429 or 503."""


class NoResponse(errors.StoreUnavailable):
    """There was no complete response."""


def unreachable(store: str, method: str, error: Exception) -> NoResponse:
    """The error for a connection that failed with ``error``."""
    _LOG.info("Store %s: %s failed: %s", store, method, type(error).__name__)
    return NoResponse(store=store, problem=_connection_problem(error))


def _connection_problem(error: Exception) -> str:
    if isinstance(error, ssl.SSLError | exceptions.SSLError):
        return "its certificate is not trusted, or the TLS connection failed"
    if isinstance(error, exceptions.EmptyPoolError):
        return "all connections to it are in use: see http_store_connections"
    # NewConnectionError is a ConnectTimeoutError in urllib3 1.26.
    if isinstance(error, exceptions.NewConnectionError | ConnectionRefusedError):
        return "it cannot be reached"
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "it did not answer in time"
    return "the connection broke"


def refusal(store: str, method: str, status: int, retry_after: str = "") -> errors.Error:
    """The error for a response that does not mean success."""
    # To ask for a file that may be missing is ordinary.
    level = logging.DEBUG if status in _MISSING else logging.INFO
    _LOG.log(level, "Store %s: %s was answered with %s", store, method, status)
    if status in _FULL:
        return errors.StoreFull(store=store)
    if status in _DENIED:
        return errors.StoreDenied(store=store, problem=f"it answered {status} to {method}")
    if status in _BUSY:
        wait = _retry_seconds(retry_after)
        return Overloaded(store=store, problem="it is overloaded", retry_after=wait)
    if 300 <= status < 400:
        problem = f"it answered {status}, a redirect: see http_store_url"
        return errors.StoreUnavailable(store=store, problem=problem)
    kind = _KINDS.get(status, errors.StoreUnavailable)
    problem = _PROBLEMS.get(status, f"it answered {status} to {method}")
    return kind(store=store, problem=problem)


_KINDS: dict[int, type[errors.StoreUnavailable]] = {
    **dict.fromkeys(_MISSING, FileMissing),
    **dict.fromkeys((405, 501), Unsupported),
    412: FileExists,
    416: BeyondEnd,
}


def _retry_seconds(header: str) -> int:
    # Cut to nine digits, because int() refuses thousands of them.
    number = header.isascii() and header.isdigit()
    return min(int(header[:9]) if number else _DEFAULT_RETRY_SECONDS, _MAX_RETRY_SECONDS)
