"""How long a client waits after a failure, and when it gives up."""

import email.utils
import random
import time
from collections.abc import Callable, Mapping

from imsgate.client.failures import TransferInterrupted

#: Statuses after which the same request may succeed (RFC 9110, 6585 and 8470).
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Seconds. The first attempt follows at once, because most cuts are over when they are noticed.
_DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that ``Retry-After`` asks for, as a number or a date; None without the header
    or if it cannot be read."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


class Retries:
    """Waits between attempts, longer each time, until there is progress or patience runs out."""

    def __init__(
        self,
        patience: float,
        *,
        report: Callable[[str, float], None] = lambda why, seconds: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """``patience`` is the number of seconds without any progress after which to give up.
        ``report`` is called before each wait, with the reason and the seconds."""
        self._patience = patience
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._spread = spread
        self._failures = 0
        self._failing_since: float | None = None

    def progressed(self) -> None:
        """Something succeeded, so the next failure is the first one again."""
        self._failures = 0
        self._failing_since = None

    def wait(self, why: str, at_least: float | None = None) -> None:
        """Wait before the next attempt. Raises TransferInterrupted if patience has run out.

        ``at_least`` is what the server asks for, in seconds. Other waits vary, so that many
        clients of a server that restarts do not return in the same moment.
        """
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        delay = _DELAYS[min(self._failures, len(_DELAYS) - 1)] * (0.5 + self._spread() / 2)
        delay = max(delay, at_least or 0.0)
        self._failures += 1
        if now + delay - self._failing_since > self._patience:
            raise TransferInterrupted(f"no progress for {self._patience:.0f} seconds: {why}")
        self._report(why, delay)
        self._sleep(delay)
