"""An upstream that does what a test says, on a real socket."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

PATIENCE = 60.0
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Cut(Exception):
    """The other end closed the connection where something had to follow."""


class Peer:
    """A connection as upstream sees it."""

    def __init__(self, connected: socket.socket, gone: threading.Event) -> None:
        self._socket = connected
        self._file = connected.makefile("rb")
        self._gone = gone
        self.line = ""
        self.headers: dict[str, list[str]] = {}
        #: The request's data as far as it arrived, without the framing of chunks.
        self.received = bytearray()
        #: How the request's body ended: "whole", "cut", or "" if nobody read on.
        self.end = ""

    def header(self, name: str) -> str | None:
        return ", ".join(self.headers[name]) if name in self.headers else None

    def head(self) -> "Peer":
        lines = []
        while (line := self._line()) != b"\r\n":
            lines.append(line.decode("latin-1").rstrip("\r\n"))
        self.line, self.headers = lines[0], {}
        for text in lines[1:]:
            name, _, value = text.partition(":")
            self.headers.setdefault(name.lower(), []).append(value.strip())
        return self

    def _line(self) -> bytes:
        with contextlib.suppress(OSError):
            line = self._file.readline()
            if line.endswith(b"\r\n"):
                return line
        raise Cut

    def _take(self, size: int) -> bytes:
        with contextlib.suppress(OSError):
            data = self._file.read(size)
            if len(data) == size:
                return data
        raise Cut

    def body(self, at_most: int | None = None) -> "Peer":
        """Read the body, or the first bytes of it."""
        try:
            if "chunked" in self.headers.get("transfer-encoding", []):
                while size := int(self._line(), 16):
                    self._receive(size)
                    self._take(2)
                    if at_most is not None and len(self.received) >= at_most:
                        return self
                self._take(2)
            else:
                left = int(self.header("content-length") or "0")
                whole = left if at_most is None else min(at_most, left)
                self._receive(whole)
                if whole < left:
                    return self
            self.end = "whole"
        except Cut:
            self.end = "cut"
        return self

    def _receive(self, size: int) -> None:
        while size:
            self.received += self._take(min(size, 65536))
            size -= min(size, 65536)

    def send(self, data: bytes) -> "Peer":
        with contextlib.suppress(OSError):
            self._socket.sendall(data)
        return self

    def respond(self, status: str, body: bytes = b"", *fields: str) -> "Peer":
        kind = "Content-Type: text/plain"
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", kind, *fields, "", ""]
        return self.send("\r\n".join(lines).encode("latin-1") + body)

    def wait(self) -> "Peer":
        """Do nothing until the test has its answer."""
        assert self._gone.wait(PATIENCE)
        return self

    def until_closed(self) -> "Peer":
        """Read until the other end closes."""
        with contextlib.suppress(OSError):
            while self._file.read(1):
                pass
        self.end = self.end or "cut"
        return self

    def reset(self) -> "Peer":
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
        return self

    def close(self) -> None:
        self._file.close()
        self._socket.close()


Script = Callable[[Peer], Any]


class Scripted:
    """Each connection gets the next script; the last one serves all further connections."""

    def __init__(self, scripts: Sequence[Script], tls: ssl.SSLContext | None = None) -> None:
        self._scripts = list(scripts)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.answered = threading.Event()
        self.peers: list[Peer] = []
        self.failures: list[Exception] = []
        #: The address of the connection after which no more are served.
        self._last: Any = None
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            connected, address = self._listener.accept()
            if address == self._last:
                connected.close()
                return
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            thread = threading.Thread(target=self._serve, args=(connected, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connected: socket.socket, script: Script) -> None:
        connected.settimeout(PATIENCE)
        if self._tls:
            try:
                connected = self._tls.wrap_socket(connected, server_side=True)
            except OSError:
                connected.close()
                return
        peer = Peer(connected, self.answered)
        self.peers.append(peer)
        try:
            script(peer)
        except Cut:
            peer.end = peer.end or "cut"
        except Exception as error:
            self.failures.append(error)
        finally:
            peer.close()

    def join(self) -> None:
        """Wait until every connection has been served; no more are accepted."""
        self.answered.set()
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._last = last.getsockname()
            last.connect(("127.0.0.1", self.port))
            self._threads[0].join(PATIENCE)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert self.failures == []


@contextlib.contextmanager
def scripted(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    upstream = Scripted(scripts, tls)
    try:
        yield upstream
    finally:
        upstream.join()
