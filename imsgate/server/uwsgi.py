"""Chunked request bodies under uWSGI, whose ``wsgi.input`` does not decode them.

uWSGI hands them out by a function of its own (``uwsgi.chunked_read``, uWSGI
manual, "Web sockets and chunked input"): one chunk a call, an empty one at the
end, IOError when the body is cut.
"""

from collections.abc import Callable, Iterable
from typing import Any

from imsgate.http.wsgi import Environ, WsgiApp


class ChunkedInput:
    """A WSGI application that gives ``app`` chunked bodies as an ordinary ``wsgi.input``."""

    def __init__(self, app: WsgiApp, read_chunk: Callable[[], bytes]) -> None:
        self._app = app
        self._read_chunk = read_chunk

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
            environ["wsgi.input"] = _Stream(self._read_chunk)
            environ["wsgi.input_terminated"] = True
        return self._app(environ, start_response)


class _Stream:
    """``read`` only: the pipeline puts its own wrapper round it at once."""

    def __init__(self, read_chunk: Callable[[], bytes]) -> None:
        self._read_chunk = read_chunk
        self._rest = memoryview(b"")
        self._ended = False

    def read(self, size: int) -> bytes:
        pieces = []
        while size:
            if not self._rest:
                self._rest = memoryview(b"" if self._ended else self._read_chunk())
                if not self._rest:
                    self._ended = True
                    break
            pieces.append(self._rest[:size])
            self._rest = self._rest[size:]
            size -= len(pieces[-1])
        return b"".join(pieces)
