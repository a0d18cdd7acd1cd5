"""The outbox in the memory of one process."""

import dataclasses
import itertools
import threading
import time
from collections.abc import Iterable, Sequence

from imsgate.registry.outbox import Event, Outbox, OutboxMessage, Turn


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    message: OutboxMessage
    target: str
    recorded: float
    due: float


class MemoryOutbox(Outbox):
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._positions = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._turns: dict[str, tuple[int, float, int]] = {}

    def add_events(self, events: Iterable[Event]) -> None:
        if self._recorder is None:
            return
        now = time.time()
        with self._lock:
            for event in events:
                for target in self._recorder.targets:
                    message = OutboxMessage(position=next(self._positions), event=event)
                    self._waiting[message.position] = _Waiting(
                        message=message, target=target, recorded=now, due=now
                    )

    def take_turn(self, target: str, now: float, until: float, limit: int = 20) -> Turn | None:
        with self._lock:
            messages = [
                each.message
                for each in self._waiting.values()
                if each.target == target and each.due <= now
            ]
            epoch, end, failures = self._turns.get(target, (0, 0.0, 0))
            if not messages or end > now:
                return None
            self._turns[target] = (epoch + 1, until, failures)
            return Turn(
                target=target, epoch=epoch + 1, failures=failures, messages=messages[:limit]
            )

    def keep_turn(self, turn: Turn, until: float, failures: int = 0) -> bool:
        with self._lock:
            if self._turns[turn.target][0] != turn.epoch:
                return False
            self._turns[turn.target] = (turn.epoch, until, failures)
            return True

    def remove_messages(self, messages: Sequence[OutboxMessage], /) -> None:
        with self._lock:
            for message in messages:
                self._waiting.pop(message.position, None)

    def postpone_message(self, message: OutboxMessage, due: float) -> None:
        with self._lock:
            waiting = self._waiting.get(message.position)
            if waiting is not None:
                counted = dataclasses.replace(
                    waiting.message, attempts=waiting.message.attempts + 1
                )
                self._waiting[message.position] = dataclasses.replace(
                    waiting, message=counted, due=due
                )

    def forget_messages(self, before: float) -> int:
        with self._lock:
            old = [position for position, each in self._waiting.items() if each.recorded < before]
            for position in old:
                del self._waiting[position]
            return len(old)
