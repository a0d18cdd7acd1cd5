"""Digests of a stream, made beside the loop that moves it."""

import hashlib
import os
import queue
import threading
from collections.abc import Sequence
from typing import Any

#: Chunks that may wait for a thread; more only take memory.
QUEUE = 1
#: Bytes of a chunk: with threads, each costs a hand-over; without, larger ones gain nothing.
LARGE, SMALL = 1 << 20, 1 << 18
#: What this process may run on.
_PROCESSORS = len(os.sched_getaffinity(0))
#: Digests of one stream that get a thread. Where there are no more processors than digests,
#: the loop makes the last one itself: a thread more only costs a hand-over for each chunk.
_THREADS = _PROCESSORS - 1
#: Streams of a process that have threads. Beyond what keeps the processors busy, these only
#: take memory: three large chunks a stream instead of a small one.
_room = threading.BoundedSemaphore(max(1, _PROCESSORS // 2))


class Digests:
    """Several digests of one stream, on threads of their own while few streams run.

    hashlib releases the interpreter lock on large buffers, so they run beside
    reading and writing. Leaving the ``with`` block ends the threads.
    """

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        self._here = list(self._digests.values())
        self._lanes: list[_Lane] = []
        self._closed = False

    def feed(self, chunk: bytes) -> None:
        """Add ``chunk`` to every digest; waits for a thread that lags too far behind."""
        if not self._lanes and _THREADS and _room.acquire(blocking=False):
            beside, self._here = self._here[:_THREADS], self._here[_THREADS:]
            self._lanes = [_Lane(digest) for digest in beside]
        for lane in self._lanes:
            lane.chunks.put(chunk)
        for digest in self._here:
            digest.update(chunk)

    @property
    def portion(self) -> int:
        """The bytes that are best fed at a time, by now."""
        return LARGE if self._lanes else SMALL

    def values(self) -> dict[str, str]:
        """The hexadecimal digests of everything fed, by algorithm. Ends the threads."""
        self.close()
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    def close(self) -> None:
        """End the threads, once what was fed is digested."""
        if self._closed:
            return
        self._closed = True
        for lane in self._lanes:
            lane.chunks.put(None)
        for lane in self._lanes:
            lane.thread.join()
        if self._lanes:
            _room.release()

    def __enter__(self) -> "Digests":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lane:
    def __init__(self, digest: Any) -> None:
        self.chunks: queue.Queue[bytes | None] = queue.Queue(QUEUE)
        self._digest = digest
        self.thread = threading.Thread(target=self._run, name=f"digest-{digest.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (chunk := self.chunks.get()) is not None:
            self._digest.update(chunk)
