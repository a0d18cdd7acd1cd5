"""The usage of projects, summed by the database, and the lock of a project whose usage grows."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from imsgate.model import INCOMING, STAGED, Status, Usage
from imsgate.registry.sql import lists
from imsgate.registry.sql.tables import IMAGES, LOCATIONS, PROJECTS

_NAMES = tuple(field.name for field in dataclasses.fields(Usage))


def lock(connection: sa.Connection, project: str) -> bool:
    """Wait until no other transaction may make the project's usage grow, and lock it.

    Returns False if there is no row to lock yet: see ``insert``. To avoid deadlocks, take this
    lock before any other.
    """
    select = sa.select(PROJECTS).where(PROJECTS.c.id == project).with_for_update()
    return connection.execute(select).first() is not None


def insert(connection: sa.Connection, project: str) -> None:
    """Add the row to lock, in a separate transaction, since another may add it at the same time."""
    connection.execute(sa.insert(PROJECTS).values(id=project))


def usage(connection: sa.Connection, project: str, names: Iterable[str] = _NAMES) -> Usage:
    """The sum of ``Image.usage`` (repeated here in SQL), for the given names of Usage only."""
    names = list(names)
    own = IMAGES.c.owner == project
    each = sa.union_all(
        _of(_each(), names).where(own, lists.EXISTS),
        _of(_DELETED, names).where(own, sa.not_(lists.EXISTS), IMAGES.c.upload_expires > 0),
    ).subquery()
    sums = (sa.func.coalesce(sa.func.sum(each.c[name]), 0).label(name) for name in names)
    row = connection.execute(sa.select(*sums)).mappings().one()
    return Usage(**{name: int(row[name]) for name in names})


def _of(columns: Mapping[str, sa.ColumnElement[int]], names: Iterable[str]) -> sa.Select[Any]:
    labelled: list[Any] = [columns[name].label(name) for name in names]
    return sa.select(*labelled)


#: The usage of an image that was deleted while its data came in.
_DELETED: Mapping[str, sa.ColumnElement[int]] = {
    "image_size_total": IMAGES.c.upload_reserved,
    "image_stage_total": sa.literal(0),
    "image_count_total": sa.literal(0),
    "image_count_uploading": sa.literal(1),
}


def _each() -> dict[str, sa.ColumnElement[int]]:
    """The usage of an image that is not deleted, by the names of Usage."""
    status, reserved = IMAGES.c.status, IMAGES.c.upload_reserved
    size = sa.func.coalesce(IMAGES.c.size, 0)
    copies = (
        sa.select(sa.func.count())
        .where(LOCATIONS.c.image_id == IMAGES.c.id)
        .correlate(IMAGES)
        .scalar_subquery()
    )
    staged, staging = status.in_(STAGED), status == Status.UPLOADING
    incoming = sa.or_(status.in_(INCOMING), reserved > 0)
    return {
        "image_size_total": sa.case((staged, 0), else_=size * copies)
        + sa.case((staging, 0), else_=reserved),
        "image_stage_total": sa.case((staged, size), else_=0)
        + sa.case((staging, reserved), else_=0),
        "image_count_total": sa.literal(1),
        "image_count_uploading": sa.case((incoming, 1), else_=0),
    }
