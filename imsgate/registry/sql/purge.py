"""Removes rows that nobody needs any more: of deleted images, ended jobs and expired uploads.

As ``glance-manage db purge``, it keeps the rows of the deleted images themselves unless it is told
otherwise: without such a row, the id of the image may be used again (OSSN-0075).
"""

import dataclasses
import datetime
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from imsgate.model import Status
from imsgate.registry.sql import lists, uploads
from imsgate.registry.sql.database import Database
from imsgate.registry.sql.outages import repeated
from imsgate.registry.sql.tables import IMAGES, JOBS, LOCATIONS, MEMBERS, PROPERTIES, TAGS, UPLOADS

#: Rows that one transaction removes, so that no other one waits for long, and images of a page.
BATCH_ROWS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """The rows of one table that may go, and what to call them."""

    name: str
    table: sa.Table
    condition: sa.ColumnElement[bool]


def _ended(before: datetime.datetime) -> Iterator[_Step]:
    yield _Step("jobs", JOBS, JOBS.c.end_at < before)
    yield _Step("uploads", UPLOADS, uploads.is_forgotten(before.timestamp()))


def _deleted(before: datetime.datetime) -> sa.ColumnElement[bool]:
    """Selects the images that may go once their other rows have gone."""
    kept: tuple[tuple[sa.Table, sa.ColumnElement[bool]], ...] = (
        (JOBS, sa.or_(JOBS.c.end_at.is_(None), JOBS.c.end_at >= before)),
        (UPLOADS, sa.not_(uploads.is_forgotten(before.timestamp()))),
        (LOCATIONS, sa.true()),
    )
    return sa.and_(
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


def _of_images(
    ids: Sequence[str] | sa.Select[tuple[str]], deleted: sa.ColumnElement[bool], *, images: bool
) -> Iterator[_Step]:
    """In an order in which no row refers to one that is removed earlier."""
    for table in (MEMBERS, PROPERTIES, TAGS):
        yield _Step(table.name.removeprefix("image_"), table, table.c.image_id.in_(ids))
    if images:
        yield _Step("images", IMAGES, sa.and_(IMAGES.c.id.in_(ids), deleted))


def count(database: Database, before: datetime.datetime, *, images: bool) -> dict[str, int]:
    """How many rows of each kind ``purge`` would remove without a limit. Raises Unavailable."""
    deleted = _deleted(before)
    ids = sa.select(IMAGES.c.id).where(deleted)
    steps = (*_ended(before), *_of_images(ids, deleted, images=images))
    with database.reading() as connection:
        return {
            step.name: connection.execute(
                sa.select(sa.func.count()).select_from(step.table).where(step.condition)
            ).scalar_one()
            for step in steps
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
    for step in _steps(database, before, images=images):
        size = removed = BATCH_ROWS
        while removed == size:
            size = BATCH_ROWS if limit is None else min(limit, BATCH_ROWS)
            if size == 0:
                return
            removed = _remove(database, step, size)
            limit = None if limit is None else limit - removed
            if removed:
                yield step.name, removed


def _steps(database: Database, before: datetime.datetime, *, images: bool) -> Iterator[_Step]:
    """Images come in pages by their ids: to look for each batch among all of them would take
    a time that grows with the square of their number."""
    yield from _ended(before)
    deleted, page = _deleted(before), [""]
    while page := _page(database, deleted, page[-1]):
        yield from _of_images(page, deleted, images=images)


@repeated
def _page(database: Database, deleted: sa.ColumnElement[bool], after: str) -> list[str]:
    """The ids of the next images after this one."""
    select = sa.select(IMAGES.c.id).where(IMAGES.c.id > after, deleted)
    with database.reading() as connection:
        return list(connection.scalars(select.order_by(IMAGES.c.id).limit(BATCH_ROWS)))


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
