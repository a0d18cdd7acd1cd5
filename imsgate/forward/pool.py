"""The connections to upstream: how many at once, and which are used again."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from imsgate.errors import BusyUpstream
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.settings import ForwardSettings


class Pool:
    """At most ``[forward] requests_at_once`` exchanges at the same time."""

    def __init__(
        self,
        connect: Callable[[], UpstreamConnection],
        settings: ForwardSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._exchanges = 0
        #: Unused connections and when that began, in this order.
        self._unused: list[tuple[float, UpstreamConnection]] = []

    def enter(self) -> None:
        """Take a place for an exchange; ``leave`` returns it. Raises BusyUpstream."""
        with self._lock:
            if self._exchanges >= self._settings.requests_at_once:
                raise BusyUpstream
            self._exchanges += 1

    def leave(self) -> None:
        with self._lock:
            self._exchanges -= 1

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place until the block ends. Raises BusyUpstream."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def connection(self, *, may_reuse: bool) -> UpstreamConnection:
        """A new connection, or with ``may_reuse`` one that has carried exchanges before.

        Upstream may close such a connection at the very moment at which a request is sent on it,
        and then nobody knows whether it has processed the request. Raises UpstreamFailed.
        """
        if may_reuse:
            while (unused := self._take()) is not None:
                if not unused.is_stale:
                    return unused
                unused.close()
        return self._connect()

    def _take(self) -> UpstreamConnection | None:
        """The connection that was used last, if it is young enough; older ones are closed."""
        with self._lock:
            oldest = self._clock() - self._settings.keep_alive
            old = [connection for since, connection in self._unused if since < oldest]
            self._unused = [entry for entry in self._unused if entry[0] >= oldest]
            unused = self._unused.pop()[1] if self._unused else None
        for connection in old:
            connection.close()
        return unused

    def give_back(self, connection: UpstreamConnection) -> None:
        """The exchange on this connection has ended: keep it if it can carry another."""
        if not self._settings.keep_alive or not connection.begin_next():
            connection.close()
            return
        with self._lock:
            self._unused.append((self._clock(), connection))

    def close(self) -> None:
        with self._lock, contextlib.ExitStack() as stack:
            for _, connection in self._unused:
                stack.callback(connection.close)
            self._unused.clear()
