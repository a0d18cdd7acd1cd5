"""Digests of a stream, made beside the loop that moves it."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import threading
from collections.abc import Sequence
from typing import Any

#: Bytes that are best fed at a time: each chunk costs hand-overs between threads, and larger
#: ones gain little.
CHUNK = 1 << 20
#: Chunks that a digest may be behind; more only take memory.
BEHIND = 1
#: What this process may run on.
_PROCESSORS = len(os.sched_getaffinity(0))
#: Threads that make digests; the loops that feed take processors, too.
_THREADS = _PROCESSORS - 1
#: Streams that they help at a time. More keep the processors busy by themselves, and would
#: each have more chunks in memory.
_HELPED = max(1, _PROCESSORS // 2)
_helpers = concurrent.futures.ThreadPoolExecutor(max(_THREADS, 1), "digest")
#: The streams that are being fed at this moment.
_fed: set["Digests"] = set()


@dataclasses.dataclass(slots=True, eq=False)
class _Lane:
    """One digest and what it has still to take, the oldest first."""

    digest: Any
    chunks: collections.deque[bytes] = dataclasses.field(default_factory=collections.deque)
    taken: bool = False


class Digests:
    """Several digests of one stream, made on threads, too, while few streams are fed.

    hashlib releases the interpreter lock on large buffers, so digests run beside reading and
    writing. Whoever has time, a thread or else the loop that feeds, takes the one that is
    furthest behind a chunk further: no processor waits while there is one to take.
    """

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._lanes = {name: _Lane(hashlib.new(name, usedforsecurity=False)) for name in algorithms}
        self._changed = threading.Condition()
        self._helping = 0

    def feed(self, chunk: bytes) -> None:
        """Add ``chunk`` to every digest; makes those that are too far behind."""
        _fed.add(self)
        try:
            with self._changed:
                for lane in self._lanes.values():
                    lane.chunks.append(chunk)
            helped = len(_fed) <= _HELPED and self._ask_for_help()
            self._work(BEHIND if helped else 0)
        finally:
            _fed.discard(self)

    def values(self) -> dict[str, str]:
        """The hexadecimal digests of everything fed, by algorithm."""
        self._work(0)
        return {name: lane.digest.hexdigest() for name, lane in self._lanes.items()}

    def _work(self, behind: int) -> None:
        """Digest until none is more than so many chunks behind."""
        while (lane := self._take(behind)) is not None:
            self._step(lane)

    def _take(self, behind: int) -> _Lane | None:
        """The digest to go on with; waits while others are at all there are."""
        with self._changed:
            while any(len(lane.chunks) > behind for lane in self._lanes.values()):
                if (lane := self._furthest_behind()) is not None:
                    return lane
                self._changed.wait()
            return None

    def _furthest_behind(self) -> _Lane | None:
        """Takes it; None where there is nothing to do, or others are at it."""
        with self._changed:
            free = [lane for lane in self._lanes.values() if lane.chunks and not lane.taken]
            found = max(free, key=lambda lane: len(lane.chunks), default=None)
            if found is not None:
                found.taken = True
            return found

    def _step(self, lane: _Lane) -> None:
        try:
            lane.digest.update(lane.chunks[0])
            lane.chunks.popleft()
        finally:
            with self._changed:
                lane.taken = False
                self._changed.notify_all()

    def _ask_for_help(self) -> bool:
        """Whether there is any."""
        with self._changed:
            missing = min(_THREADS, len(self._lanes)) - self._helping
            self._helping += missing
        # Where the system has no more threads, it goes on without, or with fewer.
        with contextlib.suppress(RuntimeError):
            for _ in range(missing):
                _helpers.submit(self._help)
        return _THREADS > 0

    def _help(self) -> None:
        """What a thread does until all is made. A chunk that is none is left to the loop, which
        tells."""
        with contextlib.suppress(Exception):
            self._work(0)
        with self._changed:
            self._helping -= 1
