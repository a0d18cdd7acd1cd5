"""WSGI (PEP 3333): calls an application and takes over its response."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Start:
    """A ``start_response`` that records whether it has been called."""

    def __init__(self, start_response: Callable[..., Any]) -> None:
        self._start_response = start_response
        self._started = False

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        self._started = True
        return self._start_response(status, headers, *exc_info)

    def anew(self, status: str, headers: list[tuple[str, str]]) -> Any:
        """Start the response; replace one that has been started already (PEP 3333).

        Call it in an ``except`` block. ``exc_info`` is passed only to replace a response, because
        uWSGI fails if it gets it otherwise.
        """
        return self(status, headers, *([sys.exc_info()] if self._started else []))


def call(app: WsgiApp, environ: Environ) -> tuple[str, list[tuple[str, str]], Iterable[bytes]]:
    """Status, headers and body of ``app``'s response, without reading more of it than necessary.

    The body is the application's own object if possible, so that a server can use sendfile for its
    ``wsgi.file_wrapper``. If the application starts its response only when it is iterated, the
    first chunk is read.
    """
    started: list[Any] = []
    written: list[bytes] = []
    returned = False

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info and (written or returned):
            raise exc_info[1].with_traceback(exc_info[2])
        started[:] = [status, headers]
        return written.append

    chunks = app(environ, start_response)
    if not started or written:
        chunks = _Begun(chunks, written)
    assert started, "the application never started its response"
    returned = True
    return started[0], started[1], chunks


class _Begun:
    """A response body, read just far enough that the response has been started."""

    def __init__(self, response: Iterable[bytes], written: list[bytes]) -> None:
        self._response = response
        try:
            chunks: Iterator[bytes] = iter(response)
            first = list(itertools.islice(chunks, 1))
        except BaseException:
            self.close()
            raise
        self._chunks = itertools.chain(written, first, chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        if hasattr(self._response, "close"):
            self._response.close()
