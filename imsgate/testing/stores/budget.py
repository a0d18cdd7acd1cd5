"""How much time the checks with random calls may take."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Self

import hypothesis.errors
import pytest

#: Environment variables that override ``SEQUENCES`` and ``SECONDS`` of all tests.
SEQUENCES, SECONDS = "IMSGATE_TEST_SEQUENCES", "IMSGATE_TEST_SECONDS"


class TimeIsUp(BaseException):
    """Ends a check that has found nothing so far. No library takes it for a failure."""


class Budget:
    """``sequences`` of random calls, or as many as begin within ``seconds`` (0: no limit).

    ``begins`` is called at the beginning of each.
    """

    def __init__(
        self,
        sequences: int,
        seconds: float,
        begins: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sequences = sequences
        self._seconds = seconds
        self._begins = begins
        self._clock = clock
        self._end = clock() + seconds
        #: The number of sequences that have begun.
        self.begun = 0
        #: Whether one of them has failed. Then the shortest one that fails is looked for.
        self.failed = False
        self._over = False

    @classmethod
    def of(cls, sequences: int, seconds: float, begins: Callable[[], object]) -> Self:
        """The values of a test class, unless the environment has others."""
        environ = os.environ
        return cls(
            int(environ.get(SEQUENCES, sequences)), float(environ.get(SECONDS, seconds)), begins
        )

    def begin(self) -> None:
        """Begin a sequence. Raises TimeIsUp."""
        self._begins()
        if self._seconds and not self.failed and self._clock() > self._end:
            self._over = True
            raise TimeIsUp
        self.begun += 1

    def note(self, error: BaseException | None) -> None:
        """Note how a sequence ended; hypothesis ends some with exceptions of its own."""
        failures = (Exception, pytest.fail.Exception)
        own = isinstance(error, hypothesis.errors.HypothesisException)
        self.failed = self.failed or (isinstance(error, failures) and not own)

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """The end of the time is no failure."""
        try:
            yield
        except TimeIsUp:
            pass
        except hypothesis.errors.Flaky:
            # To hypothesis, the last sequence was shorter than an equal one before it.
            if not self._over or self.failed:
                raise
