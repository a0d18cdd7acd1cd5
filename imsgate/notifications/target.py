"""What a target of notifications has to implement."""

import abc
from collections.abc import Mapping
from typing import Any

from imsgate.registry.outbox import Event

#: The member of an event's body with the headers of the trace, which is not in the message.
TRACE = "trace"


class Undelivered(Exception):
    """The target is unavailable, so that no notification can be sent to it now."""


class Declined(Exception):
    """The target is available and does not accept this notification."""


class Target(abc.ABC):
    """Where notifications are sent. ``name`` identifies it in the database, ``label`` in logs."""

    name: str
    label: str

    @abc.abstractmethod
    def send(self, event: Event) -> None:
        """Return once the target has the event. Raises Undelivered and Declined.

        It is called by one thread of a process.
        """


def message_of(event: Event) -> Mapping[str, Any]:
    """The message that targets receive: oslo.messaging's."""
    body = {name: value for name, value in event.body.items() if name != TRACE}
    return {"message_id": event.id, **body}
