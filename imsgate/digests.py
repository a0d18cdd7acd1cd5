"""Digests of a stream, made beside the loop that moves it."""

import collections
import contextlib
import dataclasses
import hashlib
import os
import threading
from collections.abc import Sequence
from typing import Any

#: Chunks that a digest may be behind; more only take memory.
BEHIND = 1
#: Bytes of a chunk: with threads, each costs a hand-over; without, larger ones gain nothing.
LARGE, SMALL = 1 << 20, 1 << 18
#: What this process may run on.
_PROCESSORS = len(os.sched_getaffinity(0))
#: Threads that make the digests of one stream; the loop beside them takes a processor, too.
_THREADS = _PROCESSORS - 1
#: Streams of a process that have threads. Beyond what keeps the processors busy, these only
#: take memory: some large chunks a stream instead of a small one.
_room = threading.BoundedSemaphore(max(1, _PROCESSORS // 2))


@dataclasses.dataclass(slots=True, eq=False)
class _Lane:
    """One digest and what it has still to take, the oldest first."""

    digest: Any
    chunks: collections.deque[bytes] = dataclasses.field(default_factory=collections.deque)
    taken: bool = False


class Digests:
    """Several digests of one stream, with threads while few streams run.

    hashlib releases the interpreter lock on large buffers, so they run beside reading and
    writing. Whoever has time, a thread or else the loop that feeds, takes the digest that is
    furthest behind a chunk further: no processor waits while there is one to take. Leaving
    the ``with`` block ends the threads.
    """

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._lanes = {name: _Lane(hashlib.new(name, usedforsecurity=False)) for name in algorithms}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def feed(self, chunk: bytes) -> None:
        """Add ``chunk`` to every digest; makes those that are too far behind."""
        if not self._threads and _THREADS and _room.acquire(blocking=False):
            self._begin()
        with self._changed:
            for lane in self._lanes.values():
                lane.chunks.append(chunk)
            self._changed.notify_all()
        self._work(BEHIND if self._threads else 0)

    @property
    def portion(self) -> int:
        """The bytes that are best fed at a time, by now."""
        return LARGE if self._threads else SMALL

    def values(self) -> dict[str, str]:
        """The hexadecimal digests of everything fed, by algorithm. Ends the threads."""
        self.close()
        return {name: lane.digest.hexdigest() for name, lane in self._lanes.items()}

    def close(self) -> None:
        """End the threads, once what was fed is digested."""
        if self._closed:
            return
        try:
            self._work(0)
        finally:
            self._end()

    def _begin(self) -> None:
        # Where the system has no more threads, it goes on without, or with fewer.
        with contextlib.suppress(RuntimeError):
            for _ in range(min(_THREADS, len(self._lanes))):
                thread = threading.Thread(target=self._help, name="digest", daemon=True)
                thread.start()
                self._threads.append(thread)
        if not self._threads:
            _room.release()

    def _end(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        if self._threads:
            _room.release()

    def _help(self) -> None:
        """What a thread does. A chunk that is none is left to the loop, which tells."""
        with contextlib.suppress(Exception):
            self._work(-1)

    def _work(self, behind: int) -> None:
        """Digest until none is more than so many chunks behind, which is never for -1, or all
        is closed."""
        while (lane := self._take(behind)) is not None:
            try:
                lane.digest.update(lane.chunks[0])
                lane.chunks.popleft()
            finally:
                with self._changed:
                    lane.taken = False
                    self._changed.notify_all()

    def _take(self, behind: int) -> _Lane | None:
        """The digest to go on with; waits while others are at all there are."""
        lanes = self._lanes.values()
        with self._changed:
            while not self._closed and any(len(lane.chunks) > behind for lane in lanes):
                free = [lane for lane in lanes if lane.chunks and not lane.taken]
                if free:
                    found = max(free, key=lambda lane: len(lane.chunks))
                    found.taken = True
                    return found
                self._changed.wait()
            return None

    def __enter__(self) -> "Digests":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
