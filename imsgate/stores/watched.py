"""Counts what a store does, for the metrics.

The methods of one object are replaced: a wrapper or a subclass would have to have the abilities of
whatever driver it is for.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from imsgate import metrics
from imsgate.stores.base import Store

#: Methods that return a sink, and those that return something else.
_BEGINNINGS = ("create", "begin", "resume", "copy")
_CALLS = ("durable", "size", "delete", "discard", "open")


def watch(store: Store) -> None:
    """Count the operations of a store from now on. Does nothing the second time."""
    if "create" in vars(store):
        return
    name = store.name
    for operation in _BEGINNINGS:
        _replace(store, operation, lambda method, operation: _beginning(name, operation, method))
    for operation in _CALLS:
        _replace(store, operation, lambda method, operation: _timed(name, operation, method))
    _replace(store, "read", lambda method, operation: _reading(name, method))


def _replace(target: Any, operation: str, made: Callable[[Any, str], Any]) -> None:
    method = getattr(target, operation, None)
    if method is not None:
        setattr(target, operation, made(method, operation))


def _timed(store: str, operation: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        with metrics.STORE_SECONDS.time(store, operation):
            return method(*arguments, **options)

    return call


def _beginning(store: str, operation: str, method: Callable[..., Any]) -> Callable[..., Any]:
    timed = _timed(store, operation, method)

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        sink = timed(*arguments, **options)
        if sink is not None:
            _Writes(store).watch(sink)
        return sink

    return call


class _Writes:
    """What one sink is given. It is counted when the sink ends, since chunks may be many."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._written = 0

    def watch(self, sink: Any) -> None:
        for operation in ("commit", "suspend"):
            _replace(
                sink,
                operation,
                lambda method, operation: self._ending(_timed(self._store, operation, method)),
            )
        sink.abort = self._ending(sink.abort)
        sink.write = self._writing(sink.write)

    def _writing(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def call(chunk: bytes) -> None:
            began = time.monotonic()
            try:
                write(chunk)
            except BaseException as error:
                _count_failure(self._store, "write", error, began)
                raise
            self._written += len(chunk)

        return call

    def _ending(self, method: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> Any:
            if self._written:
                metrics.STORE_WRITTEN.add(self._store, amount=self._written)
                self._written = 0
            return method()

        return call


def _count_failure(store: str, operation: str, error: BaseException, began: float) -> None:
    seconds = time.monotonic() - began
    metrics.STORE_SECONDS.observe(store, operation, metrics.outcome(error), seconds=seconds)


def _reading(store: str, method: Callable[..., Any]) -> Callable[..., Any]:
    timed = _timed(store, "read", method)

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        return _Reader(store, timed(*arguments, **options))

    return call


class _Reader(Iterator[bytes]):
    """The chunks of an object; a failure on the way is counted as a failed read."""

    def __init__(self, store: str, chunks: Any) -> None:
        self._store = store
        self._chunks = chunks

    def __next__(self) -> bytes:
        began = time.monotonic()
        try:
            chunk: bytes = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            _count_failure(self._store, "read", error, began)
            raise
        return chunk

    def close(self) -> None:
        self._chunks.close()
