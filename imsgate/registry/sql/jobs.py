"""Jobs as rows, and the steps by which workers claim and change them."""

import dataclasses
import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, NotFound
from imsgate.model import UNFINISHED, Job, JobState
from imsgate.registry.base import JobQuery
from imsgate.registry.outbox import Recorder
from imsgate.registry.sql import messages
from imsgate.registry.sql.tables import JOBS

_AGE = (JOBS.c.created_at, JOBS.c.id)
#: Free jobs that a worker considers; more than there are usually workers that look at a time.
CANDIDATES = 20
_UNFINISHED = JOBS.c.state.in_(UNFINISHED)


def insert(connection: sa.Connection, job: Job, recorder: Recorder | None = None) -> None:
    fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    try:
        connection.execute(sa.insert(JOBS).values(fields))
    except exc.IntegrityError:
        raise AlreadyExists(what=f"Job {job.id}") from None
    _record(connection, recorder, None, job)


def _record(
    connection: sa.Connection, recorder: Recorder | None, before: JobState | None, after: Job
) -> None:
    if recorder is not None:
        messages.add(connection, recorder, recorder.job(before, after))


def get(connection: sa.Connection, job_id: str) -> Job:
    row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job_id)).mappings().first()
    if row is None:
        raise NotFound(what=f"Job {job_id}")
    return Job(**row)


def of(connection: sa.Connection, image_id: str) -> list[Job]:
    return _read(connection, sa.select(JOBS).where(JOBS.c.image_id == image_id).order_by(*_AGE))


def page(
    connection: sa.Connection, project: str | None, marker: Job | None, limit: int, query: JobQuery
) -> list[Job]:
    columns = [JOBS.c[field] for field in query.fields()]
    order = [column.desc() if query.descending else column.asc() for column in columns]
    select = sa.select(JOBS).order_by(*order).limit(limit)
    if project is not None:
        select = select.where(JOBS.c.project == project)
    if query.states is not None:
        select = select.where(JOBS.c.state.in_(query.states))
    if query.kinds is not None:
        select = select.where(JOBS.c.kind.in_(query.kinds))
    if marker is not None:
        select = select.where(_behind(marker, columns, descending=query.descending))
    return _read(connection, select)


def _behind(
    marker: Job, columns: Sequence[sa.Column[Any]], *, descending: bool
) -> sa.ColumnElement[bool]:
    """The jobs after ``marker`` in the order of these columns."""
    column, *others = columns
    value = getattr(marker, column.name)
    further: sa.ColumnElement[bool] = column < value if descending else column > value
    if not others:
        return further
    equal = sa.and_(column == value, _behind(marker, others, descending=descending))
    return sa.or_(further, equal)


def waiting(kinds: Collection[str], now: float) -> sa.Select[Any]:
    """The free jobs of these kinds, oldest first."""
    return sa.select(JOBS).where(JOBS.c.kind.in_(kinds), _is_free(now)).order_by(*_AGE)


def free(
    connection: sa.Connection,
    kinds: Collection[str],
    now: float,
    limit: int = CANDIDATES,
    job_id: str | None = None,
    without: Collection[str] = (),
) -> list[Job]:
    """The oldest free jobs of these kinds, or ``job_id`` alone if it is one of them; none of the
    projects in ``without``."""
    select = waiting(kinds, now).limit(limit)
    if without:
        select = select.where(sa.or_(JOBS.c.project.is_(None), JOBS.c.project.not_in(without)))
    return _read(connection, select if job_id is None else select.where(JOBS.c.id == job_id))


def claim(
    connection: sa.Connection,
    candidates: Iterable[Job],
    now: float,
    lease: float,
    recorder: Recorder | None = None,
) -> Job | None:
    """Take the first candidate that is still free and that no other worker is taking."""
    for candidate in candidates:
        # One at a time: if asked for the oldest, MariaDB may lock every row that it examines.
        select = sa.select(JOBS).where(JOBS.c.id == candidate.id, _is_free(now))
        for job in _read(connection, select.with_for_update(skip_locked=True)):
            taken = _take(connection, job, lease)
            _record(connection, recorder, job.state, taken)
            return taken
    return None


def _is_free(now: float) -> sa.ColumnElement[bool]:
    abandoned = sa.and_(JOBS.c.state == JobState.RUNNING, JOBS.c.lease < now)
    return sa.or_(JOBS.c.state == JobState.INIT, abandoned)


def _take(connection: sa.Connection, job: Job, lease: float) -> Job:
    moment = model.now()
    taken: dict[str, Any] = {
        "state": JobState.RUNNING,
        "epoch": job.epoch + 1,
        "lease": lease,
        "begin_at": job.begin_at or moment,
        "updated_at": moment,
    }
    connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(taken))
    return dataclasses.replace(job, **taken)


def change(
    connection: sa.Connection,
    job_id: str,
    epoch: int,
    fields: Mapping[str, Any],
    recorder: Recorder | None = None,
) -> Job:
    """Raises NotFound, and Conflict if the job is not in RUNNING with this epoch."""
    held = (JOBS.c.id == job_id, JOBS.c.epoch == epoch, JOBS.c.state == JobState.RUNNING)
    step = sa.update(JOBS).where(*held).values({"updated_at": model.now(), **fields})
    changed = connection.execute(step).rowcount
    job = get(connection, job_id)
    if changed == 0:
        raise Conflict(problem=f"Job {job_id} was taken over by another worker, or has ended")
    _record(connection, recorder, JobState.RUNNING, job)
    return job


def check_idle(connection: sa.Connection, image_id: str) -> None:
    """Raises Conflict if a job of this image has not ended."""
    select = sa.select(JOBS.c.id).where(JOBS.c.image_id == image_id, _UNFINISHED).limit(1)
    if connection.execute(select).first() is not None:
        raise Conflict(problem=f"Another job of image {image_id} has not ended")


def cancel(connection: sa.Connection, image_id: str) -> None:
    step = sa.update(JOBS).where(JOBS.c.image_id == image_id, _UNFINISHED)
    connection.execute(step.values(cancelled=True))


def forget(connection: sa.Connection, before: datetime.datetime) -> int:
    return connection.execute(sa.delete(JOBS).where(JOBS.c.end_at < before)).rowcount


def _read(connection: sa.Connection, select: sa.Select[Any]) -> list[Job]:
    return [Job(**row) for row in connection.execute(select).mappings()]
