"""A bounded hand-over from a thread that pushes chunks to one that pulls bytes."""

import collections
import threading

#: Bytes that may lie between the two; a chunk is taken whole as long as there is any room.
ROOM = 4 * 1024 * 1024


class Ended(Exception):
    """The other side takes or gives nothing any more."""


class BoundedPipe:
    """What the writing thread puts in, the reading thread reads as from a file."""

    def __init__(self, room: int = ROOM) -> None:
        self._changed = threading.Condition()
        self._chunks: collections.deque[memoryview] = collections.deque()
        self._room = room
        self._complete = False
        self._cancelled: BaseException | None = None
        self._reading = True

    # The writing side.

    def put(self, chunk: bytes) -> None:
        """Hand over ``chunk``; waits for room. Raises Ended once nobody reads any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._room > 0 or not self._open)
            if not self._open:
                raise Ended
            self._chunks.append(memoryview(chunk))
            self._room -= len(chunk)
            self._changed.notify_all()

    def finish(self) -> None:
        """There is no more: the reader finds the end."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def cancel(self, error: BaseException | None) -> None:
        """Have the reader's next read raise ``error``, or find the end at once without one."""
        with self._changed:
            self._chunks.clear()
            self._cancelled = error
            self._complete = True
            self._changed.notify_all()

    # The reading side.

    def read(self, size: int | None = None) -> bytes:
        """``size`` bytes, or all; fewer at the end only. Raises what ``cancel`` was given."""
        parts: list[memoryview] = []
        wanted = -1 if size is None else size
        while wanted and (part := self._take(wanted)):
            parts.append(part)
            if wanted > 0:
                wanted -= len(part)
        return b"".join(parts)

    def leave(self) -> None:
        """Read nothing any more; who puts is told."""
        with self._changed:
            self._reading = False
            self._chunks.clear()
            self._changed.notify_all()

    @property
    def _open(self) -> bool:
        return self._reading and not self._complete

    def _take(self, wanted: int) -> memoryview | None:
        """The next bytes, at most ``wanted`` unless that is negative; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._complete)
            if self._cancelled is not None:
                raise self._cancelled
            if not self._chunks:
                return None
            head = self._chunks.popleft()
            if 0 < wanted < len(head):
                self._chunks.appendleft(head[wanted:])
                head = head[:wanted]
            self._room += len(head)
            self._changed.notify_all()
            return head
