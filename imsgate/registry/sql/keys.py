"""Idempotency keys as rows, each step within the caller's transaction."""

from typing import Any

import sqlalchemy as sa

from imsgate.errors import KeyInUse
from imsgate.registry.idempotency import Claim, Entry, KeptAnswer, Outcome
from imsgate.registry.sql.tables import KEYS


def insert(connection: sa.Connection, claim: Claim, entry: Entry) -> None:
    """Raises IntegrityError if the key is recorded already."""
    connection.execute(sa.insert(KEYS).values(id=claim.key, **_columns(entry)))


def take(connection: sa.Connection, claim: Claim, entry: Entry) -> None:
    """Replace what is recorded of a key, whose row is locked."""
    connection.execute(sa.update(KEYS).where(KEYS.c.id == claim.key).values(_columns(entry)))


def locked(connection: sa.Connection, key: str) -> Entry | None:
    """What is recorded of a key; nobody else can change it before this transaction ends."""
    select = sa.select(KEYS).where(KEYS.c.id == key).with_for_update()
    row = connection.execute(select).first()
    if row is None:
        return None
    return Entry(
        fingerprint=row.fingerprint,
        holder=row.holder,
        lease=row.lease,
        expires=row.expires,
        answer=None if row.status is None else KeptAnswer(row.status, row.headers, row.body),
    )


def end(connection: sa.Connection, outcome: Outcome | None) -> None:
    """End a claim with its answer, if there is one. Raises KeyInUse if the claim was lost."""
    if outcome is None:
        return
    answered = sa.update(KEYS).where(*_held(outcome.claim)).values(_answer(outcome.answer))
    if connection.execute(answered).rowcount == 0:
        raise KeyInUse


def release(connection: sa.Connection, claim: Claim) -> None:
    connection.execute(sa.delete(KEYS).where(*_held(claim)))


def forget(connection: sa.Connection, now: float) -> int:
    return connection.execute(sa.delete(KEYS).where(KEYS.c.expires < now)).rowcount


def _held(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return KEYS.c.id == claim.key, KEYS.c.holder == claim.holder, KEYS.c.status.is_(None)


def _columns(entry: Entry) -> dict[str, Any]:
    return {
        "fingerprint": entry.fingerprint,
        "holder": entry.holder,
        "lease": entry.lease,
        "expires": entry.expires,
        **_answer(entry.answer),
    }


def _answer(answer: KeptAnswer | None) -> dict[str, Any]:
    if answer is None:
        return {"status": None, "headers": {}, "body": None}
    return {"status": answer.status, "headers": answer.headers, "body": answer.body}
