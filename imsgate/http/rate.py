"""How fast a server sends what it is asked for."""

#: Seconds of waiting for a server over which its rate is measured.
RATE_SECONDS = 30.0


class Rate:
    """The rate at which a server sends, measured over the time that is spent waiting for it."""

    def __init__(self, minimum: int) -> None:
        """``minimum`` is in bytes per second; 0 means no limit."""
        self._minimum = minimum
        self.begin()

    def begin(self) -> None:
        self._waited, self._received = 0.0, 0

    def is_too_low(self, seconds: float, count: int) -> bool:
        """``count`` bytes were received after ``seconds``. Whether the server sends too slowly."""
        self._waited += seconds
        self._received += count
        if self._waited < RATE_SECONDS or not count:
            return False
        is_too_low = self._received < self._minimum * self._waited
        self.begin()
        return is_too_low
