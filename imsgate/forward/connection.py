"""A connection to upstream: h11 on a socket that never blocks.

Upstream may send its final response at any time, also while it still receives the body. So every
step that sends also receives. What ``poll`` reports is only a reason to try: with TLS 1.3, a
socket is readable when nothing but a session ticket has arrived.
"""

import contextlib
import select
import socket
import ssl
import struct
import time
from typing import NoReturn

import h11

from imsgate.errors import UpstreamFailed, UpstreamTimeout

#: Bytes received at a time.
_RECEIVE_BYTES = 1 << 18
#: The largest head of a response in bytes. Glance sends properties as headers in some responses.
_MAX_HEAD_BYTES = 1 << 16
#: The most interim responses (1xx) to one request. No service sends more than a few.
_MAX_INTERIM = 32

_LATER = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_IN, _OUT = select.POLLIN, select.POLLOUT


class UpstreamConnection:
    """Carries one exchange at a time.

    All methods raise UpstreamFailed if the connection or the response is broken, and
    UpstreamTimeout after ``timeout`` seconds.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._has_ended = False
        self._interim = 0
        #: Whether this connection has carried an exchange before.
        self.is_reused = False
        #: Whether any byte of a response to this request has arrived.
        self.has_answered = False
        #: Whether upstream has sent 100 Continue.
        self.wants_body = False

    # Sending

    def send(self, *events: h11.Event, timeout: float) -> h11.Response | None:
        """Send all events, or a part of them until a final response arrives: return that.

        ``timeout`` limits each time that upstream receives nothing.
        """
        pieces: list[bytes] = []
        for event in events:
            pieces += self._http.send_with_data_passthrough(event) or ()
        # A copy costs less than the packets of the few bytes around each chunk.
        rest = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        while rest:
            response = self.early_response()
            if response is not None:
                return response
            try:
                rest = rest[self._socket.send(rest) :]
            except ssl.SSLWantReadError:
                self._wait(_IN, timeout)
            except _LATER:
                self._wait(_IN | _OUT, timeout)
            except OSError:
                # Upstream has closed the connection. Its response may have arrived before that.
                return self.response(timeout)
        return None

    # Receiving

    def early_response(self) -> h11.Response | None:
        """The head of the final response, if it has arrived already."""
        while True:
            event = self._next_event()
            if event is not None:
                if isinstance(event, h11.Response):
                    return event
                raise UpstreamFailed(problem="sent an invalid response")
            if not self._receive():
                return None

    def response(self, timeout: float) -> h11.Response:
        """The head of the final response, which may take ``timeout`` seconds as a whole."""
        end = time.monotonic() + timeout
        while (response := self.early_response()) is None:
            self._wait(_IN, end - time.monotonic())
        return response

    def until_wanted(self, timeout: float) -> h11.Response | None:
        """Wait for 100 Continue. Returns a final response if that comes instead, and None after
        ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while (response := self.early_response()) is None:
            left = end - time.monotonic()
            if self.wants_body or left <= 0:
                return None
            try:
                self._wait(_IN, left)
            except UpstreamTimeout:
                return None
        return response

    def data(self, timeout: float) -> bytes:
        """The next bytes of the response's body; b"" at its end."""
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                return b""
            if event is not None:
                raise UpstreamFailed(problem="sent an invalid response")
            if not self._receive():
                self._wait(_IN, timeout)

    def _next_event(self) -> h11.Event | None:
        """The next event that is not an interim response; None if more must be received."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._fail(error)
            if event is h11.NEED_DATA:
                if self._has_ended:
                    raise UpstreamFailed(problem="closed the connection")
                return None
            if not isinstance(event, h11.InformationalResponse):
                assert isinstance(event, h11.Event)
                return event
            self._interim += 1
            self.wants_body = self.wants_body or event.status_code == 100
            if self._interim > _MAX_INTERIM:
                raise UpstreamFailed(problem="sent too many interim responses")

    def _receive(self) -> bool:
        """Receive what has arrived. False if that is nothing."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except _LATER:
            return False
        except OSError as error:
            raise UpstreamFailed(problem="closed the connection") from error
        self._has_ended = not data
        self.has_answered = self.has_answered or bool(data)
        self._http.receive_data(data)
        return True

    def _fail(self, error: Exception) -> NoReturn:
        problem = "closed the connection" if self._has_ended else "sent an invalid response"
        raise UpstreamFailed(problem=problem) from error

    def _wait(self, events: int, timeout: float) -> None:
        poll = select.poll()
        poll.register(self._socket, events)
        if timeout <= 0 or not poll.poll(timeout * 1000):
            raise UpstreamTimeout(problem="did not answer in time")

    # Between two exchanges

    def begin_next(self) -> bool:
        """Prepare for another exchange. False if the connection cannot carry one, such as after a
        response that was followed by bytes nobody asked for."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        if self._http.trailing_data != (b"", False):
            return False
        self._http.start_next_cycle()
        self._interim, self.wants_body, self.has_answered = 0, False, False
        self.is_reused = True
        return True

    @property
    def is_stale(self) -> bool:
        """Whether upstream has closed the unused connection, or has sent something on it."""
        try:
            self._socket.recv(1)
        except _LATER:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        """Close with a reset, which no server takes for the regular end of a request's body."""
        with contextlib.suppress(OSError):  # closed by upstream already
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
