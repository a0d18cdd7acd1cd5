"""A client that controls every byte it sends, also malformed requests and broken uploads."""

import select
import socket
import struct
from collections.abc import Iterable
from types import TracebackType

from tests.functional.gateway import HOST, Answer, Gateway, eventually, read_answer

BLOCK = 1 << 16
MIB = 1 << 20

Fields = Iterable[tuple[str, str]]


class Wire:
    """One connection. Leaving the block closes it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._socket = gateway.connect()
        self.sent = 0

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def head(self, method: str, path: str, fields: Fields, body: bytes = b"") -> "Wire":
        """The request line and header fields, just as they are given, in UTF-8.

        The server has received ``body`` when it has received the head.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
        lines += [f"{name}: {value}" for name, value in fields]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        self.sent += len(body)
        return self

    def put(self, image_id: str, fields: Fields = (), token: str | None = "") -> "Wire":
        """The head of an upload."""
        base = [("Content-Type", "application/octet-stream")]
        if token is not None:
            base.append(("X-Auth-Token", token or self._gateway.token()))
        return self.head("PUT", f"/v2/images/{image_id}/file", [*base, *fields])

    def send(self, data: bytes) -> "Wire":
        self._socket.sendall(data)
        self.sent += len(data)
        return self

    def chunk(self, data: bytes) -> "Wire":
        """One chunk of a chunked body."""
        self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        self.sent += len(data)
        return self

    def last_chunk(self) -> "Wire":
        self._socket.sendall(b"0\r\n\r\n")
        return self

    def flood(self, total: int, *, chunked: bool = False, looking: bool = True) -> "Wire":
        """Send until ``total`` bytes are out, an answer is in, or nobody takes any more.

        Not ``looking``, the client does not notice an answer while it sends.
        """
        block = bytes(BLOCK)
        piece = b"%x\r\n%b\r\n" % (len(block), block) if chunked else block
        end = self.sent + total
        try:
            while self.sent < end and not (looking and self.answered()):
                self._socket.sendall(piece)
                self.sent += len(block)
        except ConnectionError:
            pass  # the answer is in what has arrived already
        return self

    def answered(self, seconds: float = 0) -> bool:
        """Whether there is something to read."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def answer(self, method: str = "PUT") -> Answer:
        return read_answer(self._socket, method)

    def read(self, size: int) -> bytes:
        return self._socket.recv(size)

    def end(self) -> "Wire":
        """Send nothing more, but go on reading."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Leave as a client does whose machine forgot the connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def saving(self, image_id: str) -> "Wire":
        """Wait until the upload has begun."""
        eventually(lambda: self._gateway.status(image_id) == "saving", "the upload has begun")
        return self


def length(size: int | str) -> list[tuple[str, str]]:
    return [("Content-Length", str(size))]


CHUNKED = [("Transfer-Encoding", "chunked")]
