"""The registry in a SQL database: SQLite for a single host, PostgreSQL or MariaDB for several."""

import builtins
import contextlib
import datetime
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate.config import Section
from imsgate.errors import NotFound
from imsgate.model import Image, Job, Limits, Location, Member, MemberStatus, Upload, Usage
from imsgate.registry.base import ALL_JOBS, NOTHING, Enough, JobQuery, Query
from imsgate.registry.idempotency import Claim, Entry, KeptAnswer, Outcome
from imsgate.registry.sql import (
    candidates,
    database,
    images,
    jobs,
    keys,
    lists,
    members,
    rows,
    schema,
    totals,
    uploads,
)
from imsgate.registry.sql.activity import SqlActivity
from imsgate.registry.sql.checks import SqlChecks
from imsgate.registry.sql.database import DatabaseSettings
from imsgate.registry.sql.maintenance import SqlMaintenance
from imsgate.registry.sql.outages import repeated
from imsgate.registry.sql.outbox import SqlOutbox
from imsgate.registry.sql.tables import IMAGES, LOCATIONS

#: The image with an id. Built once, since this is the most frequent statement.
_RECORDED = sa.select(IMAGES).where(IMAGES.c.id == sa.bindparam("image_id"))
_EXISTING = _RECORDED.where(lists.EXISTS)


class SqlRegistry(SqlActivity, SqlChecks, SqlOutbox, SqlMaintenance):
    """Records as rows.

    Reading takes two statements, for one image or for a page of them. A page of images with
    certain properties or tags takes one or two more.
    """

    OPTS = database.OPTS

    def __init__(self, settings: Section | DatabaseSettings) -> None:
        """Raises BadConfig if the database cannot be reached or has another schema.

        No connection is open afterwards, so that a server may fork.
        """
        options = DatabaseSettings.of(settings)
        self._database = database.Database(options)
        try:
            schema.check(self._database, options)
        finally:
            self.close()

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _writing(self, within: Limits | None) -> Iterator[sa.Connection]:
        """A transaction; with limits, no other one makes the usage of their project grow."""
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
    def add(
        self,
        image: Image,
        within: Limits | None = None,
        outcome: Outcome | None = None,
        shared_with: Collection[Member] = (),
    ) -> None:
        with self._writing(within) as connection:
            images.add(connection, image, within, self._recorder)
            for member in shared_with:
                members.add(connection, member, None, self._recorder)
            keys.end(connection, outcome)

    @repeated
    def get(self, image_id: str) -> Image:
        return self._read_one(_EXISTING, image_id)

    @repeated
    def recall(self, image_id: str) -> Image:
        return self._read_one(_RECORDED, image_id)

    def _read_one(self, select: sa.Select[Any], image_id: str) -> Image:
        with self._database.reading() as connection:
            for image in rows.read(connection, select, image_id=image_id):
                return image
        raise NotFound(what=f"Image {image_id}")

    @repeated
    def list(self, query: Query, is_enough: Enough | None = None) -> builtins.list[Image]:
        with self._database.reading() as connection:
            ids = candidates.find(connection, query)
            if ids == []:
                return []
            select = lists.page(query, self._database.nulls_are_largest, ids)
            return rows.read_until(connection, select, is_enough)

    @repeated
    def change(
        self, image_id: str, was: Mapping[str, Any], within: Limits | None = None, /, **to: Any
    ) -> Image:
        with self._writing(within) as connection:
            return images.change(connection, image_id, was, within, to, self._recorder)

    @repeated
    def holds(self, location: Location) -> bool:
        select = sa.select(LOCATIONS.c.image_id).where(LOCATIONS.c.place == location.place)
        with self._database.reading() as connection:
            return connection.execute(select.limit(1)).first() is not None

    @repeated
    def expired(self, now: float) -> builtins.list[Image]:
        with self._database.reading() as connection:
            return rows.read(connection, lists.expired(now))

    @repeated
    def usage(self, project: str) -> Usage:
        with self._database.reading() as connection:
            return totals.usage(connection, project)

    # Members

    @repeated
    def add_member(self, member: Member, limit: int | None = None) -> None:
        with self._database.writing() as connection:
            members.add(connection, member, limit, self._recorder)

    @repeated
    def members(self, image_id: str) -> builtins.list[Member]:
        with self._database.reading() as connection:
            return members.of(connection, image_id)

    @repeated
    def change_member(self, image_id: str, member_id: str, status: MemberStatus) -> Member:
        with self._database.writing() as connection:
            return members.change(connection, image_id, member_id, status, self._recorder)

    @repeated
    def remove_member(self, image_id: str, member_id: str) -> None:
        with self._database.writing() as connection:
            members.remove(connection, image_id, member_id, self._recorder)

    # Jobs

    @repeated
    def add_job(
        self,
        job: Job,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        outcome: Outcome | None = None,
        /,
        **to: Any,
    ) -> None:
        with self._writing(within) as connection:
            if job.image_id is not None:
                # The UPDATE locks the image's row, so that one transaction at a time looks for
                # other jobs.
                images.change(connection, job.image_id, was, within, to, self._recorder)
                jobs.check_idle(connection, job.image_id)
            jobs.insert(connection, job, self._recorder)
            keys.end(connection, outcome)

    @repeated
    def add_with_job(
        self,
        image: Image,
        job: Job,
        within: Limits | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        with self._writing(within) as connection:
            images.add(connection, image, within, self._recorder)
            jobs.insert(connection, job, self._recorder)
            keys.end(connection, outcome)

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
        self,
        project: str | None,
        marker: Job | None = None,
        limit: int = 25,
        query: JobQuery = ALL_JOBS,
    ) -> builtins.list[Job]:
        with self._database.reading() as connection:
            return jobs.page(connection, project, marker, limit, query)

    @repeated
    def claim_job(
        self,
        kinds: Collection[str],
        now: float,
        lease: float,
        job_id: str | None = None,
        without: Collection[str] = (),
    ) -> Job | None:
        # Idle workers ask often and mostly find nothing, which must not keep writers waiting.
        with self._database.reading() as connection:
            free = jobs.free(connection, kinds, now, job_id=job_id, without=without)
        if not free:
            return None
        with self._database.writing() as connection:
            return jobs.claim(connection, free, now, lease, self._recorder)

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
            job = jobs.change(connection, job_id, epoch, fields, self._recorder)
            if job.image_id is not None and (was or to):
                images.change(connection, job.image_id, was, within, to, self._recorder)
            return job

    @repeated
    def cancel_jobs(self, image_id: str) -> None:
        with self._database.writing() as connection:
            jobs.cancel(connection, image_id)

    @repeated
    def forget_jobs(self, before: datetime.datetime) -> int:
        with self._database.writing() as connection:
            return jobs.forget(connection, before)

    # Idempotency keys

    @repeated
    def claim_key(
        self, key: str, fingerprint: str, *, now: float, lease: float, expires: float
    ) -> Claim | KeptAnswer:
        claim = Claim.new(key)
        entry = Entry(fingerprint=fingerprint, holder=claim.holder, lease=lease, expires=expires)
        while True:
            with contextlib.suppress(exc.IntegrityError), self._database.writing() as connection:
                keys.insert(connection, claim, entry)
                return claim
            with self._database.writing() as connection:
                recorded = keys.locked(connection, key)
                # It may have been removed meanwhile.
                if recorded is not None:
                    answer = recorded.judge(fingerprint, now)
                    if answer is not None:
                        return answer
                    keys.take(connection, claim, entry)
                    return claim

    @repeated
    def keep_answer(self, outcome: Outcome) -> None:
        with self._database.writing() as connection:
            keys.end(connection, outcome)

    @repeated
    def release_key(self, claim: Claim) -> None:
        with self._database.writing() as connection:
            keys.release(connection, claim)

    @repeated
    def forget_keys(self, now: float) -> int:
        with self._database.writing() as connection:
            return keys.forget(connection, now)

    # Resumable uploads

    @repeated
    def add_upload(
        self,
        upload: Upload,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> None:
        with self._writing(within) as connection:
            # The image first: on MariaDB the INSERT locks the image's row for reading, because of
            # the foreign key. Two transactions that both did so would be a deadlock.
            images.change(connection, upload.image_id, was, within, to, self._recorder)
            uploads.insert(connection, upload)

    @repeated
    def get_upload(self, upload_id: str) -> Upload:
        with self._database.reading() as connection:
            return uploads.get(connection, upload_id)

    @repeated
    def upload_of(self, image_id: str) -> Upload | None:
        with self._database.reading() as connection:
            return uploads.of(connection, image_id)

    @repeated
    def change_upload(
        self,
        upload_id: str,
        epoch: int,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Upload:
        with self._writing(within) as connection:
            upload = uploads.change(connection, upload_id, epoch, fields)
            if was or to:
                images.change(connection, upload.image_id, was, within, to, self._recorder)
            return upload

    @repeated
    def forget_uploads(self, before: float) -> int:
        with self._database.writing() as connection:
            return uploads.forget(connection, before)
