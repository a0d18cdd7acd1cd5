"""What a glance_store driver gives, as the contract wants it."""

import inspect
from collections.abc import Iterator
from typing import Any

from imsgate import errors
from imsgate.stores.glance.failures import Failures

#: What drivers keep the response under, in the generators that give its bytes.
_HELD = ("fp", "resp_iter")


class GlanceReader(Iterator[bytes]):
    """``length`` bytes of ``source`` after the first ``skip``; has ``close``."""

    def __init__(self, failures: Failures, store: str, source: Any, skip: int, length: int) -> None:
        self._failures = failures
        self._store = store
        self._source = source
        self._chunks: Iterator[bytes] | None = None
        self._skip = skip
        self._left = length

    def __next__(self) -> bytes:
        try:
            while self._left:
                if chunk := self._next():
                    return chunk
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def _next(self) -> bytes:
        """The next chunk, cut to what is wanted; empty if none of it is."""
        with self._failures.reporting():
            if self._chunks is None:
                self._chunks = iter(self._source)
            chunk = next(self._chunks, b"")
        if not chunk:
            raise errors.StoreUnavailable(store=self._store, problem="the object ends too early")
        part = bytes(chunk[self._skip : self._skip + self._left])
        self._skip = max(0, self._skip - len(chunk))
        self._left -= len(part)
        return part

    def close(self) -> None:
        """Free what the driver holds; what was left is not read."""
        source, self._source, self._chunks, self._left = self._source, None, None, 0
        _close(source)


def _close(source: Any) -> None:
    """Close ``source`` and what it wraps. A generator that never ran would close nothing."""
    if inspect.isgenerator(source) and source.gi_frame is not None:
        found = inspect.getgeneratorlocals(source)
        for name in _HELD:
            _close(found.get(name))
    if hasattr(source, "wrapped"):
        _close(source.wrapped)
    if hasattr(source, "close"):
        source.close()
