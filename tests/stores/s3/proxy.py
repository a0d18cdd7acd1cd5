"""A TCP proxy between a store and its server that cuts connections and counts bytes."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

from tests.functional.gateway import HOST

_READ = 1 << 16

#: The first line of a request, and the parameters by which S3 tells its operations apart.
_REQUEST = re.compile(rb"(GET|PUT|POST|HEAD|DELETE|MOVE|OPTIONS|PROPFIND) (\S+) HTTP/1.1\r\n")


class Proxy:
    """Forwards connections to ``port``; ``rules`` decide what goes wrong.

    A rule is called with the first line of each request. It returns None to let the request
    pass; a number of bytes of the request after which the connection is cut, or if negative, of
    the response; or a response to send instead of the server's.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._closing = False
        self.requests: list[str] = []
        self.rules: list[Callable[[str], int | bytes | None]] = []
        self.sent = 0
        self.happened = threading.Event()
        self._run(self._accept)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    def cut(self, pattern: str, after: int, times: int = 1) -> None:
        """Cut the next ``times`` requests whose first line matches ``pattern``.

        ``after`` counts the bytes of the request, including its header. If it is negative, the
        request passes, and the bytes of the response count, from 1.
        """
        remaining = [times]

        def rule(line: str) -> int | None:
            if remaining[0] and re.search(pattern, line):
                remaining[0] -= 1
                return after
            return None

        self.rules.append(rule)

    def close(self) -> None:
        self._closing = True
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._target))
            except OSError:
                client.close()
                continue
            self._sockets += (client, server)
            pair = _Pair(self, client, server)
            self._run(pair.up)
            self._run(pair.down)

    def judge(self, line: str) -> int | bytes | None:
        """The result of the first rule that applies to a request."""
        self.requests.append(line)
        for rule in self.rules:
            fate = rule(line)
            if fate is not None:
                return fate
        return None


class _Pair:
    """One connection. ``_up`` and ``_down`` are the bytes that still pass in each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._up: int | None = None
        self._down: int | None = None

    def up(self) -> None:
        for data in _received(self._client):
            request = _REQUEST.match(data)
            if request:
                fate = self._proxy.judge((request[1] + b" " + request[2]).decode())
                if isinstance(fate, bytes):
                    self._client.sendall(fate)
                    break
                if fate is not None:
                    self._up, self._down = (fate, None) if fate >= 0 else (None, -fate - 1)
            self._proxy.sent += len(data)
            if not self._pass(self._server, data, "_up"):
                break
        self._end()

    def down(self) -> None:
        for data in _received(self._server):
            if not self._pass(self._client, data, "_down"):
                break
        self._end()

    def _pass(self, to: socket.socket, data: bytes, direction: str) -> bool:
        remaining = getattr(self, direction)
        with contextlib.suppress(OSError):
            to.sendall(data if remaining is None else data[:remaining])
            if remaining is None:
                return True
            setattr(self, direction, max(0, remaining - len(data)))
            if remaining > len(data):
                return True
            self._proxy.happened.set()
        return False

    def _end(self) -> None:
        for each in (self._client, self._server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()  # if bytes are unread, the peer gets a reset


def _received(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := source.recv(_READ):
            yield data


@contextlib.contextmanager
def between(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
