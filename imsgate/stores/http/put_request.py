"""One PUT request whose body is written piece by piece.

urllib3 pulls a body from an iterator, which would take a thread for each upload, and does not look
at a response before it has sent all of it. So this is http.client's connection, beside which the
socket is read: a server that is full or denies access says so in the first second, and its
response is lost if the connection is reset while more is being sent.
"""

import http.client
import io
import ssl
from typing import Any

from imsgate import errors
from imsgate.stores.http import failures
from imsgate.stores.http.connections import Connections

#: Bytes that are sent at a time; the timeout of a socket covers all of a ``sendall``.
_SLICE_BYTES = 256 * 1024
_READ_BYTES = 16 * 1024

#: Informational responses that are skipped: 100, 102 of WebDAV servers, and 103.
_MAX_INFORMATIONAL = 100

#: What reading without waiting raises if there is nothing to read.
_NOTHING = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class PutRequest:
    """A PUT of ``size`` bytes, or in chunks if ``size`` is None.

    The request stays incomplete until ``finish``, so the server stores nothing before.
    """

    def __init__(self, connections: Connections, name: str, size: int | None) -> None:
        """Connect and send the header. Raises StoreUnavailable."""
        self._connections = connections
        self._name = name
        self._size = size
        self._sent = 0
        #: The last byte of an announced size.
        self._held = b""
        self._connection: http.client.HTTPConnection | None = None
        self._incoming: _Incoming | None = None
        self._uploads: Any = None
        self._closed = False
        if size != 0:  # an empty request would be complete
            self._begin()

    def _begin(self) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        if self._connections.settings.http_store_conditional_writes:
            headers["If-None-Match"] = "*"
        if self._size is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(self._size)
        self._connection, self._uploads = self._connections.begin_put(self._name, headers)
        self._incoming = _Incoming(self._connection.sock)

    def write(self, chunk: bytes) -> None:
        """Send ``chunk``, which must fit in the announced size.

        Raises StoreFull, StoreUnavailable or StoreDenied, also if the server has answered.
        """
        self._sent += len(chunk)
        rest = memoryview(chunk)
        if self._size is not None and self._sent == self._size:
            rest, self._held = rest[:-1], bytes(rest[-1:])
        if self._size is None:
            self._send(b"%x\r\n" % len(chunk))
        while rest:
            self._check_answer()
            self._send(rest[:_SLICE_BYTES])
            rest = rest[_SLICE_BYTES:]
        if self._size is None:
            self._send(b"\r\n")

    def finish(self) -> None:
        """Send the end of the request and wait for the response, which must mean success.

        Raises StoreFull, StoreUnavailable or StoreDenied; FileExists if nothing was stored
        because a file of this name exists.
        """
        if self._size == 0 and not self._closed:
            self._begin()  # and the response may be here before anything else
        else:
            self._check_answer()
        if self._size is None:
            self._send(b"0\r\n\r\n")
        elif self._held:
            self._send(self._held)
        status, retry_after = self._answer(self._connections.settings.http_store_commit_timeout)
        self.close()
        if status not in failures.DONE:
            raise failures.refusal(self._connections.store, "PUT", status, retry_after)

    def close(self) -> None:
        """Close the connection. Without ``finish``, the server discards what it received."""
        connection, self._connection = self._connection, None
        self._closed = True
        if connection is not None:
            connection.close()
            self._uploads.release()

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._open().send(data)
        except OSError as error:
            self._raise_answer(error)

    def _raise_answer(self, error: OSError) -> None:
        """Raise what the server answered before it closed the connection."""
        if isinstance(error, TimeoutError):
            raise failures.unreachable(self._connections.store, "PUT", error) from None
        try:
            status, retry_after = self._answer(self._connections.settings.http_store_read_timeout)
        except errors.StoreUnavailable:
            raise failures.unreachable(self._connections.store, "PUT", error) from None
        raise self._early(status, retry_after) from None

    def _check_answer(self) -> None:
        """Raises if the server has answered already."""
        connection = self._open()
        assert self._incoming is not None
        try:
            began = self._incoming.poll()
            connection.sock.settimeout(self._connections.settings.http_store_read_timeout)
        except OSError as error:
            raise failures.unreachable(self._connections.store, "PUT", error) from None
        if began:
            answer = self._answer(self._connections.settings.http_store_read_timeout, early=True)
            if answer[0]:
                raise self._early(*answer)

    def _early(self, status: int, retry_after: str) -> errors.Error:
        if status in failures.DONE:
            problem = "it answered before the end of the data"
            return errors.StoreUnavailable(store=self._connections.store, problem=problem)
        return failures.refusal(self._connections.store, "PUT", status, retry_after)

    def _answer(self, timeout: int, *, early: bool = False) -> tuple[int, str]:
        """Status and Retry-After of the response.

        If ``early``, informational responses are read only as far as they have arrived, and the
        status is 0 if there was no other. Raises StoreUnavailable.
        """
        connection = self._open()
        assert self._incoming is not None
        try:
            for _ in range(_MAX_INFORMATIONAL):
                connection.sock.settimeout(timeout)
                response = http.client.HTTPResponse(self._incoming, method="PUT")  # type: ignore[arg-type]
                response.begin()
                if response.status >= 200:
                    return response.status, response.headers.get("Retry-After", "")
                if early and not self._incoming.poll():
                    return 0, ""
        except (OSError, http.client.HTTPException) as error:
            raise failures.unreachable(self._connections.store, "PUT", error) from None
        problem = "it sends informational responses without end"
        raise errors.StoreUnavailable(store=self._connections.store, problem=problem)

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self._connections.store, problem=problem)
        return self._connection


class _Incoming(io.RawIOBase):
    """What arrives on a socket, as the file that http.client reads responses from.

    The result of ``select`` does not tell whether a response has begun: with TLS 1.3, session
    tickets make a socket readable. So ``poll`` receives without waiting and keeps what it got.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._received = bytearray()

    def poll(self) -> bool:
        """Whether bytes of a response are here. Leaves the socket's timeout at 0.

        Raises OSError if the connection is broken or was closed.
        """
        if self._received:
            return True
        self._sock.settimeout(0)
        try:
            data = self._sock.recv(_READ_BYTES)
        except _NOTHING:
            return False
        if not data:
            raise ConnectionResetError("closed by the server")
        self._received += data
        return True

    def makefile(self, mode: str) -> "_Incoming":
        return self

    def readable(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> bytes:
        """A line of at most ``size`` bytes, which http.client always limits."""
        limit = -1 if size is None else size
        while (end := self._received.find(b"\n") + 1) == 0 and len(self._received) < limit:
            data = self._sock.recv(_READ_BYTES)
            if not data:
                break
            self._received += data
        end = min(end or len(self._received), limit)
        line = bytes(self._received[:end])
        del self._received[:end]
        return line

    def close(self) -> None:
        """Does nothing: each informational response closes its file."""
