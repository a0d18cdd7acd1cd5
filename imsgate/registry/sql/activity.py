"""What is in progress, counted by the database.

Every statement begins at an index of what is in progress, so that the number of images, most of
which are active or deleted, does not matter.
"""

from typing import Any

import sqlalchemy as sa

from imsgate.model import INCOMING, PASSING, UNFINISHED, Activity, JobState, UploadState
from imsgate.registry.base import Registry
from imsgate.registry.sql.database import Database
from imsgate.registry.sql.outages import repeated
from imsgate.registry.sql.tables import IMAGES, JOBS, LOCATIONS, UPLOADS

_COUNT = sa.func.count()

_IMAGES = (
    sa.select(IMAGES.c.status, _COUNT).where(IMAGES.c.status.in_(PASSING)).group_by(IMAGES.c.status)
)
_JOBS = (
    sa.select(JOBS.c.kind, JOBS.c.state, _COUNT)
    .where(JOBS.c.state.in_(UNFINISHED))
    .group_by(JOBS.c.kind, JOBS.c.state)
)
_WAITING_SINCE = (
    sa.select(JOBS.c.created_at)
    .where(JOBS.c.state == JobState.INIT)
    .order_by(JOBS.c.created_at)
    .limit(1)
)
_SUSPENDED = (
    sa.select(_COUNT)
    .select_from(IMAGES.join(UPLOADS, UPLOADS.c.image_id == IMAGES.c.id))
    .where(
        IMAGES.c.status.in_(INCOMING),
        UPLOADS.c.key == IMAGES.c.upload_key,
        UPLOADS.c.state == UploadState.OPEN,
        sa.not_(UPLOADS.c.writing),
    )
)
_EACH = (IMAGES.c.id, IMAGES.c.upload_reserved)
#: Uploads have a lease, imports a status, and copies of active images a job. An image counts once.
_RESERVING = sa.union(
    sa.select(*_EACH).where(IMAGES.c.upload_expires.is_not(None)),
    sa.select(*_EACH).where(IMAGES.c.status.in_(INCOMING)),
    sa.select(*_EACH)
    .select_from(JOBS.join(IMAGES, IMAGES.c.id == JOBS.c.image_id))
    .where(JOBS.c.state.in_(UNFINISHED)),
).subquery()
_RESERVED = sa.select(sa.func.coalesce(sa.func.sum(_RESERVING.c.upload_reserved), 0))

_DAMAGED = (
    sa.select(LOCATIONS.c.store, _COUNT)
    .where(LOCATIONS.c.damage.is_not(None))
    .group_by(LOCATIONS.c.store)
)


class SqlActivity(Registry):
    """The part of ``SqlRegistry`` that counts."""

    _database: Database

    @repeated
    def activity(self) -> Activity:
        with self._database.reading() as connection:
            return _read(connection)


def _read(connection: sa.Connection) -> Activity:
    def rows(select: Any) -> Any:
        return connection.execute(select)

    return Activity(
        images=dict(rows(_IMAGES).all()),
        jobs={(kind, state): count for kind, state, count in rows(_JOBS)},
        waiting_since=rows(_WAITING_SINCE).scalar(),
        suspended_uploads=int(rows(_SUSPENDED).scalar_one()),
        reserved_bytes=int(rows(_RESERVED).scalar_one()),
        damaged_copies=dict(rows(_DAMAGED).all()),
    )
