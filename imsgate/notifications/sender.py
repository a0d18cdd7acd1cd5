"""Sends what waits in the outbox: at any time, one process sends to a target, in order."""

import logging
import threading
import time
from collections.abc import Callable

from imsgate import errors
from imsgate.notifications.settings import OutboxSettings
from imsgate.notifications.target import Declined, Target, Undelivered
from imsgate.registry.base import Registry
from imsgate.registry.outbox import OutboxMessage, Turn
from imsgate.telemetry.dependencies import Dependency

LOG = logging.getLogger(__name__)

#: The longest pause in seconds before an unavailable target is tried again, and before it gets
#: a notification again that it has refused. Pauses begin with 1 s; each is twice as long as the
#: one before.
LONGEST_PAUSE_SECONDS, LONGEST_REFUSAL_SECONDS = 60.0, 3600.0


class Sender:
    """Sends to one target."""

    def __init__(
        self,
        registry: Registry,
        target: Target,
        settings: OutboxSettings,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """It ends once ``stop`` is set. ``clock`` returns seconds since the epoch."""
        self._registry = registry
        self._target = target
        self._settings = settings
        self._stop = stop
        self._clock = clock
        self._label = target.label[0].upper() + target.label[1:]
        self._dependency = Dependency(self._label, LOG, clock=clock)

    def run(self) -> None:
        """Thread body: send until the process stops."""
        while not self._stop.is_set():
            try:
                more = self.send_some()
            except errors.Unavailable:  # the database, which was logged and may come back
                more = False
            except Exception:
                LOG.exception("Sending to %s failed; it will be tried again", self._target.label)
                more = False
            if not more:
                self._stop.wait(self._settings.poll)

    def send_some(self) -> bool:
        """Send the oldest messages. Returns False if there is nothing more to do for now."""
        now = self._clock()
        turn = self._registry.take_turn(self._target.name, now, now + self._settings.lease)
        if turn is None:
            return False
        sent: list[OutboxMessage] = []
        try:
            failures, problem = self._send_all(turn, now, sent)
        finally:
            # Together, since each commit waits for the disk. If the process dies before it, they
            # are sent once more.
            if sent:
                self._registry.remove_messages(sent)
        if problem is None:
            return self._registry.keep_turn(turn, 0.0, failures)
        self._pause(turn, failures, problem)
        return False

    def _send_all(
        self, turn: Turn, renewed: float, sent: list[OutboxMessage]
    ) -> tuple[int, Undelivered | None]:
        """Append to ``sent`` what was sent. Returns the failures since the last success, and why
        no more can be sent now."""
        failures = turn.failures
        for message in turn.messages:
            now = self._clock()
            if now > renewed + self._settings.lease / 3:
                if not self._registry.keep_turn(turn, now + self._settings.lease, failures):
                    break
                renewed = now
            if self._stop.is_set():
                break
            try:
                self._target.send(message.event)
                sent.append(message)
            except Declined as refusal:
                self._postpone(message, refusal)
            except Undelivered as error:
                return failures, error
            self._dependency.works()
            failures = 0
        return failures, None

    def _postpone(self, message: OutboxMessage, refusal: Declined) -> None:
        pause = _pause(message.attempts, LONGEST_REFUSAL_SECONDS)
        LOG.warning(
            "%s refused notification %s (%s); it gets it again in %.0f s",
            self._label,
            message.event.id,
            refusal,
            pause,
        )
        self._registry.postpone_message(message, self._clock() + pause)

    def _pause(self, turn: Turn, failures: int, error: Undelivered) -> None:
        """Nobody takes a turn before the pause is over."""
        self._dependency.failed(f"{error}; notifications wait")
        pause = _pause(failures, LONGEST_PAUSE_SECONDS)
        self._registry.keep_turn(turn, self._clock() + pause, failures + 1)


def _pause(times: int, longest: float) -> float:
    """The pause in seconds after so many earlier failures."""
    return min(2.0 ** min(times, 32), longest)
