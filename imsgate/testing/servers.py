"""What a WSGI server does, in small: bodies that arrive well or badly, and one exchange.

Needs nothing but the standard library.
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
    """``wsgi.input``, as servers give it.

    At most ``step`` bytes come from one read, as from a socket. Behind the last
    byte of ``data`` stands the end of file, in silence, as after a client that
    went away (gunicorn, cheroot), or else the exception ``fails``.
    """

    def __init__(
        self, data: bytes, *, step: int | None = None, fails: Exception | None = None
    ) -> None:
        self._file = io.BytesIO(data)
        self._step = step
        self._fails = fails
        #: How often the server was asked for bytes.
        self.asked = 0
        #: How many bytes it gave.
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
    """A request's environ; ``entries`` override it, and None among them removes one.

    The body has a Content-Length (``length``, where it is to differ from the
    bytes that come), or is ``chunked`` by a server that ends its input with it.
    """
    made: Environ = {"wsgi.input": body if isinstance(body, Input) else Input(body)}
    if chunked:
        made |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    elif length is not None or isinstance(body, bytes):
        made["CONTENT_LENGTH"] = str(len(body) if isinstance(body, bytes) else length)
    util.setup_testing_defaults(made)
    made |= {"QUERY_STRING": "", "REMOTE_ADDR": "192.0.2.1", "wsgi.errors": sys.stderr, **entries}
    return {name: value for name, value in made.items() if value is not None}


@dataclasses.dataclass
class Answer:
    """What came back: all a client could see of it, and how it ended."""

    status: str = ""
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    chunks: list[bytes] = dataclasses.field(default_factory=list)
    #: What the application returned.
    result: Any = None

    @property
    def code(self) -> int:
        return int(self.status.split()[0])

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def header(self, name: str) -> str | None:
        """The value of one header, or None."""
        found = [text for key, text in self.headers if key.lower() == name.lower()]
        return found[0] if found else None

    @property
    def reason(self) -> str | None:
        """The machine-readable reason of a refusal, or None."""
        return self.header("X-Imsgate-Reason")


class Exchange:
    """One request and its answer, a step at a time, as PEP 3333 wants a server to take it."""

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
        """Take so many chunks, or all that are left."""
        for chunk in itertools.islice(self._chunks, count):
            self._send(chunk)
        return self.answer

    def close(self) -> None:
        """End the exchange; what a server always does, once."""
        assert not self._closed
        self._closed = True
        if hasattr(self.answer.result, "close"):
            self.answer.result.close()

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(app: Any, request: Environ, *, take: int | None = None, validated: bool = True) -> Answer:
    """One whole exchange; with ``take``, the client goes away after so many chunks.

    ``validated`` puts ``wsgiref.validate`` between server and application. What
    the application raises comes out, after the answer was closed.
    """
    with Exchange(app, request, validated=validated) as exchange:
        return exchange.chunks(take)


class FileWrapper:
    """``wsgi.file_wrapper`` of a server that sends files by itself."""

    def __init__(self, file: Any, block: int = 8192) -> None:
        self.file = file
        self.block = block
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self.block), b"")

    def close(self) -> None:
        self.closed += 1
        self.file.close()
