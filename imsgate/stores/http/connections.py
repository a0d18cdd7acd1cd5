"""Connections to the server: a pool for requests without a body, and new ones for uploads."""

import base64
import http.client
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import urllib3

from imsgate import errors
from imsgate.stores.http import failures, options
from imsgate.stores.http.options import Base, HttpSettings
from imsgate.telemetry import trace_context

#: What is read of a response whose body is of no interest, so that its connection can be reused.
_DRAINED_BYTES = 64 * 1024

#: Methods whose repetition changes nothing.
_REPEATABLE = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PROPFIND"})


class Connections:
    """The connections of this process.

    A store may be built before a server forks its workers. If two processes shared a connection,
    each would receive responses meant for the other.
    """

    def __init__(self, store: str, settings: HttpSettings, attempts: int) -> None:
        """``store`` is named in errors; ``attempts`` is how often a request is sent at most."""
        self.store = store
        self.settings = settings
        self.base = Base(settings)
        self._attempts = attempts
        self._context = options.tls_context(store, settings)
        self._headers = {
            "User-Agent": "imsgate",
            "Accept-Encoding": "identity",
            **_authorization(settings),
        }
        self._lock = threading.Lock()
        self._pid = 0
        self._pool: Any = None
        self._uploads = threading.BoundedSemaphore()

    @contextmanager
    def request(
        self, method: str, name: str, headers: Mapping[str, str] = {}, body: bytes | None = None
    ) -> Iterator[Any]:
        """The response of urllib3 to a request for the file ``name``, with its body unread.

        Raises NoResponse, also if ``OSError`` or urllib3's errors leave the block.
        """
        response = self._send(method, name, headers, body)
        try:
            yield response
        except (urllib3.exceptions.HTTPError, OSError) as error:
            response.close()
            raise failures.unreachable(self.store, method, error) from None
        finally:
            _drain(response)
            response.release_conn()

    def _send(self, method: str, name: str, headers: Mapping[str, str], body: bytes | None) -> Any:
        settings = self.settings
        attempts = self._attempts if method in _REPEATABLE else 1
        slow = method in ("MOVE", "DELETE")
        read = settings.http_store_commit_timeout if slow else settings.http_store_read_timeout
        timeout = urllib3.Timeout(connect=settings.http_store_connect_timeout, read=read)
        pool, _ = self._connections()
        for remaining in reversed(range(attempts)):
            try:
                return pool.urlopen(
                    method,
                    self.base.path_of(name),
                    body=body,
                    headers={**self._headers, **trace_context.headers(), **headers},
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    timeout=timeout,
                    pool_timeout=settings.http_store_connect_timeout,
                    preload_content=False,
                    decode_content=False,
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if not remaining or isinstance(error, urllib3.exceptions.EmptyPoolError):
                    raise failures.unreachable(self.store, method, error) from None
        raise AssertionError("unreachable")

    def begin_put(
        self, name: str, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, threading.BoundedSemaphore]:
        """A new connection to which the header of a PUT was sent, and what to release after it.

        Raises NoResponse.
        """
        _, uploads = self._connections()
        wait = self.settings.http_store_connect_timeout
        if not uploads.acquire(timeout=wait):
            problem = "all connections to it are in use: see http_store_connections"
            raise errors.StoreUnavailable(store=self.store, problem=problem)
        connection = self._connection()
        try:
            connection.connect()
            connection.sock.settimeout(self.settings.http_store_read_timeout)
            connection.putrequest(
                "PUT", self.base.path_of(name), skip_host=True, skip_accept_encoding=True
            )
            own = {"Host": self.base.netloc, **self._headers, **trace_context.headers()}
            for header, value in {**own, **headers}.items():
                connection.putheader(header, value)
            connection.endheaders()
        except BaseException as error:
            connection.close()
            uploads.release()
            if isinstance(error, OSError | http.client.HTTPException):
                raise failures.unreachable(self.store, "PUT", error) from None
            raise
        return connection, uploads

    def _connection(self) -> http.client.HTTPConnection:
        base, timeout = self.base, self.settings.http_store_connect_timeout
        if self._context is None:
            return http.client.HTTPConnection(base.host, base.port, timeout=timeout)
        return http.client.HTTPSConnection(
            base.host, base.port, timeout=timeout, context=self._context
        )

    def _connections(self) -> tuple[Any, threading.BoundedSemaphore]:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    count = self.settings.http_store_connections
                    self._pool = _pool(self.base, self._context, count)
                    self._uploads = threading.BoundedSemaphore(count)
                    self._pid = os.getpid()
        return self._pool, self._uploads

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            if self._pid == os.getpid():
                self._pool.close()
                self._pid = 0


def _drain(response: Any) -> None:
    """Read the rest of a response if it is short; else close the connection."""
    length = response.length_remaining
    if length is not None and length <= _DRAINED_BYTES:
        with suppress(urllib3.exceptions.HTTPError, OSError):
            response.read()
    if not response.isclosed():
        response.close()


def _pool(base: Base, context: Any, count: int) -> Any:
    if context is None:
        return urllib3.HTTPConnectionPool(base.host, base.port, maxsize=count, block=True)
    return urllib3.HTTPSConnectionPool(
        base.host, base.port, maxsize=count, block=True, ssl_context=context
    )


def _authorization(settings: HttpSettings) -> dict[str, str]:
    if settings.http_store_token:
        return {"Authorization": f"Bearer {settings.http_store_token}"}
    if settings.http_store_user:
        # RFC 7617: UTF-8 is the only encoding that a server can announce.
        pair = f"{settings.http_store_user}:{settings.http_store_password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}
