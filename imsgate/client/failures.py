"""What ends a command, and its exit status."""

from typing import ClassVar


class Failure(Exception):
    """The command failed. ``status`` is its exit status, as doc/client.md lists it."""

    status: ClassVar[int] = 1


class Refused(Failure):
    """The image is refused, before the upload or by the server."""

    status = 3


class TransferInterrupted(Failure):
    """The transfer is not complete. The same command continues it."""

    status = 4


class NotAllowed(Failure):
    """The credentials are missing, invalid or not sufficient."""

    status = 5


class Unreadable(Failure):
    """The data on this side cannot be read, or has changed."""


class Cut(Exception):
    """A request whose response did not arrive. It may have been processed."""
