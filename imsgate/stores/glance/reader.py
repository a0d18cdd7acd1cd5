"""Turns what a glance_store driver returns into the iterator of the store contract."""

import inspect
from collections.abc import Iterator
from typing import Any

from imsgate import errors
from imsgate.stores.glance.failures import Failures

#: Local variables in which the drivers' generators keep the response.
_RESPONSE_VARIABLES = ("fp", "resp_iter")


class GlanceReader(Iterator[bytes]):
    """``length`` bytes of ``source`` after skipping its first ``skip`` bytes."""

    def __init__(self, failures: Failures, store: str, source: Any, skip: int, length: int) -> None:
        self._failures = failures
        self._store = store
        self._source = source
        self._chunks: Iterator[bytes] | None = None
        self._skip = skip
        self._remaining = length

    def __next__(self) -> bytes:
        try:
            while self._remaining:
                if chunk := self._next():
                    return chunk
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def _next(self) -> bytes:
        """The part of the next chunk that lies in the range; may be empty."""
        with self._failures.reporting():
            if self._chunks is None:
                self._chunks = iter(self._source)
            chunk = next(self._chunks, b"")
        if not chunk:
            raise errors.StoreUnavailable(
                store=self._store, problem="the object is shorter than its size"
            )
        part = bytes(chunk[self._skip : self._skip + self._remaining])
        self._skip = max(0, self._skip - len(chunk))
        self._remaining -= len(part)
        return part

    def close(self) -> None:
        """Release the driver's resources; the rest is not read."""
        source, self._source, self._chunks, self._remaining = self._source, None, None, 0
        _close(source)


def _close(source: Any) -> None:
    """Close ``source`` and everything that it wraps.

    Closing a generator that was never started runs none of its code, so its response is closed
    here.
    """
    if inspect.isgenerator(source) and source.gi_frame is not None:
        variables = inspect.getgeneratorlocals(source)
        for name in _RESPONSE_VARIABLES:
            _close(variables.get(name))
    if hasattr(source, "wrapped"):
        _close(source.wrapped)
    if hasattr(source, "close"):
        source.close()
