"""What a process depends on (database, stores, Keystone, broker), and how its outages are logged.

An outage is one ERROR at its beginning, another one each minute while it lasts, and one line when
it is over, however many requests and jobs fail meanwhile.
"""

import logging
import threading
import time
from collections.abc import Callable

#: Seconds between two ERROR lines about the same dependency.
REPEAT_SECONDS = 60.0

#: The longest problem that is logged, in characters. A driver's message may fill a page.
_MAX_LENGTH = 200


class Dependency:
    """One thing that may be unavailable. All threads of a process share it."""

    def __init__(
        self, name: str, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``name`` begins each line, and ``clock`` returns seconds."""
        self._name = name
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._began: float | None = None
        self._logged: float | None = None  # the last ERROR
        self._reported = False  # whether this outage has an ERROR
        self._failures = 0  # since that

    def failed(self, problem: object) -> None:
        """Report that it could not be used. ``problem`` must not contain anything secret."""
        with self._lock:
            now = self._clock()
            if self._began is None:
                self._began, self._reported = now, False
            self._failures += 1
            if self._logged is not None and now - self._logged < REPEAT_SECONDS:
                return
            failures, self._failures = self._failures, 0
            repeated = "" if self._logged is None or failures == 1 else f" ({failures} failures)"
            self._logged, self._reported = now, True
        text = one_line(problem)
        self._log.error(
            "%s fails: %s%s",
            *(self._name, text, repeated),
            extra={"extra": {"dependency": self._name, "problem": text, "failures": failures}},
        )

    def works(self) -> None:
        """Report that it could be used. Costs nothing unless it failed before."""
        if self._began is None:
            return
        with self._lock:
            began, reported = self._began, self._reported
            if began is None:
                return
            self._began = None
            seconds = self._clock() - began
        if reported:
            self._log.info(
                "%s works again after %.0f s",
                *(self._name, seconds),
                extra={"extra": {"dependency": self._name, "seconds": round(seconds, 3)}},
            )


def one_line(text: object, longest: int = _MAX_LENGTH) -> str:
    """``text`` on one line of printable characters, cut after ``longest`` of them."""
    words = " ".join(str(text).split())
    printable = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode()
        for char in words
    )
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"
