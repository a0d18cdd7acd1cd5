"""Reports when the server has sent a response.

A server closes a response after it has sent it (PEP 3333). The object that its
``wsgi.file_wrapper`` makes must reach it unchanged, or it would not use sendfile; there, the file
inside that object is watched.
"""

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

#: A response of this size fits into the buffers of a connection: no thread waits for its client.
_BUFFERED_BYTES = 1 << 14


class _Closing:
    """Closes the wrapped object and then calls ``closed``, also if it is deleted without a
    close."""

    def __init__(self, wrapped: Any, closed: Callable[[], None]) -> None:
        self._wrapped = wrapped
        self.closed = closed

    def close(self) -> None:
        try:
            if hasattr(self._wrapped, "close"):
                self._wrapped.close()
        finally:
            self.closed()

    def __del__(self) -> None:
        self.closed()


class _ClosingChunks(_Closing):
    """A response body."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._wrapped)


class _ClosingFile(_Closing):
    """A file in a file wrapper of the server."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


#: The files in existing file wrappers, by ``id(wrapper)``. A file wrapper keeps its file alive.
_FILES: weakref.WeakValueDictionary[int, _ClosingFile] = weakref.WeakValueDictionary()


@functools.lru_cache(maxsize=8)  # building a type took 3 % of a small call
def file_wrapper(wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """The server's ``wsgi.file_wrapper``; ``until_sent`` passes its objects on unchanged."""

    def wrap(file: Any, *size: int) -> Any:
        closing = _ClosingFile(file, _nothing)
        wrapped = wrapper(closing, *size)
        _FILES[id(wrapped)] = closing
        return wrapped

    if not isinstance(wrapper, type):
        return wrap
    # An application may look at its type to find out whether the server sends files, as
    # ``download`` does.
    return type(wrapper.__name__, (), {"__new__": lambda _, *args: wrap(*args)})


def is_file(chunks: Iterable[bytes], environ: Mapping[str, Any]) -> bool:
    """Whether the response is an object of the server's file wrapper."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(chunks, wrapper)


def watch_file(file: Any, closed: Callable[[], None]) -> None:
    """Call ``closed`` when the server closes this object of its file wrapper; at once if the end of
    the object is not visible."""
    close = getattr(file, "close", _nothing)

    def close_and_tell() -> None:
        try:
            close()
        finally:
            closed()

    try:
        file.close = close_and_tell
    except AttributeError:  # the server's own C type (mod_wsgi)
        closed()


def _nothing() -> None:
    """Nobody waits for the end of this response."""


def until_sent(chunks: Iterable[bytes], sent: Callable[[], None]) -> Iterable[bytes]:
    """The response for the server, which calls ``sent`` at its end, perhaps more than once."""
    file = _FILES.get(id(chunks))
    if file is None:
        return _ClosingChunks(chunks, sent)
    file.closed = sent
    return chunks


def is_buffered(chunks: Iterable[bytes]) -> bool:
    """Whether no thread has to wait until the client has received this response."""
    return isinstance(chunks, list | tuple) and sum(map(len, chunks)) <= _BUFFERED_BYTES
