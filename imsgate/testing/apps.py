"""Small WSGI applications to put behind a filter.

Needs the standard library only.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Read = Callable[[Any], bytes]
StartResponse = Callable[..., Callable[[bytes], Any]]

#: Response headers as an application may set them: one is repeated, and they are not sorted.
HEADERS = [("X-Foreign", "yes"), ("Set-Cookie", "b=2"), ("Set-Cookie", "a=1"), ("ETag", '"e"')]
TEXT = [("Content-Type", "text/plain"), *HEADERS]
CHUNKS = (b"first ", b"second ", b"third")


def by(size: int) -> Read:
    """Reads a body to its end, ``size`` bytes at a time."""
    return lambda stream: b"".join(iter(lambda: stream.read(size), b""))


def by_lines(stream: Any) -> bytes:
    """Reads a body line by line, as PEP 3333 allows."""
    return b"".join(iter(stream.readline, b""))


def whole(stream: Any) -> bytes:
    """Reads a body at once."""
    data: bytes = stream.read()
    return data


def nothing(stream: Any) -> bytes:
    """Does not read the body."""
    return b""


class Closing:
    """A response body that counts how often it was closed and how many chunks were taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.closed = 0
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.taken += 1
        return chunk

    def close(self) -> None:
        self.closed += 1


class App:
    """Reads and stores the body, and responds with some chunks.

    ``environs`` are the requests, ``bodies`` what it read of each, ``answers`` what it returned.
    """

    def __init__(
        self,
        read: Read = nothing,
        *,
        status: str = "200 OK",
        headers: Iterable[tuple[str, str]] = TEXT,
        chunks: Iterable[bytes] = CHUNKS,
    ) -> None:
        self.read = read
        self.status = status
        self.headers = list(headers)
        self.chunks = tuple(chunks)
        self.environs: list[Environ] = []
        self.bodies: list[bytes] = []
        self.answers: list[Closing] = []

    @property
    def called(self) -> bool:
        return bool(self.environs)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        self.bodies.append(self.read(environ["wsgi.input"]))
        return self.closing(self.answer(environ, start_response))

    def closing(self, chunks: Iterable[bytes]) -> Closing:
        self.answers.append(Closing(chunks))
        return self.answers[-1]

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, self.headers)
        return self.chunks


class Late(App):
    """Starts its response only when the server requests the first chunk."""

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response(self.status, self.headers)
        yield from self.chunks


class LateReader(Late):
    """Reads the body, too, only when the server requests the first chunk."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        return self.closing(self.answer(environ, start_response))

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        self.bodies.append(self.read(environ["wsgi.input"]))
        yield from super().answer(environ, start_response)


class Writes(App):
    """Sends all chunks except the last one with write()."""

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response(self.status, self.headers)
        for chunk in self.chunks[:-1]:
            write(chunk)
        return self.chunks[-1:]


class Echo(App):
    """Responds with the body of the request, 100 bytes at a time."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        start_response(self.status, self.headers)
        return self.closing(iter(lambda: environ["wsgi.input"].read(100), b""))


class SendsFile(App):
    """Responds with the file wrapper of the server."""

    def __init__(self, file: Any, **options: Any) -> None:
        super().__init__(**options)
        self.file = file

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        self.environs.append(environ)
        start_response(self.status, self.headers)
        self.sent = environ["wsgi.file_wrapper"](self.file)
        return self.sent


class Oops(Exception):
    """An exception that no filter knows."""


class Fails(App):
    """Raises ``error`` after ``after`` chunks, or before it starts its response if that is None."""

    def __init__(self, error: BaseException, after: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.error = error
        self.after = after

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if self.after is None:
            raise self.error
        start_response(self.status, self.headers)
        return self._some(self.after)

    def _some(self, count: int) -> Iterator[bytes]:
        yield from self.chunks[:count]
        raise self.error


class LateFails(Fails):
    """As Fails, but starts its response only when the server requests the first chunk."""

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        if self.after is None:
            raise self.error
        start_response(self.status, self.headers)
        yield from self._some(self.after)


class ReadFails(App):
    """What applications do if reading the body fails, by ``how``.

    ``swallows`` responds with 200 nevertheless, ``own`` raises its own exception, ``page`` responds
    with its own 500, ``passes`` does not catch the exception, ``late`` does not either, and reads
    only when the server requests the first chunk, ``started`` has started its response before it
    reads. ``failed`` is the exception of the read.
    """

    HOW = ("swallows", "own", "page", "passes", "late", "started")

    def __init__(self, how: str, size: int = 65536) -> None:
        super().__init__(by(size))
        self.how = how
        self.failed: Exception | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        if self.how == "started":
            start_response(self.status, self.headers)
        if self.how == "late":
            return self.closing(self._late(environ, start_response))
        return self._answer(environ, start_response)

    def _late(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        yield from self._answer(environ, start_response)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        status = self.status
        try:
            self.bodies.append(self.read(environ["wsgi.input"]))
        except Exception as error:
            self.failed = error
            if self.how == "own":
                raise Oops("its own") from error
            if self.how not in ("swallows", "page"):
                raise
            status = "500 Internal Server Error" if self.how == "page" else status
        if self.how != "started":
            start_response(status, self.headers)
        return self.closing(self.chunks)


class Meets(App):
    """Makes concurrent requests wait for one another halfway through their bodies."""

    def __init__(self, count: int, half: int) -> None:
        super().__init__()
        self.barrier = threading.Barrier(count, timeout=20)
        self._half = half

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        first = environ["wsgi.input"].read(self._half)
        self.barrier.wait()
        rest = by(1000)(environ["wsgi.input"])
        start_response(self.status, self.headers)
        return self.closing([first + rest])
