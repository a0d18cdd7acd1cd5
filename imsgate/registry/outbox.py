"""The contract of the outbox: events of records that wait until they are sent.

An event is recorded in the same atomic step as the change that it reports, so no process can die
between the two. It is removed after it was sent.
"""

import abc
import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from imsgate.model import Image, Job, JobState, Member


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is sent of one change. ``body`` is a JSON object; ``id`` is the same for all targets."""

    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    body: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """An event that waits to be sent to one target.

    ``position`` orders the messages of a registry and identifies this one. ``attempts`` counts
    how often the target refused it.
    """

    position: int
    event: Event
    attempts: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The right to send to a target, and the oldest messages that may be sent now.

    ``epoch`` differs for each turn. ``failures`` is what the turn before this one has left.
    """

    target: str
    epoch: int
    failures: int
    messages: Sequence[OutboxMessage]


class Recorder(Protocol):
    """Decides which events a change causes; there may be none. The names are of 64 characters
    at most."""

    @property
    def targets(self) -> Sequence[str]:
        """The names of those to whom events are sent."""

    def image(self, before: Image | None, after: Image) -> Iterable[Event]:
        """The events of a new image (``before`` is None) or a changed one."""

    def member(self, action: str, member: Member, image: Image) -> Iterable[Event]:
        """The events of a member of ``image``; the action is create, update or delete."""

    def job(self, before: JobState | None, after: Job) -> Iterable[Event]:
        """The events of a new job (``before`` is None) or a changed one."""


def is_shown(to: Mapping[str, Any]) -> bool:
    """Whether a change to these fields of an image may be an event. A running upload is none."""
    return any(not field.startswith("upload_") for field in to)


class Outbox(abc.ABC):
    """Events on their way to their targets.

    Once ``record_events`` was called, each method that changes an image, a member or the state
    of a job also records the recorder's events of that change, for each target, in the same atomic
    step: none if it raises. A change to nothing but the ``upload_*`` fields of an image has none,
    and neither has the removal of an old record.

    At most one caller at a time has the turn to send to a target, so messages are sent in the
    order of their positions, which is that of the changes of each record.
    """

    _recorder: Recorder | None = None

    def record_events(self, recorder: Recorder | None) -> None:
        """Record the events of all later changes through this object; None: record none."""
        self._recorder = recorder

    @abc.abstractmethod
    def add_events(self, events: Iterable[Event]) -> None:
        """Record events that are not those of a change; none without a recorder."""

    @abc.abstractmethod
    def take_turn(self, target: str, now: float, until: float, limit: int = 20) -> Turn | None:
        """Take the turn to send to a target until ``until``.

        Returns None while another turn lasts, or if no message is to be sent by ``now``. Both
        times are in seconds since the epoch. Concurrent callers get one turn.
        """

    @abc.abstractmethod
    def keep_turn(self, turn: Turn, until: float, failures: int = 0) -> bool:
        """Let a turn end at ``until`` instead, and leave ``failures`` to the next one.

        Returns False, and does nothing, if somebody else has taken a turn since.
        """

    @abc.abstractmethod
    def remove_messages(self, messages: Sequence[OutboxMessage], /) -> None:
        """Remove messages, which may be gone already."""

    @abc.abstractmethod
    def postpone_message(self, message: OutboxMessage, due: float) -> None:
        """Count an attempt at a message. It is not sent again before ``due``."""

    @abc.abstractmethod
    def forget_messages(self, before: float) -> int:
        """Remove the messages that were recorded before a time, and return their number."""
