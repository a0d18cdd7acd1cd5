"""The outbox of the registry in a SQL database."""

import contextlib
from collections.abc import Iterable, Sequence

from sqlalchemy import exc

from imsgate.registry.base import Registry
from imsgate.registry.outbox import Event, OutboxMessage, Turn
from imsgate.registry.sql import messages
from imsgate.registry.sql.database import Database
from imsgate.registry.sql.messages import NoTurn
from imsgate.registry.sql.outages import repeated


class SqlOutbox(Registry):
    _database: Database

    @repeated
    def add_events(self, events: Iterable[Event]) -> None:
        with self._database.writing() as connection:
            messages.add(connection, self._recorder, events)

    @repeated
    def take_turn(self, target: str, now: float, until: float, limit: int = 20) -> Turn | None:
        # Idle senders ask often and mostly find nothing, which must not keep writers waiting.
        with self._database.reading() as connection:
            if not messages.is_turn_free(connection, target, now):
                return None
        while True:
            with contextlib.suppress(NoTurn), self._database.writing() as connection:
                return messages.take_turn(connection, target, now, until, limit)
            with contextlib.suppress(exc.IntegrityError), self._database.writing() as connection:
                messages.insert_turn(connection, target)

    @repeated
    def keep_turn(self, turn: Turn, until: float, failures: int = 0) -> bool:
        with self._database.writing() as connection:
            return messages.keep_turn(connection, turn, until, failures)

    @repeated
    def remove_messages(self, sent: Sequence[OutboxMessage], /) -> None:
        with self._database.writing() as connection:
            messages.remove(connection, sent)

    @repeated
    def postpone_message(self, message: OutboxMessage, due: float) -> None:
        with self._database.writing() as connection:
            messages.postpone(connection, message, due)

    @repeated
    def forget_messages(self, before: float) -> int:
        with self._database.writing() as connection:
            return messages.forget(connection, before)
