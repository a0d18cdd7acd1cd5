"""Leases: how a process shows that it still works on a record, and waits out an outage.

A lease is a time in the near future, stored in the database, that its holder keeps extending. If
the holder dies, the lease runs out, and another process may clean up or take over.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from imsgate import errors

LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Pauses between two attempts of a step while the database or Keystone is unavailable. A
#: restart of either takes less than their sum.
RETRY_PAUSES_SECONDS: Sequence[float] = (0.1, 0.2, 0.5, 1, 2, 4, 8, 16)


def every(seconds: float, done: threading.Event) -> Iterator[None]:
    """Yield every ``seconds``, measured from the start of each turn, until ``done`` is set.

    A slow renewal shortens the pause after it, because it has used up part of the lease.
    """
    pause = seconds
    while not done.wait(pause):
        began = time.monotonic()
        yield
        pause = max(0.0, seconds - (time.monotonic() - began))


def retry_while_unavailable(
    step: Callable[[], T],
    *,
    subject: str,
    pauses: Iterable[float],
    wait: Callable[[float], object],
    seconds: float = float("inf"),
) -> T:
    """Return what ``step`` returns; call it again after each pause while it raises Unavailable.

    ``wait`` lets a number of seconds pass, and may raise to give up. Raises Unavailable when
    there are no more pauses, or the next one would end more than ``seconds`` after the start.
    ``subject`` names who is waiting, for the log.
    """
    deadline = time.monotonic() + seconds
    for pause in pauses:
        try:
            return step()
        except errors.Unavailable as error:
            if time.monotonic() + pause > deadline:
                raise
            LOG.warning("%s waits: %s", subject, error)
        wait(pause)
    return step()


def retry_after_sweep(error: BaseException, seconds: float) -> None:
    """Set the Retry-After of ``error``, if it has one, to the longest time until a sweep frees the
    record: its lease of ``seconds`` must run out before the next sweep."""
    if isinstance(error, errors.Unavailable):
        error.headers["Retry-After"] = str(math.ceil(2 * seconds))


class Lease:
    """Renews a lease on a thread of its own, inside its ``with`` block.

    The working thread cannot renew it alone, because a read may block for as long as the client
    likes. But it renews the lease if the other thread is late (``keep``), so that work in progress
    keeps its lease on a busy machine, too.
    """

    def __init__(
        self,
        subject: str,
        renew: Callable[[], object],
        *,
        interval: float,
        refusals: tuple[type[Exception], ...],
    ) -> None:
        """``renew`` is called every ``interval`` seconds. If it raises one of ``refusals``, the
        lease is lost for good; any other failure may be over before the lease has run out."""
        self._subject = subject
        self._renew = renew
        self._interval = interval
        self._refusals = refusals
        self._begun = time.monotonic()  # the last attempt to renew it
        self._renewing = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        #: Whether another process holds the lease now, or nobody can hold it any longer.
        self.lost = False

    def wait(self, seconds: float) -> None:
        """Wait; return at once when the lease is no longer renewed."""
        self._done.wait(seconds)

    def keep(self) -> None:
        """Renew the lease if that is overdue. To be called by the thread that works."""
        if not self.lost and time.monotonic() - self._begun > 2 * self._interval:
            self._turn()

    def end(self) -> None:
        """Stop renewing. May be called again."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        for _ in every(self._interval, self._done):
            self._turn()
            if self.lost:
                return

    def _turn(self) -> None:
        if not self._renewing.acquire(blocking=False):
            return  # the other thread is renewing it
        try:
            self._begun = time.monotonic()
            self._renew()
        except self._refusals:
            self.lost = True
        except Exception:
            # The database may come back before the lease runs out. Whether it did is decided by
            # the compare-and-set of the last step.
            LOG.warning("The lease of %s could not be renewed", self._subject)
        finally:
            self._renewing.release()

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
