"""Digests of a stream, computed beside the loop that moves it."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import threading
from collections.abc import Sequence
from typing import Any

#: The best size of a chunk: each chunk costs hand-overs between threads, and larger ones gain
#: little.
BEST_CHUNK_BYTES = 1 << 20
#: How many chunks a digest may be behind; more would only take memory.
MAX_CHUNKS_BEHIND = 1
#: Processors that this process may use.
_PROCESSORS = len(os.sched_getaffinity(0))
#: Threads that compute digests; the loops that feed them need a processor as well.
_THREADS = _PROCESSORS - 1
#: Streams that are helped at the same time. More streams keep the processors busy by
#: themselves, and each helped one has more chunks in memory.
_HELPED_STREAMS = max(1, _PROCESSORS // 2)
_helpers = concurrent.futures.ThreadPoolExecutor(max(_THREADS, 1), "digest")
#: The streams that are being fed at this moment.
_being_fed: set["Digests"] = set()


@dataclasses.dataclass(slots=True, eq=False)
class _Lane:
    """One digest and the chunks it still has to take, oldest first."""

    digest: Any
    chunks: collections.deque[bytes] = dataclasses.field(default_factory=collections.deque)
    taken: bool = False


class Digests:
    """Several digests of one stream, computed on further threads while few streams are fed.

    hashlib releases the interpreter lock on large buffers, so digests run beside reading and
    writing. A helping thread, or else the loop that feeds, takes the digest that is furthest
    behind and advances it by one chunk: no processor waits while there is work.
    """

    def __init__(self, algorithms: Sequence[str]) -> None:
        """``algorithms`` are names that hashlib knows, of digests with a fixed size."""
        self._lanes = {name: _Lane(hashlib.new(name, usedforsecurity=False)) for name in algorithms}
        self._changed = threading.Condition()
        self._helping = 0

    def feed(self, chunk: bytes) -> None:
        """Add ``chunk`` to every digest; compute those that are too far behind."""
        _being_fed.add(self)
        try:
            with self._changed:
                for lane in self._lanes.values():
                    lane.chunks.append(chunk)
            helped = len(_being_fed) <= _HELPED_STREAMS and self._ask_for_help()
            self._work(MAX_CHUNKS_BEHIND if helped else 0)
        finally:
            _being_fed.discard(self)

    def values(self) -> dict[str, str]:
        """The hexadecimal digests of everything fed, by algorithm."""
        self._work(0)
        return {name: lane.digest.hexdigest() for name, lane in self._lanes.items()}

    def _work(self, behind: int) -> None:
        """Compute until no digest is more than ``behind`` chunks behind."""
        while (lane := self._take(behind)) is not None:
            self._step(lane)

    def _take(self, behind: int) -> _Lane | None:
        """The digest to advance next; waits while other threads have taken all that need it."""
        with self._changed:
            while any(len(lane.chunks) > behind for lane in self._lanes.values()):
                if (lane := self._take_furthest_behind()) is not None:
                    return lane
                self._changed.wait()
            return None

    def _take_furthest_behind(self) -> _Lane | None:
        """None if there is nothing to do, or other threads are doing it."""
        with self._changed:
            free = [lane for lane in self._lanes.values() if lane.chunks and not lane.taken]
            lane = max(free, key=lambda lane: len(lane.chunks), default=None)
            if lane is not None:
                lane.taken = True
            return lane

    def _step(self, lane: _Lane) -> None:
        try:
            lane.digest.update(lane.chunks[0])
            lane.chunks.popleft()
        finally:
            with self._changed:
                lane.taken = False
                self._changed.notify_all()

    def _ask_for_help(self) -> bool:
        """Have threads work on these digests; return whether there are any."""
        with self._changed:
            missing = min(_THREADS, len(self._lanes)) - self._helping
            self._helping += missing
        # If the system cannot start more threads, the digests do with fewer or none.
        with contextlib.suppress(RuntimeError):
            for _ in range(missing):
                _helpers.submit(self._help)
        return _THREADS > 0

    def _help(self) -> None:
        """Thread body: compute until the queues are empty. An invalid chunk is left for
        feed(), which raises."""
        with contextlib.suppress(Exception):
            self._work(0)
        with self._changed:
            self._helping -= 1
