"""The outbox as rows, each step within the caller's transaction."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from imsgate.registry.outbox import Event, OutboxMessage, Recorder, Turn
from imsgate.registry.sql.tables import OUTBOX, TURNS


def add(connection: sa.Connection, recorder: Recorder | None, events: Iterable[Event]) -> None:
    if recorder is None:
        return
    now = time.time()
    messages = [
        {"target": target, "id": event.id, "body": event.body, "recorded": now, "due": now}
        for event in events
        for target in recorder.targets
    ]
    if messages:
        connection.execute(sa.insert(OUTBOX), messages)


def is_turn_free(connection: sa.Connection, target: str, now: float) -> bool:
    """Whether there is something to send and, as it seems, nobody sends."""
    if connection.execute(_due(target, now).limit(1)).first() is None:
        return False
    until = connection.scalar(sa.select(TURNS.c.until).where(TURNS.c.target == target))
    return until is None or until <= now


def insert_turn(connection: sa.Connection, target: str) -> None:
    """Raises IntegrityError if there is one."""
    connection.execute(sa.insert(TURNS).values(target=target, epoch=0, until=0.0, failures=0))


def take_turn(
    connection: sa.Connection, target: str, now: float, until: float, limit: int
) -> Turn | None:
    """None if another turn lasts or nothing is to be sent. Raises NoTurn if nobody has had one."""
    row = connection.execute(
        sa.select(TURNS).where(TURNS.c.target == target).with_for_update()
    ).first()
    if row is None:
        raise NoTurn
    if row.until > now:
        return None
    rows = connection.execute(_due(target, now).order_by(OUTBOX.c.position).limit(limit))
    messages = [_message(row) for row in rows]
    if not messages:
        return None
    step = sa.update(TURNS).where(TURNS.c.target == target)
    connection.execute(step.values(epoch=row.epoch + 1, until=until))
    return Turn(target=target, epoch=row.epoch + 1, failures=row.failures, messages=messages)


class NoTurn(Exception):
    """Nobody has ever sent anything to this target."""


def keep_turn(connection: sa.Connection, turn: Turn, until: float, failures: int) -> bool:
    held = (TURNS.c.target == turn.target, TURNS.c.epoch == turn.epoch)
    step = sa.update(TURNS).where(*held).values(until=until, failures=failures)
    return connection.execute(step).rowcount > 0


def remove(connection: sa.Connection, messages: Sequence[OutboxMessage]) -> None:
    positions = [message.position for message in messages]
    connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.position.in_(positions)))


def postpone(connection: sa.Connection, message: OutboxMessage, due: float) -> None:
    step = sa.update(OUTBOX).where(OUTBOX.c.position == message.position)
    connection.execute(step.values(attempts=OUTBOX.c.attempts + 1, due=due))


def forget(connection: sa.Connection, before: float) -> int:
    return connection.execute(sa.delete(OUTBOX).where(OUTBOX.c.recorded < before)).rowcount


def _due(target: str, now: float) -> sa.Select[Any]:
    return sa.select(OUTBOX).where(OUTBOX.c.target == target, OUTBOX.c.due <= now)


def _message(row: Any) -> OutboxMessage:
    event = Event(id=row.id, body=row.body)
    return OutboxMessage(position=row.position, event=event, attempts=row.attempts)
