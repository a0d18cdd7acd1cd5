"""The registry in a SQL database: SQLite alone, PostgreSQL or MariaDB in a stack."""

import builtins
import contextlib
import dataclasses
import datetime
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate import model
from imsgate.config import Section
from imsgate.errors import AlreadyExists, BadConfig, Conflict, MemberExists, NotFound, Unavailable
from imsgate.model import Image, Job, Limits, Location, Member, MemberStatus, Status, Usage
from imsgate.quotas import limits
from imsgate.registry import database, jobs, lists, migrations, rows, totals
from imsgate.registry.base import NOTHING, Query, Registry, moves
from imsgate.registry.database import repeated
from imsgate.registry.migrations import State
from imsgate.registry.tables import IMAGES, LOCATIONS, MEMBERS

#: The one image of an id; built once, as the busiest statement of all.
_RECORDED = sa.select(IMAGES).where(IMAGES.c.id == sa.bindparam("image_id"))
_EXISTING = _RECORDED.where(lists.EXISTS)


def is_embedded(settings: Section) -> bool:
    """Whether the database is a file of this host, to be made and migrated at first start."""
    return database.parse(settings).get_backend_name() == "sqlite"


def upgrade(settings: Section) -> None:
    """Create or migrate the schema; any number of processes may do it at once.

    Raises BadConfig when the database cannot be reached, or is newer than this code.
    """
    opened = database.Database(settings)
    if is_embedded(settings):
        _make(database.parse(settings).database)
    try:
        with opened.migrating() as connection:
            found = migrations.state(connection)
            if found is State.FOREIGN:
                raise _refusal(found)
            if found is State.UNMADE:
                migrations.create(connection)
            elif found is State.BEHIND:
                migrations.upgrade(connection)
    except Unavailable as error:
        raise _unusable(opened, error) from None
    finally:
        opened.close()


def _make(file: str | None) -> None:
    """Make the file for its owner alone, as SQLite then makes those beside it: URIs with
    passwords stand in the records of jobs, and the directory may be open to all."""
    if file and file != ":memory:":
        with contextlib.suppress(OSError):  # it is there, or SQLite says why it cannot be
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _refusal(state: State) -> BadConfig:
    return BadConfig(database.KEY, f"the database {state.value}")


def _unusable(opened: database.Database, error: Unavailable) -> BadConfig:
    return BadConfig(database.KEY, f"the database cannot be used: {opened.explain(error)}")


class SqlRegistry(Registry):
    """Records as rows. A list or a record is two statements, whatever its length."""

    OPTS = database.OPTS

    def __init__(self, settings: Section) -> None:
        """Raises BadConfig for a database that cannot be reached or has another schema.

        Holds no connection afterwards, so that a server may fork.
        """
        self._database = database.Database(settings)
        file = database.parse(settings).database
        if is_embedded(settings) and not os.path.exists(file or ""):
            raise _refusal(State.UNMADE)  # looking would make an empty one
        try:
            with self._database.reading() as connection:
                state = migrations.state(connection)
        except Unavailable as error:
            raise _unusable(self._database, error) from None
        finally:
            self.close()
        if state is not State.CURRENT:
            raise _refusal(state)

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _writing(self, within: Limits | None) -> Iterator[sa.Connection]:
        """A transaction; the only one that makes this project's usage grow, where it is limited."""
        if within is None:
            with self._database.writing() as connection:
                yield connection
            return
        while True:
            with self._database.writing() as connection:
                if totals.lock(connection, within.project):
                    yield connection
                    return
            with contextlib.suppress(exc.IntegrityError), self._database.writing() as connection:
                totals.insert(connection, within.project)

    # Images

    @repeated
    def add(self, image: Image, within: Limits | None = None) -> None:
        with self._writing(within) as connection:
            try:
                rows.insert(connection, image)
            except exc.IntegrityError:
                raise AlreadyExists(what=f"Image {image.id}") from None
            _check(connection, within, None, image)

    @repeated
    def get(self, image_id: str) -> Image:
        return self._one(_EXISTING, image_id)

    @repeated
    def recall(self, image_id: str) -> Image:
        return self._one(_RECORDED, image_id)

    def _one(self, select: sa.Select[Any], image_id: str) -> Image:
        with self._database.reading() as connection:
            found = rows.read(connection, select, image_id=image_id)
        if not found:
            raise NotFound(what=f"Image {image_id}")
        return found[0]

    @repeated
    def list(self, query: Query) -> builtins.list[Image]:
        with self._database.reading() as connection:
            return rows.read(connection, lists.page(query, self._database.nulls_are_largest))

    @repeated
    def change(
        self, image_id: str, was: Mapping[str, Any], within: Limits | None = None, /, **to: Any
    ) -> Image:
        with self._writing(within) as connection:
            return _change(connection, image_id, was, within, to)

    @repeated
    def holds(self, location: Location) -> bool:
        is_it = LOCATIONS.c.place == location.place
        select = sa.select(LOCATIONS.c.image_id).where(is_it)
        with self._database.reading() as connection:
            return connection.execute(select.limit(1)).first() is not None

    @repeated
    def expired(self, now: float) -> builtins.list[Image]:
        with self._database.reading() as connection:
            return rows.read(connection, lists.late(now))

    @repeated
    def usage(self, project: str) -> Usage:
        with self._database.reading() as connection:
            return totals.usage(connection, project)

    # Members

    @repeated
    def add_member(self, member: Member, most: int | None = None) -> None:
        with self._database.writing() as connection:
            exists = sa.select(IMAGES.c.id).where(_is(member.image_id), lists.EXISTS)
            # Locked, so that only one at a time counts.
            if connection.execute(exists.with_for_update()).first() is None:
                raise NotFound(what=f"Image {member.image_id}")
            of_it = MEMBERS.c.image_id == member.image_id
            count = sa.select(sa.func.count()).select_from(MEMBERS).where(of_it)
            limits.check_members(connection.scalars(count).one(), most)
            try:
                connection.execute(sa.insert(MEMBERS).values(dataclasses.asdict(member)))
            except exc.IntegrityError:
                raise MemberExists(image_id=member.image_id, member_id=member.member_id) from None

    @repeated
    def members(self, image_id: str) -> builtins.list[Member]:
        order = (MEMBERS.c.created_at, MEMBERS.c.member_id)
        select = sa.select(MEMBERS).where(*_is_member(image_id)).order_by(*order)
        with self._database.reading() as connection:
            return [Member(**row) for row in connection.execute(select).mappings()]

    @repeated
    def change_member(self, image_id: str, member_id: str, status: MemberStatus) -> Member:
        where = _is_member(image_id, member_id)
        step = sa.update(MEMBERS).where(*where).values(status=status, updated_at=model.now())
        with self._database.writing() as connection:
            if connection.execute(step).rowcount == 0:
                raise NotFound(what=f"Member {member_id}")
            row = connection.execute(sa.select(MEMBERS).where(*where)).mappings().one()
            return Member(**row)

    @repeated
    def remove_member(self, image_id: str, member_id: str) -> None:
        step = sa.delete(MEMBERS).where(*_is_member(image_id, member_id))
        with self._database.writing() as connection:
            if connection.execute(step).rowcount == 0:
                raise NotFound(what=f"Member {member_id}")

    # Jobs

    @repeated
    def add_job(
        self, job: Job, was: Mapping[str, Any] = NOTHING, within: Limits | None = None, /, **to: Any
    ) -> None:
        with self._writing(within) as connection:
            if job.image_id is not None:
                # The write locks the image's row, so that only one at a time looks.
                _change(connection, job.image_id, was, within, to)
                jobs.check_idle(connection, job.image_id)
            jobs.insert(connection, job)

    @repeated
    def get_job(self, job_id: str) -> Job:
        with self._database.reading() as connection:
            return jobs.get(connection, job_id)

    @repeated
    def jobs_of(self, image_id: str) -> builtins.list[Job]:
        with self._database.reading() as connection:
            return jobs.of(connection, image_id)

    @repeated
    def jobs(
        self, project: str | None, marker: Job | None = None, limit: int = 25
    ) -> builtins.list[Job]:
        with self._database.reading() as connection:
            return jobs.page(connection, project, marker, limit)

    @repeated
    def claim_job(
        self, kinds: Collection[str], now: float, lease: float, job_id: str | None = None
    ) -> Job | None:
        # Idle workers ask often; most find nothing, and should not hold up writers for it.
        with self._database.reading() as connection:
            found = jobs.free(connection, kinds, now, job_id=job_id)
        if not found:
            return None
        with self._database.writing() as connection:
            return jobs.claim(connection, found, now, lease)

    @repeated
    def free_jobs(
        self, kinds: Collection[str], now: float, limit: int = 1000
    ) -> builtins.list[Job]:
        with self._database.reading() as connection:
            return jobs.free(connection, kinds, now, limit)

    @repeated
    def change_job(
        self,
        job_id: str,
        epoch: int,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Job:
        with self._writing(within) as connection:
            job = jobs.change(connection, job_id, epoch, fields)
            if job.image_id is not None and (was or to):
                _change(connection, job.image_id, was, within, to)
            return job

    @repeated
    def cancel_jobs(self, image_id: str) -> None:
        with self._database.writing() as connection:
            jobs.cancel(connection, image_id)

    @repeated
    def forget_jobs(self, before: datetime.datetime) -> int:
        with self._database.writing() as connection:
            return jobs.forget(connection, before)


def _change(
    connection: sa.Connection,
    image_id: str,
    was: Mapping[str, Any],
    within: Limits | None,
    to: dict[str, Any],
) -> Image:
    columns = rows.columns(to)
    if moves(to):
        columns["updated_at"] = model.now()
    before = _locked(connection, image_id) if within else None
    # Matches "no value" too, which "=" never does.
    unchanged = [IMAGES.c[field].is_not_distinct_from(value) for field, value in was.items()]
    step = sa.update(IMAGES).where(_is(image_id), *unchanged, *_may_become(to))
    if connection.execute(step.values(columns or {"id": image_id})).rowcount == 0:
        raise _refused_change(connection, image_id, unchanged, to)
    (image,) = rows.read(connection, sa.select(IMAGES).where(_is(image_id)))
    image = rows.replace(connection, image, to)
    _check(connection, within, before, image)
    return image


def _locked(connection: sa.Connection, image_id: str) -> Image | None:
    """The record as it is until this transaction changes it."""
    found = rows.read(connection, sa.select(IMAGES).where(_is(image_id)).with_for_update())
    return found[0] if found else None


def _check(
    connection: sa.Connection, within: Limits | None, before: Image | None, after: Image
) -> None:
    if within and (deltas := limits.grown(within, before, after)):
        limits.check(within, deltas, totals.usage(connection, within.project, deltas))


def _is(image_id: str) -> sa.ColumnElement[bool]:
    return IMAGES.c.id == image_id


def _is_member(image_id: str, *member_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Selects one membership, or all of an image; none of an image that is gone."""
    exists = sa.select(IMAGES.c.id).where(_is(image_id), lists.EXISTS)
    one = (MEMBERS.c.member_id == name for name in member_id)
    return (MEMBERS.c.image_id.in_(exists), *one)


def _may_become(to: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """Selects images that are in a status from which TRANSITIONS leads to the new one.

    Part of the UPDATE, so that the status is compared that is stored at that moment.
    """
    if "status" not in to:
        return []
    before = [status for status in Status if model.may_become(status, to["status"])]
    return [IMAGES.c.status.in_(before)]


def _refused_change(
    connection: sa.Connection,
    image_id: str,
    unchanged: Sequence[sa.ColumnElement[bool]],
    to: Mapping[str, Any],
) -> Conflict | NotFound:
    """Why a compare-and-set found no row. Raises ValueError for an illegal change of status."""
    recorded = sa.select(IMAGES.c.status).where(_is(image_id))
    # Locked: the row may have changed since the UPDATE, and only what is stored now is judged.
    status = connection.scalar(recorded.where(*unchanged).with_for_update())
    if status is not None:
        model.check_transition(image_id, status, to.get("status", status))
    elif connection.scalar(recorded) is None:
        return NotFound(what=f"Image {image_id}")
    return Conflict(problem=f"Image {image_id} was changed by another request")
