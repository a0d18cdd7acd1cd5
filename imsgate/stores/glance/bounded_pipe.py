"""A pipe of limited size between a thread that writes chunks and one that reads bytes."""

import collections
import threading

#: Capacity of a pipe in bytes. A chunk is accepted whole as long as any of this is free.
CAPACITY_BYTES = 4 * 1024 * 1024


class PipeClosed(Exception):
    """Nobody reads from the pipe any more, or it was finished or canceled."""


class BoundedPipe:
    """One thread puts chunks; another reads them as from a file."""

    def __init__(self, capacity: int = CAPACITY_BYTES) -> None:
        """``capacity`` is in bytes."""
        self._changed = threading.Condition()
        self._chunks: collections.deque[memoryview] = collections.deque()
        self._free = capacity
        self._complete = False
        self._cancelled: BaseException | None = None
        self._reading = True

    # For the writing thread.

    def put(self, chunk: bytes) -> None:
        """Append ``chunk``; waits while the pipe is full. Raises PipeClosed."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or not self._open)
            if not self._open:
                raise PipeClosed
            self._chunks.append(memoryview(chunk))
            self._free -= len(chunk)
            self._changed.notify_all()

    def finish(self) -> None:
        """Mark the end: the reader reads what is in the pipe and then gets an empty read."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def cancel(self, error: BaseException | None) -> None:
        """Drop the contents. The next read raises ``error``, or is empty if it is None."""
        with self._changed:
            self._chunks.clear()
            self._cancelled = error
            self._complete = True
            self._changed.notify_all()

    # For the reading thread.

    def read(self, size: int | None = None) -> bytes:
        """Read ``size`` bytes, or all if it is None or negative; fewer only at the end.

        Raises the error that ``cancel`` was called with.
        """
        parts: list[memoryview] = []
        remaining = -1 if size is None else size
        while remaining and (part := self._take(remaining)):
            parts.append(part)
            if remaining > 0:
                remaining -= len(part)
        return b"".join(parts)

    def leave(self) -> None:
        """Stop reading: a waiting or later ``put`` raises PipeClosed."""
        with self._changed:
            self._reading = False
            self._chunks.clear()
            self._changed.notify_all()

    @property
    def _open(self) -> bool:
        return self._reading and not self._complete

    def _take(self, limit: int) -> memoryview | None:
        """The next bytes, at most ``limit`` unless it is negative; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._complete)
            if self._cancelled is not None:
                raise self._cancelled
            if not self._chunks:
                return None
            head = self._chunks.popleft()
            if 0 < limit < len(head):
                self._chunks.appendleft(head[limit:])
                head = head[:limit]
            self._free += len(head)
            self._changed.notify_all()
            return head
