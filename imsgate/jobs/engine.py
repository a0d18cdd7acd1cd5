"""Jobs: recorded at once, then done by any worker that is free, and by one at a time.

The row in the registry is authoritative. Threads of the serving processes and of ``imsgate
worker`` processes claim rows. A claim is a lease that the worker renews, and it begins a new
epoch. Every write of a worker carries its epoch, so a worker that was paused past its lease, or
cut off, can no longer change the job or its image.

How workers are notified of a job may differ, and is not relied on: this engine looks at the rows
themselves; another one (:mod:`imsgate.jobs.celery`) has a broker deliver messages.
"""

import abc
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

from oslo_config import cfg

from imsgate import errors, model
from imsgate.jobs.context import Context, Interrupted, Postponed
from imsgate.model import Image, Job, Limits
from imsgate.registry.base import NOTHING, Registry
from imsgate.registry.idempotency import Outcome
from imsgate.settings import Settings

LOG = logging.getLogger(__name__)

GROUP = "jobs"
OPTS = (
    cfg.StrOpt(
        "engine",
        default="local",
        help="The entry point in imsgate.engines that brings jobs to workers: local (threads of "
        "the serving processes, and `imsgate worker`), or celery (`imsgate worker`, notified by a "
        "message broker).",
    ),
    cfg.StrOpt(
        "broker_url",
        secret=True,
        help="URL of the broker of the engine celery, such as amqp://user:secret@host:5672/vhost "
        "(RabbitMQ) or redis://:secret@host:6379/0.",
    ),
    cfg.StrOpt(
        "queue",
        default="imsgate",
        help="The name of the queue of the engine celery.",
    ),
    cfg.FloatOpt(
        "resend",
        default=30,
        min=0.01,
        help="Seconds between two searches of the engine celery for jobs whose message was lost "
        "or whose worker died.",
    ),
    cfg.IntOpt(
        "threads",
        default=4,
        min=0,
        help="The number of jobs that each serving process runs at the same time with the engine "
        "local. With 0, only `imsgate worker` processes run jobs.",
    ),
    cfg.IntOpt(
        "project_threads",
        default=0,
        min=0,
        help="The most jobs of one project that a process runs at the same time. 0 means half of "
        "its job threads, rounded up.",
    ),
    cfg.IntOpt(
        "kind_threads",
        default=0,
        min=0,
        help="The most jobs of one kind, such as imports, that a process runs at the same time. "
        "0 means one less than its job threads, but at least 1.",
    ),
    cfg.FloatOpt(
        "lease",
        default=60,
        min=0.1,
        max=1e9,  # added to the current time it must still be a valid date; so must "keep"
        help="Seconds after which a job whose process died is taken over by another. A running "
        "job renews its lease at least three times in this period.",
    ),
    cfg.FloatOpt(
        "poll",
        default=2,
        min=0.01,
        help="Seconds between two searches for jobs that other processes started or left.",
    ),
    cfg.IntOpt(
        "attempts",
        default=5,
        min=1,
        help="After this many attempts that killed their process, a job fails.",
    ),
    cfg.FloatOpt(
        "source_retry_time",
        default=600,
        min=0,
        max=1e9,
        help="Seconds for which a job is tried again while its source (a web server or a bucket) "
        "cannot be reached or fails by itself. It is the sum of the pauses between the attempts, "
        "which grow from 2 to 60 seconds. With 0, the job fails at the first such failure.",
    ),
    cfg.IntOpt(
        "keep",
        default=7 * 24 * 3600,
        min=0,
        max=10**9,
        help="Seconds for which a job can be looked up after it has ended.",
    ),
    cfg.BoolOpt(
        "failure_message",
        default=True,
        help="Say in the property os_glance_failed_import_message of an image why its last import "
        "failed, for clients that only look at the image. Set it to false if clients must see "
        "Glance's properties only.",
    ),
)


class JobSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[jobs]``."""

    engine: str
    broker_url: str | None
    queue: str
    resend: float
    threads: int
    project_threads: int
    kind_threads: int
    lease: float
    poll: float
    attempts: int
    source_retry_time: float
    keep: int
    failure_message: bool


#: The signals that end a worker.
ENDS = frozenset({signal.SIGTERM, signal.SIGINT})


class Work(abc.ABC):
    """How jobs of one kind are done. One object does many jobs, at the same time."""

    @abc.abstractmethod
    def run(self, job: Job, context: Context) -> None:
        """Do the job while ``context.check`` permits it.

        The job succeeds when this returns, if ``context.succeed`` was not called before, and
        fails with any error that this raises. After Interrupted it goes on elsewhere.
        """

    def is_transient(self, error: errors.Error) -> bool:
        """Whether the job may succeed later although ``run`` raised ``error`` now.

        It is then tried again for a while. Nothing that this attempt has written may be in the
        way of the next one.
        """
        return isinstance(error, errors.SourceUnavailable)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """Leave nothing of a job that failed with ``error``, and end it by ``context.fail``.

        Raises Interrupted if that is impossible now; another worker then begins the job anew.
        """
        context.fail(error)


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
    """Starts jobs, and does those of the kinds it knows."""

    def __init__(
        self, registry: Registry, kinds: Mapping[str, Work], settings: JobSettings
    ) -> None:
        self._registry = registry
        self._kinds = kinds
        self._settings = settings
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._claiming = threading.Lock()
        self._running: list[Job] = []
        self._shares: _Shares | None = None

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
        """Do the oldest waiting job, or the one with this id; return False if there is none."""
        with self._claiming:  # so that two threads do not take the last place at the same time
            job = self._claim(job_id)
            if job is None:
                return False
            self._running.append(job)
        try:
            self._run(job)
        finally:
            with self._claiming:
                self._running.remove(job)
        return True

    def _claim(self, job_id: str | None) -> Job | None:
        now = time.time()
        lease = now + self._settings.lease
        kinds, projects = set(self._kinds), set[str]()
        if self._shares is not None:
            kinds -= self._shares.full_kinds(self._running)
            projects = self._shares.full_projects(self._running)
        return self._registry.claim_job(sorted(kinds), now, lease, job_id, sorted(projects))

    def share_threads(self, number: int) -> None:
        """Limit the jobs of one project, and of one kind, to their share of ``number`` threads."""
        self._shares = _Shares(
            self._settings.project_threads or (number + 1) // 2,
            self._settings.kind_threads or max(1, number - 1),
        )

    def _run(self, job: Job) -> None:
        LOG.info("Job %s (%s), attempt %d", job.id, job.kind, job.epoch)
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
        except Interrupted as interruption:
            LOG.warning("Job %s goes on elsewhere: %s", job.id, interruption)
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

    @staticmethod
    def _attempt(work: Work, job: Job, context: Context) -> None:
        """Run the job; postpone it after a failure that may pass."""
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
            LOG.info("Job %s failed: %s", job.id, error)
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
            thread = threading.Thread(target=self._serve, name="jobs", daemon=True)
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
            if not self._try_one():
                self._wake.wait(self._settings.poll)

    def _try_one(self, job_id: str | None = None) -> bool:
        try:
            return self.run_one(job_id)
        except errors.Unavailable:
            pass  # the database, which was logged and may come back
        except Exception:
            LOG.exception("Looking for jobs failed; it will be tried again")
        return False
