"""Read-only mode as a row, of which there is at most one."""

import contextlib
import datetime

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate.registry.base import Registry
from imsgate.registry.sql.database import Database
from imsgate.registry.sql.outages import repeated
from imsgate.registry.sql.tables import MAINTENANCE

_READ_ONLY = "read_only"
_IS_READ_ONLY = MAINTENANCE.c.mode == _READ_ONLY
_SINCE = sa.select(MAINTENANCE.c.since).where(_IS_READ_ONLY)


class SqlMaintenance(Registry):
    _database: Database

    @repeated
    def read_only_since(self) -> datetime.datetime | None:
        with self._database.reading() as connection:
            return connection.scalar(_SINCE)

    @repeated
    def begin_read_only(self, since: datetime.datetime) -> None:
        row = {"mode": _READ_ONLY, "since": since}
        with contextlib.suppress(exc.IntegrityError), self._database.writing() as connection:
            connection.execute(sa.insert(MAINTENANCE).values(row))

    @repeated
    def end_read_only(self) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.delete(MAINTENANCE).where(_IS_READ_ONLY))
