"""Checks of the data, as columns of the locations."""

import builtins
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from imsgate.model import READABLE, Damage, Location
from imsgate.registry.base import Registry
from imsgate.registry.checks import StoredCopy
from imsgate.registry.sql.database import Database
from imsgate.registry.sql.outages import repeated
from imsgate.registry.sql.tables import IMAGES, LOCATIONS

_IMAGE_ID, _POSITION = LOCATIONS.c.image_id, LOCATIONS.c.position
_COPIES = (
    sa.select(LOCATIONS)
    .join(IMAGES, IMAGES.c.id == _IMAGE_ID)
    .where(IMAGES.c.status.in_(sorted(READABLE)))
)


class SqlChecks(Registry):
    _database: Database

    @repeated
    def copies_to_check(
        self,
        before: float,
        stores: Collection[str] | None = None,
        after: StoredCopy | None = None,
        limit: int = 100,
    ) -> builtins.list[StoredCopy]:
        order = (LOCATIONS.c.checked_at, _IMAGE_ID, _POSITION)
        select = _COPIES.where(LOCATIONS.c.checked_at < before)
        if stores is not None:
            select = select.where(LOCATIONS.c.store.in_(sorted(stores)))
        if after is not None:
            # The first condition is for databases that use no index for tuples.
            select = select.where(
                LOCATIONS.c.checked_at >= after.checked_at, sa.tuple_(*order) > after.order
            )
        with self._database.reading() as connection:
            return _read(connection, select.order_by(*order).limit(limit))

    @repeated
    def damaged_copies(
        self, after: StoredCopy | None = None, limit: int = 100
    ) -> builtins.list[StoredCopy]:
        select = _COPIES.where(LOCATIONS.c.damage.is_not(None))
        if after is not None:
            place = sa.tuple_(_IMAGE_ID, _POSITION)
            select = select.where(place > (after.image_id, after.position))
        with self._database.reading() as connection:
            return _read(connection, select.order_by(_IMAGE_ID, _POSITION).limit(limit))

    @repeated
    def record_check(
        self, image_id: str, location: Location, at: float, damage: Damage | None
    ) -> bool:
        copy = (
            LOCATIONS.c.image_id == image_id,
            LOCATIONS.c.store == location.store,
            LOCATIONS.c.url == location.url,
        )
        step = sa.update(LOCATIONS).where(*copy).values(checked_at=at, damage=damage)
        with self._database.writing() as connection:
            # A change of the locations replaces their rows. It has this lock, too.
            lock = sa.select(IMAGES.c.id).where(IMAGES.c.id == image_id).with_for_update()
            connection.execute(lock)
            return connection.execute(step).rowcount > 0


def _read(connection: sa.Connection, select: sa.Select[Any]) -> builtins.list[StoredCopy]:
    return [
        StoredCopy(
            image_id=row.image_id,
            position=row.position,
            location=Location(row.store, row.url, row.damage),
            checked_at=row.checked_at,
        )
        for row in connection.execute(select)
    ]
