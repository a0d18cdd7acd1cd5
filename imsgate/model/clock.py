"""The time, as records store it."""

import datetime


def now() -> datetime.datetime:
    """The current time in UTC, to the microsecond."""
    return datetime.datetime.now(datetime.UTC)


def isotime(when: datetime.datetime) -> str:
    """A time in Glance's format: ISO 8601, UTC, in whole seconds."""
    return when.isoformat("T", "seconds")[:19] + "Z"
