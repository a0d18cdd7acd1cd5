"""Members as rows, and the steps that add, change and remove them."""

import dataclasses

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate import model
from imsgate.errors import MemberExists, NotFound
from imsgate.model import Member, MemberStatus
from imsgate.quotas import limits
from imsgate.registry.outbox import Recorder
from imsgate.registry.sql import lists, messages, rows
from imsgate.registry.sql.images import has_id
from imsgate.registry.sql.lists import Clause
from imsgate.registry.sql.tables import IMAGES, MEMBERS


def add(
    connection: sa.Connection, member: Member, limit: int | None, recorder: Recorder | None = None
) -> None:
    exists = sa.select(IMAGES.c.id).where(has_id(member.image_id), lists.EXISTS)
    # Locked, so that one transaction at a time counts the members and adds one.
    if connection.execute(exists.with_for_update()).first() is None:
        raise NotFound(what=f"Image {member.image_id}")
    of_image = MEMBERS.c.image_id == member.image_id
    count = sa.select(sa.func.count()).select_from(MEMBERS).where(of_image)
    limits.check_members(connection.scalars(count).one(), limit)
    try:
        connection.execute(sa.insert(MEMBERS).values(dataclasses.asdict(member)))
    except exc.IntegrityError:
        raise MemberExists(image_id=member.image_id, member_id=member.member_id) from None
    _record(connection, recorder, "create", member)


def of(connection: sa.Connection, image_id: str) -> list[Member]:
    """The members of an image, oldest first."""
    order = (MEMBERS.c.created_at, MEMBERS.c.member_id)
    select = sa.select(MEMBERS).where(*_members(image_id)).order_by(*order)
    return [Member(**row) for row in connection.execute(select).mappings()]


def change(
    connection: sa.Connection,
    image_id: str,
    member_id: str,
    status: MemberStatus,
    recorder: Recorder | None = None,
) -> Member:
    where = _member(image_id, member_id)
    step = sa.update(MEMBERS).where(*where).values(status=status, updated_at=model.now())
    if connection.execute(step).rowcount == 0:
        raise NotFound(what=f"Member {member_id}")
    member = Member(**connection.execute(sa.select(MEMBERS).where(*where)).mappings().one())
    _record(connection, recorder, "update", member)
    return member


def remove(
    connection: sa.Connection, image_id: str, member_id: str, recorder: Recorder | None = None
) -> None:
    where = _member(image_id, member_id)
    select = sa.select(MEMBERS).where(*where).with_for_update()
    removed = connection.execute(select).mappings().all() if recorder is not None else ()
    if connection.execute(sa.delete(MEMBERS).where(*where)).rowcount == 0:
        raise NotFound(what=f"Member {member_id}")
    for row in removed:
        _record(connection, recorder, "delete", Member(**row))


def _record(
    connection: sa.Connection, recorder: Recorder | None, action: str, member: Member
) -> None:
    if recorder is not None:
        (image,) = rows.read(connection, sa.select(IMAGES).where(has_id(member.image_id)))
        messages.add(connection, recorder, recorder.member(action, member, image))


def _members(image_id: str) -> tuple[Clause, ...]:
    """Selects the members of an image; a deleted image has none."""
    exists = sa.select(IMAGES.c.id).where(has_id(image_id), lists.EXISTS)
    return (MEMBERS.c.image_id.in_(exists),)


def _member(image_id: str, member_id: str) -> tuple[Clause, ...]:
    return (*_members(image_id), MEMBERS.c.member_id == member_id)
