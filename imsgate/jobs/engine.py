"""Jobs: recorded at once, then done by any worker that is free, and by one at a time.

The row in the registry is authoritative. Threads of the serving processes and of ``imsgate
worker`` processes claim rows. A claim is a lease that the worker renews, and it begins a new
epoch. Every write of a worker carries its epoch, so a worker that was paused past its lease, or
cut off, can no longer change the job or its image.

How workers are notified of a job may differ, and is not relied on: this engine looks at the rows
themselves; another one (:mod:`imsgate.jobs.celery`) has a broker deliver messages.
"""

import collections
import dataclasses
import datetime
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imsgate import errors, metrics, model
from imsgate.jobs import log
from imsgate.jobs.context import Context, Interrupted, Postponed, Waiting
from imsgate.jobs.settings import JobSettings
from imsgate.jobs.work import Work
from imsgate.model import Image, Job, Limits
from imsgate.registry.base import NOTHING, Registry
from imsgate.registry.idempotency import Outcome

LOG = logging.getLogger(__name__)

#: The signals that end a worker.
ENDS = frozenset({signal.SIGTERM, signal.SIGINT})


@dataclasses.dataclass(frozen=True, slots=True)
class _Shares:
    """How many jobs of one project, and of one kind, a process runs at the same time: slow
    sources must not hold all threads."""

    per_project: int
    per_kind: int

    def full_projects(self, running: Sequence[Job]) -> set[str]:
        counts = collections.Counter(job.project for job in running if job.project is not None)
        return {project for project, count in counts.items() if count >= self.per_project}

    def full_kinds(self, running: Sequence[Job]) -> set[str]:
        counts = collections.Counter(job.kind for job in running)
        return {kind for kind, count in counts.items() if count >= self.per_kind}


#: Returns what ends the claim of the request that starts a job, if it has one.
Ending = Callable[[Job], Outcome | None]


def _no_claim(job: Job) -> None:
    """The Ending of a request without a claim."""


def _new_job(
    kind: str, project: str | None, image_id: str | None, arguments: Mapping[str, Any]
) -> Job:
    now = model.now()
    return Job(
        id=str(uuid.uuid4()),
        kind=kind,
        project=project,
        image_id=image_id,
        arguments=arguments,
        created_at=now,
        updated_at=now,
    )


class Engine:
    """Starts jobs, and runs those of the kinds that it has work for."""

    #: The name of its threads, also in metrics.
    POOL = "jobs"

    def __init__(
        self,
        registry: Registry,
        kinds: Mapping[str, Work],
        settings: JobSettings,
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """While ``is_paused`` returns True, jobs are still recorded, but none is claimed. It may
        raise Unavailable."""
        self._registry = registry
        self._is_paused = is_paused
        self._kinds = kinds
        self._settings = settings
        self._wake = threading.Event()
        #: Held by the idle thread that looks for jobs at intervals.
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._claiming = threading.Lock()
        self._running: list[Job] = []
        #: The number of threads, once it is known.
        self._shared: int | None = None

    @classmethod
    def check_broker(cls, settings: JobSettings) -> bool:
        """Connect to the broker; returns False if this engine needs none.

        Raises BadConfig, and Unavailable, whose cause says why it cannot be used.
        """
        return False

    def start(
        self,
        kind: str,
        *,
        project: str | None,
        image_id: str | None,
        arguments: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        outcome: Ending = _no_claim,
        **to: Any,
    ) -> Job:
        """Record a job and change its image (see ``Registry.add_job``); return at once.

        ``outcome`` returns what ends the request's claim, if it has one. Raises OverLimit,
        KeyInUse, and Conflict if the image is not as it ``was``, or has a running job.
        """
        job = _new_job(kind, project, image_id, arguments)
        self._registry.add_job(job, was, within, outcome(job), **to)
        self.tell(job.id)
        return job

    def start_with(
        self,
        image: Image,
        kind: str,
        *,
        project: str | None,
        arguments: Mapping[str, Any],
        within: Limits | None = None,
        outcome: Ending = _no_claim,
    ) -> Job:
        """Record a new image and its job in one step; return at once.

        ``outcome`` is as for ``start``. Raises OverLimit, KeyInUse, and AlreadyExists for the
        image's id.
        """
        job = _new_job(kind, project, image.id, arguments)
        self._registry.add_with_job(image, job, within, outcome(job))
        self.tell(job.id)
        return job

    def tell(self, job_id: str) -> None:
        """Notify workers of a job, if they can be reached. Never raises."""
        self._wake.set()

    def run_one(self, job_id: str | None = None) -> bool:
        """Do the oldest waiting job, or the one with this id; return False if there is none.

        Returns False, too, while the engine is paused.
        """
        if self._is_paused():
            return False
        with self._claiming:  # so that two threads do not take the last place at the same time
            job = self._claim(job_id)
            if job is None:
                return False
            self._running.append(job)
        self._wake.set()  # while this thread is busy, another one looks for jobs
        metrics.THREADS_IN_USE.add(self.POOL)
        try:
            with metrics.JOB_SECONDS.time(job.kind), log.requested(job):
                self._run(job)
        finally:
            metrics.THREADS_IN_USE.add(self.POOL, amount=-1)
            with self._claiming:
                self._running.remove(job)
        return True

    def _claim(self, job_id: str | None) -> Job | None:
        now = time.time()
        lease = now + self._settings.lease
        kinds, projects = set(self._kinds), set[str]()
        if self._shared is not None:
            shares = self._shares(self._shared)
            kinds -= shares.full_kinds(self._running)
            projects = shares.full_projects(self._running)
        return self._registry.claim_job(sorted(kinds), now, lease, job_id, sorted(projects))

    def share_threads(self, number: int) -> None:
        """Limit the jobs of one project, and of one kind, to their share of ``number`` threads."""
        metrics.THREADS.add(self.POOL, amount=number)
        self._shared = number

    def _shares(self, number: int) -> _Shares:
        return _Shares(
            self._settings.project_threads or (number + 1) // 2,
            self._settings.kind_threads or max(1, number - 1),
        )

    def _run(self, job: Job) -> None:
        log.begun(job)
        context = Context(
            self._registry,
            job,
            lease_seconds=self._settings.lease,
            attempts=self._settings.attempts,
            stop=self._stop,
            source_retry_time=self._settings.source_retry_time,
        )
        try:
            with context:
                self._work(job, context)
        except Waiting as interruption:
            LOG.debug("Job %s: %s", job.id, interruption)
        except Interrupted as interruption:
            LOG.warning("Job %s continues in another worker: %s", job.id, interruption)
        except errors.Error as error:
            # The database is unavailable, or the image was changed in the last step. The lease
            # runs out, and the worker that takes the job over looks again.
            LOG.warning("Job %s could not be ended: %s", job.id, error)
        except Exception:
            LOG.exception("Job %s could not be ended", job.id)

    def _work(self, job: Job, context: Context) -> None:
        work = self._kinds[job.kind]
        try:
            error = self._failure(work, job, context)
            if error is not None:
                work.undo(job, context, error)
        except Postponed:
            raise
        except Interrupted:
            context.hand_back(at_once=self._stop.is_set())
            raise
        if error is None:
            context.succeed()
            log.succeeded(job, context)

    @staticmethod
    def _attempt(work: Work, job: Job, context: Context) -> None:
        """Run the job; postpone it after a temporary failure."""
        try:
            work.run(job, context)
        except errors.Error as error:
            if work.is_transient(error):
                context.check()
                context.postpone(error)
            raise

    @staticmethod
    def _failure(work: Work, job: Job, context: Context) -> errors.Error | None:
        """Run the job; return the error it fails with, or None. Raises Interrupted."""
        try:
            Engine._attempt(work, job, context)
        except Interrupted:
            raise
        except errors.Error as error:
            log.failed(job, context, error)
            return error
        except Exception:
            LOG.exception("Job %s failed", job.id)
            return errors.Error()  # says nothing about a bug
        return None

    def forget(self) -> int:
        """Remove the records of jobs that ended long enough ago; return their number."""
        age = datetime.timedelta(seconds=self._settings.keep)
        return self._registry.forget_jobs(model.now() - age)

    # Threads that look for jobs

    def work(self, number: int) -> None:
        """Do jobs on this many threads of a process that does nothing else.

        Call this on the main thread, with the signals ENDS blocked before any other thread was
        started. They end it, and the running jobs are handed back.
        """
        self.start_threads(number)
        signal.sigwait(ENDS)
        self.stop()

    def start_threads(self, number: int) -> None:
        """Do jobs on this many further threads of a serving process, until ``stop``."""
        self.share_threads(number)
        for _ in range(number):
            thread = threading.Thread(target=self._serve, name=self.POOL, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, seconds: float = 10) -> None:
        """Hand the running jobs back to other workers, and end the threads.

        Waits at most ``seconds`` for each thread; the lease of a job whose thread does not end in
        that time runs out.
        """
        self._stop.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(seconds)

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            if not self._try_one() and not self._stop.is_set():
                self._rest()

    def _rest(self) -> None:
        """Wait until there may be a job. Of the idle threads only one looks at intervals: four of
        them at 0.2 s took 4 % of a processor."""
        if self._looking.acquire(blocking=False):
            try:
                self._wake.wait(self._settings.poll)
            finally:
                self._looking.release()
        else:
            self._wake.wait()

    def _try_one(self, job_id: str | None = None) -> bool:
        try:
            return self.run_one(job_id)
        except errors.Unavailable:
            pass  # the database, which was logged and may come back
        except Exception:
            LOG.exception("Looking for jobs failed; it will be tried again")
        return False
