"""The contract of read-only mode, which all processes that share the records have in common."""

import abc
import datetime


class Maintenance(abc.ABC):
    """Whether the service is read-only.

    A registry only stores this. It still performs each change, since running uploads and jobs
    finish: see ``imsgate.maintenance``.
    """

    @abc.abstractmethod
    def read_only_since(self) -> datetime.datetime | None:
        """When the service became read-only; None if it is not."""

    @abc.abstractmethod
    def begin_read_only(self, since: datetime.datetime) -> None:
        """Make the service read-only. Does nothing if it is read-only already."""

    @abc.abstractmethod
    def end_read_only(self) -> None:
        """End read-only mode. Does nothing if the service is not read-only."""
