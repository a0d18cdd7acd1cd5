"""A minimal WSGI server: request bodies, complete or not, and single exchanges.

Needs the standard library only.
"""

import dataclasses
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref import util, validate

Environ = dict[str, Any]


class Input:
    """A ``wsgi.input`` as servers provide it.

    One read returns at most ``step`` bytes, as from a socket. After the last byte of ``data`` it
    reports the end of file, as gunicorn and cheroot do if the client disconnects, or raises
    ``fails``.
    """

    def __init__(
        self, data: bytes, *, step: int | None = None, fails: Exception | None = None
    ) -> None:
        self._file = io.BytesIO(data)
        self._step = step
        self._fails = fails
        #: Number of reads.
        self.asked = 0
        #: Number of bytes that the reads returned.
        self.given = 0

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 16), b""))
        return self._give(lambda: self._file.read(min(size, self._step or size)), size)

    def readline(self, size: int | None = -1) -> bytes:
        return self._give(lambda: self._file.readline(size), 1)

    def readlines(self, hint: int = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _give(self, read: Callable[[], bytes], size: int) -> bytes:
        self.asked += 1
        chunk = read()
        if not chunk and size and self._fails:
            raise self._fails
        self.given += len(chunk)
        return chunk


def environ(
    body: bytes | Input = b"", *, length: int | None = None, chunked: bool = False, **entries: Any
) -> Environ:
    """The environ of a request. ``entries`` override it; a value of None removes an entry.

    The request has a Content-Length: ``length``, by default that of ``body``. Or it is
    ``chunked``, and the server marks the end of its input.
    """
    request: Environ = {"wsgi.input": body if isinstance(body, Input) else Input(body)}
    if chunked:
        request |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    elif length is not None or isinstance(body, bytes):
        request["CONTENT_LENGTH"] = str(len(body) if isinstance(body, bytes) else length)
    util.setup_testing_defaults(request)
    request |= {
        "QUERY_STRING": "",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.errors": sys.stderr,
        **entries,
    }
    return {name: value for name, value in request.items() if value is not None}


@dataclasses.dataclass
class Answer:
    """A response as the client sees it."""

    status: str = ""
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    chunks: list[bytes] = dataclasses.field(default_factory=list)
    #: The object that the application returned.
    result: Any = None

    @property
    def code(self) -> int:
        return int(self.status.split()[0])

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def header(self, name: str) -> str | None:
        """The value of one header, or None."""
        values = [text for key, text in self.headers if key.lower() == name.lower()]
        return values[0] if values else None

    @property
    def reason(self) -> str | None:
        """The machine-readable reason of a refusal, or None."""
        return self.header("X-Imsgate-Reason")


class Exchange:
    """One request and its response, step by step, as PEP 3333 requires of a server."""

    def __init__(self, app: Any, request: Environ, *, validated: bool = True) -> None:
        self.answer = Answer()
        self._sent = False
        self._closed = False
        app = validate.validator(app) if validated else app
        self.answer.result = app(request, self._start)
        self._chunks = iter(self.answer.result)

    def _start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], Any]:
        if exc_info:
            try:
                if self._sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        else:
            assert not self.answer.status, "the response was started twice"
        self.answer.status, self.answer.headers = status, list(headers)
        return self._send

    def _send(self, chunk: bytes) -> None:
        assert self.answer.status, "a byte came before the status"
        self._sent = True
        self.answer.chunks.append(chunk)

    def chunks(self, count: int | None = None) -> Answer:
        """Read ``count`` chunks, or all that are left."""
        for chunk in itertools.islice(self._chunks, count):
            self._send(chunk)
        return self.answer

    def close(self) -> None:
        """Close the response, as a server does exactly once."""
        assert not self._closed
        self._closed = True
        if hasattr(self.answer.result, "close"):
            self.answer.result.close()

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(app: Any, request: Environ, *, take: int | None = None, validated: bool = True) -> Answer:
    """One complete exchange. With ``take``, the client disconnects after that many chunks.

    ``validated`` puts ``wsgiref.validate`` between server and application. Raises what the
    application raises, after it has closed the response.
    """
    with Exchange(app, request, validated=validated) as exchange:
        return exchange.chunks(take)


class FileWrapper:
    """The ``wsgi.file_wrapper`` of a server that can send files with sendfile."""

    def __init__(self, file: Any, block: int = 8192) -> None:
        self.file = file
        self.block = block
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self.block), b"")

    def close(self) -> None:
        self.closed += 1
        self.file.close()
