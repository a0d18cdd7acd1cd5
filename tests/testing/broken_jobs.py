"""Registries that break one promise about jobs each, and the test to fail."""

import contextlib
import dataclasses
import threading

from imsgate.errors import Conflict
from imsgate.model import JobState
from imsgate.registry.base import NOTHING
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.records import START


class ForgetsByCreation(MemoryRegistry):
    """Also forgets jobs that have not ended."""

    def forget_jobs(self, before):
        old = [job.id for job in self._jobs.values() if job.created_at < before]
        for job_id in old:
            del self._jobs[job_id]
        return len(old)


class IgnoresTheEpoch(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, /, **to):
        return super().change_job(job_id, self.get_job(job_id).epoch, fields, was, **to)


class ChangesEndedJobs(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, /, **to):
        job = self.get_job(job_id)
        if job.epoch == epoch:
            self._jobs[job_id] = dataclasses.replace(job, state=JobState.RUNNING)
        return super().change_job(job_id, epoch, fields, was, **to)


class EndsTheJobFirst(MemoryRegistry):
    """The job ends although its image has changed."""

    def change_job(self, job_id, epoch, fields, was=NOTHING, /, **to):
        changed = super().change_job(job_id, epoch, fields)
        if was or to:
            self.change(changed.image_id, was, **to)
        return changed


class ChangesTheImageFirst(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, /, **to):
        if was or to:
            self.change(self.get_job(job_id).image_id, was, **to)
        return super().change_job(job_id, epoch, fields)


class RecordsTheJobFirst(MemoryRegistry):
    def add_job(self, job, was=NOTHING, /, **to):
        super().add_job(dataclasses.replace(job, image_id=None))
        self._jobs[job.id] = job
        if job.image_id:
            self.change(job.image_id, was, **to)


class TakesTheImageFirst(MemoryRegistry):
    def add_job(self, job, was=NOTHING, /, **to):
        if job.image_id:
            self.change(job.image_id, was, **to)
        super().add_job(dataclasses.replace(job, image_id=None))
        self._jobs[job.id] = job


class RecordsTheImageFirst(MemoryRegistry):
    def add_with_job(self, image, job, within=None):
        self.add(image, within)
        self.add_job(job)


class ComparesNothing(MemoryRegistry):
    def add_job(self, job, was=NOTHING, /, **to):
        super().add_job(job, NOTHING, **to)


class TakesAnyNumber(MemoryRegistry):
    def _check_idle(self, image_id):
        pass


class KeepsTheCallersArguments(MemoryRegistry):
    def add_job(self, job, was=NOTHING, /, **to):
        super().add_job(job, was, **to)
        self._jobs[job.id] = job


class ClaimsTwice(MemoryRegistry):
    """Looks first, and writes in a second step."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(6, timeout=10)

    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        before = dict(self._jobs)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        with self._lock:
            after = self._jobs
            self._jobs = before
            taken = super().claim_job(kinds, now, lease, job_id, without)
            self._jobs = {**after, **({taken.id: taken} if taken else {})}
            return taken


class NewestFirst(MemoryRegistry):
    def _oldest_first(self):
        return super()._oldest_first()[::-1]


class ClaimsAnyKind(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        return super().claim_job(
            {job.kind for job in self._jobs.values()}, now, lease, job_id, without
        )


class ClaimsAnother(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        return super().claim_job(kinds, now, lease, None, without)


class ClaimsForAnyProject(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        return super().claim_job(kinds, now, lease, job_id)


class ListsRunningJobs(MemoryRegistry):
    def free_jobs(self, kinds, now, limit=1000):
        return [job for job in self._oldest_first() if job.kind in kinds][:limit]


class ListsWaitingJobs(MemoryRegistry):
    def free_jobs(self, kinds, now, limit=1000):
        return super().free_jobs(kinds, 0.0, limit)


class ListsAllJobs(MemoryRegistry):
    def free_jobs(self, kinds, now, limit=1000):
        return super().free_jobs(kinds, now)


class ForgetsKilledWorkers(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        return super().claim_job(kinds, 0.0, lease, job_id, without)


class ClaimsEarly(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        return super().claim_job(kinds, now + 1, lease, job_id, without)


class BeginsAgain(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        with self._lock:
            taken = super().claim_job(kinds, now, lease, job_id, without)
            if taken is None:
                return None
            self._jobs[taken.id] = dataclasses.replace(taken, begin_at=taken.updated_at)
            return self._jobs[taken.id]


class KeepsTheEpoch(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        with self._lock:
            taken = super().claim_job(kinds, now, lease, job_id, without)
            if taken is None:
                return None
            self._jobs[taken.id] = dataclasses.replace(taken, epoch=1)
            return self._jobs[taken.id]


class SkipsCancelled(MemoryRegistry):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        with self._lock:
            taken = super().claim_job(kinds, now, lease, job_id, without)
            return None if taken and taken.cancelled else taken


class MissingJobIsAConflict(MemoryRegistry):
    def get_job(self, job_id):
        try:
            return self._jobs[job_id]
        except KeyError:
            raise Conflict(problem="no such job") from None


class CancelsEverything(MemoryRegistry):
    def cancel_jobs(self, image_id):
        for job in list(self._jobs.values()):
            super().cancel_jobs(job.image_id)


class CancelsTheEnded(MemoryRegistry):
    def cancel_jobs(self, image_id):
        for job in self.jobs_of(image_id):
            self._jobs[job.id] = dataclasses.replace(job, cancelled=True)


class LeaseMovesUpdatedAt(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, /, **to):
        changed = super().change_job(job_id, epoch, fields, was, **to)
        if changed.image_id and not to:
            self.change(changed.image_id, {}, updated_at=changed.updated_at)
        return changed


class ForgetsWhenItChanged(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, /, **to):
        return super().change_job(job_id, epoch, {**fields, "updated_at": START}, was, **to)


class PagesRepeatTheMarker(MemoryRegistry):
    def jobs(self, project, marker=None, limit=25):
        found = super().jobs(project, None, 1000)
        start = found.index(marker) if marker in found else 0
        return found[start : start + limit] if len(found[start:]) > 1 or not marker else []


class ShowsAllProjects(MemoryRegistry):
    def jobs(self, project, marker=None, limit=25):
        return super().jobs(None, marker, limit)


REJECTED = [
    (IgnoresTheEpoch, "former_worker_is_fenced_off"),
    (ChangesEndedJobs, "job_that_is_not_running_is_not_changed"),
    (EndsTheJobFirst, "job_and_image_change_together"),
    (ChangesTheImageFirst, "former_worker_is_fenced_off"),
    (RecordsTheJobFirst, "job_takes_its_image"),
    (TakesTheImageFirst, "job_id_is_used_once"),
    (RecordsTheImageFirst, "new_image_with_its_job"),
    (ComparesNothing, "job_takes_its_image"),
    (TakesAnyNumber, "image_has_one_job_at_a_time"),
    (TakesAnyNumber, "one_of_many_jobs_of_an_active_image_is_taken"),
    (KeepsTheCallersArguments, "job_does_not_follow_what_it_was_made_from"),
    (ClaimsTwice, "each_job_is_claimed_once"),
    (NewestFirst, "oldest_is_claimed_first"),
    (NewestFirst, "lists_of_jobs"),
    (ClaimsAnyKind, "only_known_kinds_are_claimed"),
    (ClaimsForAnyProject, "jobs_of_some_projects_are_left_out"),
    (ClaimsAnother, "job_is_claimed_by_its_id"),
    (ListsRunningJobs, "free_jobs"),
    (ListsWaitingJobs, "free_jobs"),
    (ListsAllJobs, "free_jobs"),
    (ForgetsKilledWorkers, "expired_job_is_taken_over"),
    (ClaimsEarly, "expired_job_is_taken_over"),
    (BeginsAgain, "expired_job_is_taken_over"),
    (KeepsTheEpoch, "former_worker_is_fenced_off"),
    (SkipsCancelled, "cancelled_job_is_claimed_too"),
    (MissingJobIsAConflict, "unknown_job"),
    (CancelsEverything, "cancel"),
    (CancelsTheEnded, "cancel"),
    (LeaseMovesUpdatedAt, "renewing_leaves_the_image_alone"),
    (ForgetsWhenItChanged, "change_of_a_job"),
    (PagesRepeatTheMarker, "lists_of_jobs"),
    (ShowsAllProjects, "lists_of_jobs"),
    (ForgetsByCreation, "ended_jobs_are_forgotten"),
]
