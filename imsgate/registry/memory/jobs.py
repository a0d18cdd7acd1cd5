"""Jobs in the memory of one process."""

import builtins
import copy
import dataclasses
import datetime
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, NotFound
from imsgate.model import UNFINISHED, Image, Job, JobState, Limits
from imsgate.registry.base import ALL_JOBS, NOTHING, JobQuery, page_of_jobs
from imsgate.registry.idempotency import Outcome
from imsgate.registry.memory.images import MemoryImages


class MemoryJobs(MemoryImages):
    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[str, Job] = {}

    def add_job(
        self,
        job: Job,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        outcome: Outcome | None = None,
        /,
        **to: Any,
    ) -> None:
        with self._lock:
            if job.id in self._jobs:
                raise AlreadyExists(what=f"Job {job.id}")
            self._check_claim(outcome)
            if job.image_id is not None:
                self._check_idle(job.image_id)
                self.change(job.image_id, was, within, **to)
            self._put_job(job)
            self._end(outcome)

    def _put_job(self, job: Job) -> None:
        arguments = MappingProxyType(copy.deepcopy(dict(job.arguments)))
        self._jobs[job.id] = dataclasses.replace(job, arguments=arguments)
        self._record_job(None, job)

    def _record_job(self, before: JobState | None, after: Job) -> None:
        if self._recorder is not None:
            self.add_events(self._recorder.job(before, after))

    def add_with_job(
        self,
        image: Image,
        job: Job,
        within: Limits | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        with self._lock:
            if job.id in self._jobs:
                raise AlreadyExists(what=f"Job {job.id}")
            self.add(image, within, outcome)
            self._put_job(job)

    def _check_idle(self, image_id: str) -> None:
        if any(job.state in UNFINISHED for job in self.jobs_of(image_id)):
            raise Conflict(problem=f"Another job of image {image_id} has not ended")

    def get_job(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound(what=f"Job {job_id}") from None

    def jobs_of(self, image_id: str) -> builtins.list[Job]:
        with self._lock:
            return [job for job in self._oldest_first() if job.image_id == image_id]

    def jobs(
        self,
        project: str | None,
        marker: Job | None = None,
        limit: int = 25,
        query: JobQuery = ALL_JOBS,
    ) -> builtins.list[Job]:
        with self._lock:
            jobs = [job for job in self._jobs.values() if project in (None, job.project)]
        return page_of_jobs(jobs, marker, limit, query)

    def _oldest_first(self) -> builtins.list[Job]:
        return sorted(self._jobs.values(), key=lambda job: (job.created_at, job.id))

    def free_jobs(
        self, kinds: Collection[str], now: float, limit: int = 1000
    ) -> builtins.list[Job]:
        with self._lock:
            return self._free(kinds, now)[:limit]

    def _free(self, kinds: Collection[str], now: float) -> builtins.list[Job]:
        return [job for job in self._oldest_first() if job.kind in kinds and _is_free(job, now)]

    def claim_job(
        self,
        kinds: Collection[str],
        now: float,
        lease: float,
        job_id: str | None = None,
        without: Collection[str] = (),
    ) -> Job | None:
        with self._lock:
            free = [
                job
                for job in self._free(kinds, now)
                if job_id in (None, job.id) and job.project not in without
            ]
            if not free:
                return None
            moment = model.now()
            job = self._jobs[free[0].id] = dataclasses.replace(
                free[0],
                state=JobState.RUNNING,
                epoch=free[0].epoch + 1,
                lease=lease,
                begin_at=free[0].begin_at or moment,
                updated_at=moment,
            )
            self._record_job(free[0].state, job)
            return job

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
        with self._lock:
            job = self.get_job(job_id)
            if job.state != JobState.RUNNING or job.epoch != epoch:
                raise Conflict(
                    problem=f"Job {job_id} was taken over by another worker, or has ended"
                )
            changed = dataclasses.replace(job, **{"updated_at": model.now(), **fields})
            if job.image_id is not None and (was or to):
                self.change(job.image_id, was, within, **to)
            self._jobs[job_id] = changed
            self._record_job(job.state, changed)
            return changed

    def cancel_jobs(self, image_id: str) -> None:
        with self._lock:
            for job in self.jobs_of(image_id):
                if job.state in UNFINISHED:
                    self._jobs[job.id] = dataclasses.replace(job, cancelled=True)

    def forget_jobs(self, before: datetime.datetime) -> int:
        with self._lock:
            ended = [job.id for job in self._jobs.values() if job.end_at and job.end_at < before]
            for job_id in ended:
                del self._jobs[job_id]
            return len(ended)


def _is_free(job: Job, now: float) -> bool:
    abandoned = job.state == JobState.RUNNING and job.lease is not None and job.lease < now
    return job.state == JobState.INIT or abandoned
