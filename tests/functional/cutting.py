"""A TCP proxy between a client and a gateway that cuts connections and counts bytes."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from tests.functional.gateway import HOST, PATIENCE

_READ = 1 << 16
#: SO_LINGER by which closing a socket resets its connection.
_RESET = struct.pack("ii", 1, 0)


class Cutter:
    """Forwards connections to ``port``, and cuts them at ``cuts``.

    Those are positions, in ascending order, in all bytes that clients send, heads included.
    Exactly the bytes before a cut reach the server. With ``settled``, the client learns of a cut
    only after the server has read them and has ended its request; without, it is told at
    once, and its next request overtakes the one that was cut. A response that contains
    ``lost`` is dropped, once, and its connection cut. With ``answer``, the client gets these bytes
    at a cut, and may go on sending, as at a proxy whose patience ends.

    At byte ``hold``, everything waits until ``release`` is called; ``held`` is set then.
    """

    def __init__(
        self,
        port: int,
        cuts: Sequence[int] = (),
        *,
        settled: bool = True,
        lost: bytes = b"",
        answer: bytes = b"",
        hold: int | None = None,
    ) -> None:
        self._target = port
        self._cuts = list(cuts)
        self.settled = settled
        self._lost = lost
        self.answer = answer
        self._hold = hold
        self.held = threading.Event()
        self._released = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listener]
        #: All bytes that reached the server.
        self.forwarded = 0
        #: Cuts made so far, and whether a response was dropped.
        self.made = 0
        self.dropped = False

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    def heal(self) -> None:
        """Make no further cuts."""
        with self._lock:
            self._cuts.clear()

    def __enter__(self) -> "Cutter":
        self.run(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    def run(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                try:
                    server = socket.create_connection((HOST, self._target), timeout=PATIENCE)
                except ConnectionRefusedError:  # it is being restarted
                    client.close()
                    continue
                self._sockets += (client, server)
                _Pair(self, client, server).start()

    def take(self, client: socket.socket) -> tuple[bytes, bool]:
        """What the client sends next, no further than the next cut, and whether to cut then."""
        client.recv(1, socket.MSG_PEEK)  # waits, and another connection can go on meanwhile
        if self._hold is not None and self.forwarded >= self._hold:
            self.held.set()
            self._released.wait(PATIENCE)
        with self._lock:
            room = self._cuts[0] - self.forwarded if self._cuts else _READ
            data = client.recv(min(room, _READ))
            self.forwarded += len(data)
            if self._cuts and self.forwarded == self._cuts[0]:
                self.made += 1
                del self._cuts[0]
                return data, True
            return data, False

    def release(self) -> None:
        """Go on after ``hold``."""
        self._released.set()

    def loses(self, response: bytes) -> bool:
        """Whether this response is the one to drop."""
        if self._lost and self._lost in response.lower():
            self._lost, self.dropped = b"", True
            return True
        return False


class _Pair:
    """One connection of a client, and the one to the server."""

    def __init__(self, cutter: Cutter, client: socket.socket, server: socket.socket) -> None:
        self._cutter = cutter
        self._client = client
        self._server = server
        self._cut = threading.Event()

    def start(self) -> None:
        down = self._cutter.run(self._down)
        self._cutter.run(lambda: self._up(down))

    def _up(self, down: threading.Thread) -> None:
        with contextlib.suppress(OSError):
            self._forward()
            if self._cut.is_set() and not self._cutter.settled:
                self._hang_up()
            # Not closed: that would take from the server what it has not read yet.
            self._server.shutdown(socket.SHUT_WR)
        down.join()
        with contextlib.suppress(OSError):
            # Closing before the client does could take from it the response.
            while not self._cut.is_set() and self._client.recv(_READ):
                pass
        self._hang_up()
        self._server.close()

    def _forward(self) -> None:
        data, cut = b"more", False
        while data and not cut:
            data, cut = self._cutter.take(self._client)
            if cut:
                self._cut.set()
            self._server.sendall(data)

    def _down(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(_READ):
                if self._cutter.loses(data):
                    self._cut.set()
                    self._hang_up()
                if not self._cut.is_set():
                    self._client.sendall(data)
        with contextlib.suppress(OSError):
            # The server has ended the connection; the client has all responses.
            if not (self._cut.is_set() and self._cutter.answer):
                self._client.shutdown(socket.SHUT_WR)

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            if self._cut.is_set() and self._cutter.answer:
                self._client.sendall(self._cutter.answer)
                self._client.shutdown(socket.SHUT_WR)
                while self._client.recv(_READ):
                    pass
            elif self._cut.is_set():
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        self._client.close()
