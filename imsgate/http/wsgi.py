"""WSGI (PEP 3333): calling an application and taking over its response."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Start:
    """A server's ``start_response`` that knows whether it has been called."""

    def __init__(self, start_response: Callable[..., Any]) -> None:
        self._start_response = start_response
        self._started = False

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        self._started = True
        return self._start_response(status, headers, *exc_info)

    def anew(self, status: str, headers: list[tuple[str, str]]) -> Any:
        """Start the response, in place of one already started (PEP 3333); in an ``except`` block.

        uWSGI fails when it is given ``exc_info`` without need.
        """
        return self(status, headers, *([sys.exc_info()] if self._started else []))


def call(app: WsgiApp, environ: Environ) -> tuple[str, list[tuple[str, str]], Iterable[bytes]]:
    """Status, headers and body of ``app``'s answer, none of the body consumed beyond need.

    The body is the application's own object where it can be (``wsgi.file_wrapper``
    keeps its sendfile), or that object behind the first chunk when the application
    only starts its response on being iterated.
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

    answer = app(environ, start_response)
    if not started or written:
        answer = _Begun(answer, written)
    assert started, "the application never started its response"
    returned = True
    return started[0], started[1], answer


class _Begun:
    """An application's body, advanced just far enough to have its status."""

    def __init__(self, answer: Iterable[bytes], written: list[bytes]) -> None:
        self._answer = answer
        try:
            chunks: Iterator[bytes] = iter(answer)
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
        if hasattr(self._answer, "close"):
            self._answer.close()
