"""A store whose outages are logged and whose operations are counted, whatever its driver.

See ``imsgate.telemetry.dependencies`` and ``imsgate.metrics``. Reading and writing are two
dependencies: a full or read-only file system can still be read.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from imsgate import errors, metrics
from imsgate.stores.abilities import CopySource
from imsgate.stores.sinks import ResumableSink, Sink
from imsgate.telemetry.dependencies import Dependency

_LOG = logging.getLogger(__name__)

Watching = contextlib.AbstractContextManager[None]


class Outages:
    """The outages of the store with the id ``store_id``."""

    def __init__(self, store_id: str) -> None:
        self.store_id = store_id
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
        with self._watch_writing("create"):
            return _WatchedSink(self._watched.create(key, size), self._outages)

    def copy(self, *args: Any) -> Sink | None:
        with self._watch_writing("copy"):
            sink = self._watched.copy(*args)
        return sink and _WatchedSink(sink, self._outages)

    def begin(self, *args: Any) -> ResumableSink:
        with self._watch_writing("begin"):
            return _WatchedResumableSink(self._watched.begin(*args), self._outages)

    def resume(self, *args: Any) -> ResumableSink:
        with self._watch_writing("resume"):
            return _WatchedResumableSink(self._watched.resume(*args), self._outages)

    def durable(self, *args: Any) -> int:
        with self._watch_writing("durable"):
            count: int = self._watched.durable(*args)
        return count

    def delete(self, location: str) -> None:
        with self._watch_writing("delete", proves=True):
            self._watched.delete(location)

    def discard(self, key: str) -> None:
        with self._watch_writing("discard"):
            self._watched.discard(key)

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        with self._watch_reading("read", proves=True):
            return _WatchedReader(self._watched.read(location, offset, length), self._outages)

    def size(self, location: str) -> int:
        with self._watch_reading("size", proves=True):
            count: int = self._watched.size(location)
        return count

    def copy_source(self, location: str) -> CopySource | None:
        with self._watch_reading("copy_source", proves=True):
            source: CopySource | None = self._watched.copy_source(location)
        return source

    def open(self, location: str) -> Any:
        with self._watch_reading("open", proves=True):
            return self._watched.open(location)

    def direct_url(self, location: str) -> str | None:
        with self._watch_reading("direct_url"):
            url: str | None = self._watched.direct_url(location)
        return url

    def check(self) -> None:
        with self._watch_reading("check", proves=True):
            self._watched.check()

    def _watch_reading(self, operation: str, *, proves: bool = False) -> Watching:
        return _watching(self._outages, self._outages.reading, operation, proves=proves)

    def _watch_writing(self, operation: str, *, proves: bool = False) -> Watching:
        return _watching(self._outages, self._outages.writing, operation, proves=proves)


@contextlib.contextmanager
def _watching(
    outages: Outages, dependency: Dependency, operation: str, *, proves: bool
) -> Iterator[None]:
    """Measure an operation and report its failure. ``proves`` says that success shows that the
    dependency works."""
    try:
        with metrics.STORE_SECONDS.time(outages.store_id, operation):
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


def _count_failure(outages: Outages, operation: str, error: errors.Error, began: float) -> None:
    seconds = time.monotonic() - began
    outcome = metrics.outcome(error)
    metrics.STORE_SECONDS.observe(outages.store_id, operation, outcome, seconds=seconds)


def _report(error: errors.Error, dependency: Dependency) -> None:
    if error.needs_operator:
        full = isinstance(error, errors.StoreFull)
        problem = "no space is left" if full else error.details.get("problem", error)
        dependency.failed(problem)


class _WatchedSink(Sink):
    """What was written is counted when the sink ends, because the chunks may be many."""

    def __init__(self, sink: Any, outages: Outages) -> None:
        self._sink = sink
        self._outages = outages
        self._written = 0

    def write(self, chunk: bytes) -> None:
        began = time.monotonic()
        try:
            self._sink.write(chunk)
        except errors.Error as error:
            _report(error, self._outages.writing)
            _count_failure(self._outages, "write", error, began)
            raise
        self._written += len(chunk)

    def commit(self) -> str:
        with self._ending("commit"):
            location: str = self._sink.commit()
        return location

    def abort(self) -> None:
        self._count_written()
        self._sink.abort()

    def _ending(self, operation: str) -> Watching:
        self._count_written()
        return _watching(self._outages, self._outages.writing, operation, proves=True)

    def _count_written(self) -> None:
        if self._written:
            metrics.STORE_WRITTEN.add(self._outages.store_id, amount=self._written)
            self._written = 0


class _WatchedResumableSink(_WatchedSink, ResumableSink):
    def suspend(self) -> int:
        with self._ending("suspend"):
            count: int = self._sink.suspend()
        return count


class _WatchedReader(Iterator[bytes]):
    def __init__(self, chunks: Any, outages: Outages) -> None:
        self._chunks = chunks
        self._outages = outages

    def __next__(self) -> bytes:
        began = time.monotonic()
        try:
            chunk: bytes = next(self._chunks)
        except errors.Error as error:
            _report(error, self._outages.reading)
            _count_failure(self._outages, "read", error, began)
            raise
        return chunk

    def close(self) -> None:
        self._chunks.close()
