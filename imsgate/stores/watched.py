"""A store whose outages are logged, whatever its driver: see ``imsgate.dependencies``.

Reading and writing are two dependencies: a full or read-only file system can still be read.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from imsgate import errors
from imsgate.dependencies import Dependency
from imsgate.stores.sinks import ResumableSink, Sink

_LOG = logging.getLogger(__name__)


class Outages:
    """The outages of the store with the id ``store_id``."""

    def __init__(self, store_id: str) -> None:
        self.reading = Dependency(f"Store {store_id}", _LOG)
        self.writing = Dependency(f"Writing to store {store_id}", _LOG)


def watched(store: Any, outages: Outages) -> Any:
    """``store``, with the same abilities."""
    return _WatchedStore(store, outages)


class _WatchedStore:
    """Stands for a store of any class. What is not here is the store's own."""

    def __init__(self, store: Any, outages: Outages) -> None:
        vars(self).update(_watched=store, _outages=outages)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class of the store, so that ``isinstance`` finds its abilities."""
        kind: type = self._watched.__class__
        return kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watched, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Attributes are the store's. A test that replaces a method here replaces only that."""
        if hasattr(_WatchedStore, name):
            vars(self)[name] = value
        else:
            setattr(self._watched, name, value)

    def create(self, key: str, size: int | None) -> Sink:
        with _watching(self._outages.writing):
            return _WatchedSink(self._watched.create(key, size), self._outages.writing)

    def copy(self, *args: Any) -> Sink | None:
        with _watching(self._outages.writing):
            sink = self._watched.copy(*args)
        return sink and _WatchedSink(sink, self._outages.writing)

    def begin(self, *args: Any) -> ResumableSink:
        with _watching(self._outages.writing):
            return _WatchedResumableSink(self._watched.begin(*args), self._outages.writing)

    def resume(self, *args: Any) -> ResumableSink:
        with _watching(self._outages.writing):
            return _WatchedResumableSink(self._watched.resume(*args), self._outages.writing)

    def durable(self, *args: Any) -> int:
        with _watching(self._outages.writing):
            count: int = self._watched.durable(*args)
        return count

    def delete(self, location: str) -> None:
        with _watching(self._outages.writing, proves=True):
            self._watched.delete(location)

    def discard(self, key: str) -> None:
        with _watching(self._outages.writing):
            self._watched.discard(key)

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        with _watching(self._outages.reading, proves=True):
            return _WatchedReader(
                self._watched.read(location, offset, length), self._outages.reading
            )

    def size(self, location: str) -> int:
        with _watching(self._outages.reading, proves=True):
            count: int = self._watched.size(location)
        return count

    def open(self, location: str) -> Any:
        with _watching(self._outages.reading, proves=True):
            return self._watched.open(location)

    def direct_url(self, location: str) -> str | None:
        with _watching(self._outages.reading):
            url: str | None = self._watched.direct_url(location)
        return url

    def check(self) -> None:
        with _watching(self._outages.reading, proves=True):
            self._watched.check()


@contextlib.contextmanager
def _watching(dependency: Dependency, *, proves: bool = False) -> Iterator[None]:
    """Report a failure. ``proves`` says that success shows that the dependency works."""
    try:
        yield
    except errors.Error as error:
        _report(error, dependency)
        raise
    except errors.ObjectNotFound:
        if proves:
            dependency.works()
        raise
    if proves:
        dependency.works()


def _report(error: errors.Error, dependency: Dependency) -> None:
    if error.needs_operator:
        full = isinstance(error, errors.StoreFull)
        problem = "no space is left" if full else error.details.get("problem", error)
        dependency.failed(problem)


class _WatchedSink(Sink):
    def __init__(self, sink: Any, writing: Dependency) -> None:
        self._sink = sink
        self._writing = writing

    def write(self, chunk: bytes) -> None:
        try:
            self._sink.write(chunk)
        except errors.Error as error:
            _report(error, self._writing)
            raise

    def commit(self) -> str:
        with _watching(self._writing, proves=True):
            location: str = self._sink.commit()
        return location

    def abort(self) -> None:
        self._sink.abort()


class _WatchedResumableSink(_WatchedSink, ResumableSink):
    def suspend(self) -> int:
        with _watching(self._writing, proves=True):
            count: int = self._sink.suspend()
        return count


class _WatchedReader(Iterator[bytes]):
    def __init__(self, chunks: Any, reading: Dependency) -> None:
        self._chunks = chunks
        self._reading = reading

    def __next__(self) -> bytes:
        try:
            chunk: bytes = next(self._chunks)
        except errors.Error as error:
            _report(error, self._reading)
            raise
        return chunk

    def close(self) -> None:
        self._chunks.close()
