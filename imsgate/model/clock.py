"""The time, as records store it."""

import datetime


def now() -> datetime.datetime:
    """The current time in UTC, to the microsecond."""
    return datetime.datetime.now(datetime.UTC)
