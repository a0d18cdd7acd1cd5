"""imsgate's own pipeline under uWSGI; see :mod:`imsgate.http.uwsgi`."""

from collections.abc import Callable, Iterable
from typing import Any

from imsgate.http.uwsgi import ChunkedStream
from imsgate.http.wsgi import Environ, WsgiApp


class ChunkedInput:
    """WSGI middleware that gives ``app`` a chunked body as an ordinary ``wsgi.input``."""

    def __init__(self, app: WsgiApp, read_chunk: Callable[[], bytes]) -> None:
        self._app = app
        self._read_chunk = read_chunk

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
            environ["wsgi.input"] = ChunkedStream(self._read_chunk)
            environ["wsgi.input_terminated"] = True
        return self._app(environ, start_response)
