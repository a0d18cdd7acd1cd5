"""Connections under gunicorn: a thread serves requests and never waits for a client in between.

gunicorn's own threaded worker gives every new connection a thread, which waits for the head without
a deadline, and closes connections on the thread that watches all others. Here that watching thread
receives heads, and drains connections after their last response, without blocking.
"""

import errno
import functools
import logging
import select
import selectors
import socket
import time
from collections.abc import Collection, Iterator
from concurrent import futures
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers import gthread

from imsgate.server.heads import Head, HeadState

LOG = logging.getLogger(__name__)

#: Seconds within which a client must send the whole request head.
HEAD_SECONDS = 30.0
#: Seconds for which a connection is drained after its last response, in all and without any bytes
#: (RFC 9112 section 9.6). Closing it with unread data would reset it, and a client that is still
#: sending would lose the response that tells why it was refused. As in nginx.
LINGER_SECONDS, LINGER_IDLE_SECONDS = 30.0, 5.0
#: Seconds that a thread waits for the rest of a short body that nobody has read.
_BODY_SECONDS = 0.1
#: Seconds without accepting connections after the system had no room for one.
_FULL_SECONDS = 0.05
#: What ``accept`` fails with when process or system have no room for one more connection.
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Threads that serve nothing but reserved paths.
_RESERVED_THREADS = 2
_DRAIN_BYTES = 256 << 10


class Lingering:
    """A connection that has had its last response and is drained until its client closes it."""

    def __init__(self, conn: gthread.TConn, now: float) -> None:
        self.conn = conn
        self._ends = now + LINGER_SECONDS
        self._idle = now + LINGER_IDLE_SECONDS

    def is_over(self, now: float) -> bool:
        return now >= min(self._ends, self._idle)

    def drain(self, buffer: bytearray, now: float) -> bool:
        """Discard what has come; return whether the client has closed its side, or is gone."""
        try:
            received: int = self.conn.sock.recv_into(buffer)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._idle = now + LINGER_IDLE_SECONDS
        return received == 0


class ConnectionWorker(gthread.ThreadWorker):
    """gunicorn's threaded worker, with another way to wait for clients and to close connections."""

    #: Paths with threads of their own, such as a health check's: they answer whatever else is
    #: going on.
    RESERVED_PATHS: Collection[str] = frozenset()
    #: Milliseconds for which a thread waits for a kept connection's next request. To hand a
    #: connection to the watching thread and get it back took a quarter of a small call's time.
    NEXT_REQUEST_MILLISECONDS = 5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._heads: dict[gthread.TConn, float] = {}
        self._lingering: dict[gthread.TConn, Lingering] = {}
        self._buffer = bytearray(_DRAIN_BYTES)

    def init_process(self) -> None:
        self._reserved = futures.ThreadPoolExecutor(_RESERVED_THREADS, "reserved")
        super().init_process()

    # Heads

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; whatever fails, the worker and its requests go on."""
        try:
            client, address = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            LOG.warning("A connection could not be accepted: %s", error)
            if error.errno in _FULL:
                self._make_room()
                time.sleep(_FULL_SECONDS)
            return
        self.nr_conns += 1
        conn = gthread.TConn(self.cfg, client, address, listener.getsockname())
        conn.head = Head()
        self._receive_head(conn, time.monotonic() + HEAD_SECONDS)
        if self.nr_conns >= self.worker_connections:
            self._make_room()

    def _receive_head(self, conn: gthread.TConn, deadline: float) -> None:
        """Dispatch the connection if its head is there; else wait for it without a thread."""
        try:
            state = conn.head.receive(conn.sock)
        except OSError:
            self._drop(conn)
            return
        if state is HeadState.READY:
            self.enqueue_req(conn)
        elif state is HeadState.TOO_LONG:
            error = LimitRequestHeaders("limit request header fields size")
            self.handle_error(None, conn.sock, conn.client, error)
            self._linger(conn)
        else:
            self._heads[conn] = deadline
            self._watch(conn, self._on_head_readable)

    def _on_head_readable(self, conn: gthread.TConn, client: Any) -> None:
        self.poller.unregister(client)
        self._receive_head(conn, self._heads.pop(conn))

    def on_client_socket_readable(self, conn: gthread.TConn, client: Any) -> None:
        """The next request of a kept connection begins."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._receive_head(conn, time.monotonic() + HEAD_SECONDS)

    # Requests

    def enqueue_req(self, conn: gthread.TConn) -> None:
        pool = self._reserved if self._is_reserved(conn) else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def _is_reserved(self, conn: gthread.TConn) -> bool:
        path = conn.head.target().partition(b"?")[0].decode("latin-1")
        return path in self.RESERVED_PATHS

    def handle(self, conn: gthread.TConn) -> Any:
        """Serve the connection's requests while they follow one another at once. Runs in a
        thread."""
        once = self._is_reserved(conn)
        kept = self._serve(conn)
        while kept is True and self.alive and not once and self._next_head(conn):
            kept = self._serve(conn)
        return kept

    def _serve(self, conn: gthread.TConn) -> Any:
        conn.init()
        conn.data_ready = True
        conn.parser.unreader.unread(conn.head.take())
        return super().handle(conn)

    def _next_head(self, conn: gthread.TConn) -> bool:
        """Whether the whole head of another request comes within a moment."""
        if conn.parser.unreader.buf.getvalue() or not self._is_readable(conn.sock):
            return False
        conn.sock.setblocking(False)
        return conn.head.receive(conn.sock) is HeadState.READY

    def _is_readable(self, connection: socket.socket) -> bool:
        waiting = select.poll()  # a selector takes five times as long
        waiting.register(connection, select.POLLIN)
        return bool(waiting.poll(self.NEXT_REQUEST_MILLISECONDS))

    def _keepalive_after(self, conn: gthread.TConn, keepalive: bool) -> bool:
        """Whether the connection can be kept: only if the request's body is there."""
        deadline = time.monotonic() + _BODY_SECONDS
        return keepalive and bool(conn.parser.finish_body(deadline=deadline))

    def finish_request(self, conn: gthread.TConn, done: futures.Future[Any]) -> None:
        try:
            kept = not done.cancelled() and done.result()
            if not kept:
                self._linger(conn)
                return
            conn.sock.setblocking(False)
            if received := conn.parser.unreader.take_buffered():
                conn.head = Head(received)
            if len(conn.head):
                self._receive_head(conn, time.monotonic() + HEAD_SECONDS)
            else:
                self._keep(conn)
        except OSError:  # the client has reset the connection after its response
            self._drop(conn)
        except Exception:
            LOG.exception("A connection was closed")
            self._drop(conn)

    def _keep(self, conn: gthread.TConn) -> None:
        conn.set_timeout()
        if not self.alive:
            limit = time.monotonic() + gthread.STOP_KEEPALIVE_LINGER
            conn.timeout = min(conn.timeout, limit)
        self.keepalived_conns.append(conn)
        self._watch(conn, self.on_client_socket_readable)

    # Ends

    def _linger(self, conn: gthread.TConn) -> None:
        """Shut down the sending side, and discard what the client still sends."""
        now = time.monotonic()
        lingering = Lingering(conn, now)
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        if lingering.drain(self._buffer, now):
            self._drop(conn)
            return
        self._lingering[conn] = lingering
        self._watch(conn, self._on_lingering_readable)

    def _on_lingering_readable(self, conn: gthread.TConn, client: Any) -> None:
        if self._lingering[conn].drain(self._buffer, time.monotonic()):
            del self._lingering[conn]
            self._close_watched(conn)

    def murder_pending(self) -> None:
        """Close connections whose time is over. gunicorn calls this at least once a second."""
        now = time.monotonic()
        for conn in list(self._overdue(now)):
            self._heads.pop(conn, None)
            self._lingering.pop(conn, None)
            self._close_watched(conn)

    def _overdue(self, now: float) -> Iterator[gthread.TConn]:
        stopping = not self.alive
        yield from (conn for conn, deadline in self._heads.items() if stopping or now >= deadline)
        yield from (conn for conn, state in self._lingering.items() if state.is_over(now))

    def _make_room(self) -> None:
        """Close the connection whose loss matters least, if any connection has no request."""
        for waiting in (self._lingering, self._heads):
            if waiting:
                conn = next(iter(waiting))
                del waiting[conn]
                self._close_watched(conn)
                return
        if self.keepalived_conns:
            self._close_watched(self.keepalived_conns.popleft())

    def _watch(self, conn: gthread.TConn, callback: Any) -> None:
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(callback, conn))

    def _close_watched(self, conn: gthread.TConn) -> None:
        self.poller.unregister(conn.sock)
        self._drop(conn)

    def _drop(self, conn: gthread.TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def run(self) -> None:
        super().run()
        self._reserved.shutdown(wait=False)
