"""One HTTP/1.1 connection whose every step is visible: bodies that are held back, interim
responses, and connections that are cut."""

import contextlib
import dataclasses
import socket
from collections.abc import Iterable, Mapping
from types import TracebackType

import h11

_BLOCK = 1 << 16
#: An answer is never this large; a proxy that sends something else must not fill the memory.
_LARGEST_ANSWER = 16 << 20


class Lost(Exception):
    """The connection ended without a complete response, or what came is not HTTP."""


@dataclasses.dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """A response. ``headers`` has lower-case names; repeated ones are joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def reason(self) -> str | None:
        """Why imsgate refused the request."""
        return self.headers.get("x-imsgate-reason")

    @property
    def is_ours(self) -> bool:
        """Whether imsgate sent it. A proxy that answers by itself knows none of these headers."""
        return "x-openstack-request-id" in self.headers or self.reason is not None


class ProbeConnection:
    """A connection. Leaving the block closes it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        self._head: ProbeAnswer | None = None
        self._body = bytearray()
        #: The statuses of interim responses that have come.
        self.interim: list[int] = []
        #: Whether the connection was reset, or closed, while data was sent.
        self.broken = False

    def __enter__(self) -> "ProbeConnection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    # Sending. A proxy may answer and close before it has read all, so errors only set ``broken``.

    def head(
        self, method: str, target: str, fields: Iterable[tuple[str, str]], body: bytes = b""
    ) -> None:
        """Send a head, and the beginning of its body in the same packet."""
        request = h11.Request(method=method, target=target, headers=list(fields))
        data = self._http.send(request) or b""
        self._send(data + (self._http.send(h11.Data(data=body)) or b"" if body else b""))

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), _BLOCK):
            if not self.broken:
                self._send(self._http.send(h11.Data(data=data[at : at + _BLOCK])) or b"")

    def finish(self) -> None:
        """End the body."""
        if not self.broken:
            self._send(self._http.send(h11.EndOfMessage()) or b"")

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self.broken = True

    # Receiving

    def next(self, seconds: float) -> ProbeAnswer | None:
        """The next response, which may be an interim one; None if nothing comes for so long.

        Raises Lost.
        """
        while True:
            event = self._event()
            if event is h11.NEED_DATA:
                if not self._receive(seconds):
                    return None
            elif isinstance(event, h11.InformationalResponse):
                self.interim.append(event.status_code)
                return _answer(event)
            elif isinstance(event, h11.Response):
                self._head = _answer(event)
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > _LARGEST_ANSWER:
                    raise Lost("the response is larger than anything that was asked for")
            elif isinstance(event, h11.EndOfMessage) and self._head is not None:
                answer = dataclasses.replace(self._head, body=bytes(self._body))
                self._head, self._body = None, bytearray()
                return answer
            else:
                raise Lost("the connection ended after the last response")

    def answer(self, seconds: float) -> ProbeAnswer | None:
        """The final response; None if nothing comes for so long. Raises Lost."""
        while (answer := self.next(seconds)) is not None and answer.status < 200:
            pass
        return answer

    def again(self) -> None:
        """Prepare for another request on the same connection. Raises Lost if there can be none."""
        try:
            self._http.start_next_cycle()
        except h11.ProtocolError as error:
            raise Lost("the connection ended after the response") from error

    def _event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            problem = "was cut" if self._head is not None else "is not HTTP"
            raise Lost(f"the response {problem} ({error})") from error

    def _receive(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(_BLOCK)
        except TimeoutError:
            if self._head is not None:
                raise Lost("the response stopped halfway") from None
            return False
        except OSError as error:
            raise Lost(f"the connection was reset ({error.strerror or error})") from error
        if not data and self._head is None:
            raise Lost("the connection was closed without a response")
        with contextlib.suppress(h11.RemoteProtocolError):  # next_event() raises it again
            self._http.receive_data(data)
        return True


def _answer(event: h11.Response | h11.InformationalResponse) -> ProbeAnswer:
    headers: dict[str, str] = {}
    for raw_name, raw_text in event.headers:
        name, text = raw_name.decode("latin-1"), raw_text.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return ProbeAnswer(event.status_code, headers)
