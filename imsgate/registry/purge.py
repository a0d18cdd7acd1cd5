"""Removes rows that nobody needs any more: of deleted images, ended jobs and expired uploads.

As ``glance-manage db purge``, it keeps the rows of the deleted images themselves unless it is told
otherwise: without such a row, the id of the image may be used again (OSSN-0075).
"""

import dataclasses
import datetime
from collections.abc import Iterator

import sqlalchemy as sa

from imsgate.model import Status
from imsgate.registry import lists, uploads
from imsgate.registry.database import Database
from imsgate.registry.outages import repeated
from imsgate.registry.tables import IMAGES, JOBS, LOCATIONS, MEMBERS, PROPERTIES, TAGS, UPLOADS

#: Rows that one transaction removes, so that no other one waits for long.
BATCH_ROWS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """The rows of one table that may go, and what to call them."""

    name: str
    table: sa.Table
    condition: sa.ColumnElement[bool]


def _steps(before: datetime.datetime, *, images: bool) -> Iterator[_Step]:
    """In an order in which no row refers to one that is removed earlier."""
    ended = JOBS.c.end_at < before
    expired = uploads.is_forgotten(before.timestamp())
    kept: tuple[tuple[sa.Table, sa.ColumnElement[bool]], ...] = (
        (JOBS, sa.or_(JOBS.c.end_at.is_(None), JOBS.c.end_at >= before)),
        (UPLOADS, sa.not_(expired)),
        (LOCATIONS, sa.true()),
    )
    deleted = sa.and_(
        sa.not_(lists.EXISTS),
        IMAGES.c.status == Status.DELETED,
        IMAGES.c.updated_at < before,
        # The sweep still needs these.
        IMAGES.c.upload_key.is_(None),
        IMAGES.c.upload_expires.is_(None),
        *(
            ~sa.exists().where(table.c.image_id == IMAGES.c.id, condition).correlate(IMAGES)
            for table, condition in kept
        ),
    )
    ids = sa.select(IMAGES.c.id).where(deleted)
    yield _Step("jobs", JOBS, ended)
    yield _Step("uploads", UPLOADS, expired)
    yield _Step("members", MEMBERS, MEMBERS.c.image_id.in_(ids))
    yield _Step("properties", PROPERTIES, PROPERTIES.c.image_id.in_(ids))
    yield _Step("tags", TAGS, TAGS.c.image_id.in_(ids))
    if images:
        yield _Step("images", IMAGES, deleted)


def count(database: Database, before: datetime.datetime, *, images: bool) -> dict[str, int]:
    """How many rows of each kind ``purge`` would remove without a limit. Raises Unavailable."""
    with database.reading() as connection:
        return {
            step.name: connection.execute(
                sa.select(sa.func.count()).select_from(step.table).where(step.condition)
            ).scalar_one()
            for step in _steps(before, images=images)
        }


def purge(
    database: Database,
    before: datetime.datetime,
    *,
    images: bool,
    limit: int | None = None,
) -> Iterator[tuple[str, int]]:
    """Remove what was deleted, has ended or expired before a time, ``limit`` rows at most.

    ``images`` says whether the rows of deleted images go, too. Yields the kind and the number of
    rows of each batch after its transaction, so that the caller knows what is done if the next
    one fails. May run beside the service, and may be repeated. Raises Unavailable.
    """
    for step in _steps(before, images=images):
        while limit is None or limit > 0:
            size = BATCH_ROWS if limit is None else min(limit, BATCH_ROWS)
            removed = _remove(database, step, size)
            if removed == 0:
                break
            limit = None if limit is None else limit - removed
            yield step.name, removed


@repeated
def _remove(database: Database, step: _Step, size: int) -> int:
    key = list(step.table.primary_key.columns)
    with database.writing() as connection:
        select = sa.select(*key).where(step.condition).limit(size)
        rows = [tuple(row) for row in connection.execute(select)]
        if not rows:
            return 0
        # The condition again: an upload may have continued since.
        chosen = sa.delete(step.table).where(sa.tuple_(*key).in_(rows), step.condition)
        return connection.execute(chosen).rowcount
