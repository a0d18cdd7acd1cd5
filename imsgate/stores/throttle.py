"""A limit on the bytes that are transferred per second."""

import threading
import time
from collections.abc import Callable

_MIB = 1 << 20


class Throttle:
    """A transfer rate that all threads of a process share."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """``rate`` is in MiB/s; None means unlimited."""
        self._rate = rate and rate * _MIB
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_start = 0.0

    def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may be transferred."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._next_start)
            self._next_start = start + count / self._rate
        if start > now:
            self._sleep(start - now)
