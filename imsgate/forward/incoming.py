"""The response of upstream on its way to the client."""

from collections.abc import Callable, Iterator

from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.links import JsonLinks


class IncomingBody:
    """The chunks of a response.

    If the response breaks off, so does this one, by an exception: the server then closes the
    connection before the announced length or the last chunk. ``end`` is called once, with the
    connection and whether the response was received to its end.
    """

    def __init__(
        self,
        connection: UpstreamConnection,
        timeout: float,
        end: Callable[[UpstreamConnection, bool], None],
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._end: Callable[[UpstreamConnection, bool], None] | None = end
        self._chunks = self._read()
        #: What replaces the links in the body, if it has some.
        self.links: JsonLinks | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def _read(self) -> Iterator[bytes]:
        while chunk := self._connection.data(self._timeout):
            if self.links:
                chunk = self.links.feed(chunk)
            if chunk:
                yield chunk
        self._finish(complete=True)
        if self.links and (rest := self.links.finish()):
            yield rest

    def _finish(self, *, complete: bool) -> None:
        end, self._end = self._end, None
        if end:
            end(self._connection, complete)

    def close(self) -> None:
        self._finish(complete=False)
