"""Jobs: recorded at once, done by whoever is free, and by one worker at a time.

The row in the registry is the truth. Threads of the serving processes and of
``imsgate worker`` processes claim rows; a claim is a lease that its worker renews,
and each makes a new epoch. What a worker writes carries its epoch, so one that was
paused past its lease, or cut off, can change nothing any more: neither the job nor
its image.

How the news of a job reaches a worker may differ, and is never trusted: this engine looks
at the rows themselves; another one (:mod:`imsgate.jobs.celery`) has a broker deliver it.
"""

import datetime
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg

from imsgate import errors, model
from imsgate.jobs.context import Context, Interrupted
from imsgate.model import Job, Limits
from imsgate.registry.base import NOTHING, Registry

LOG = logging.getLogger(__name__)

GROUP = "jobs"
OPTS = (
    cfg.StrOpt(
        "engine",
        default="local",
        help="The entry point in imsgate.engines that brings jobs to whoever does them: local "
        "(threads of the serving processes, and `imsgate worker`), or celery (`imsgate worker`, "
        "told by a message broker).",
    ),
    cfg.StrOpt(
        "broker_url",
        secret=True,
        help="The broker of the engine celery, such as amqp://user:secret@host:5672/vhost "
        "(RabbitMQ) or redis://:secret@host:6379/0.",
    ),
    cfg.StrOpt(
        "queue",
        default="imsgate",
        help="The queue of the engine celery.",
    ),
    cfg.FloatOpt(
        "resend",
        default=30,
        min=0.01,
        help="Seconds between two looks of the engine celery for jobs whose message was lost "
        "or whose worker died.",
    ),
    cfg.IntOpt(
        "threads",
        default=2,
        min=0,
        help="Jobs that each serving process does at once with the engine local. With 0, only "
        "`imsgate worker` processes do any.",
    ),
    cfg.FloatOpt(
        "lease",
        default=60,
        min=0.1,
        max=1e9,  # added to the time of day it must have a date, and so must "keep"
        help="Seconds after which a job whose process died is taken over by another. A living "
        "process renews its lease three times in this time, or more often.",
    ),
    cfg.FloatOpt(
        "poll",
        default=2,
        min=0.01,
        help="Seconds between two looks for jobs that other processes left.",
    ),
    cfg.IntOpt(
        "attempts",
        default=5,
        min=1,
        help="How often a job is begun whose process dies of it. Then it fails.",
    ),
    cfg.IntOpt(
        "keep",
        default=7 * 24 * 3600,
        min=0,
        max=10**9,
        help="Seconds for which a job can still be looked up after it ended.",
    ),
)

#: The signals that end a worker.
ENDS = frozenset({signal.SIGTERM, signal.SIGINT})

#: Does a job, to its end. It begins and goes on only while ``Context.check`` lets it.
#: An error it raises is the job's, which then fails.
Work = Callable[[Job, Context], None]


class Engine:
    """Starts jobs, and does those of the kinds it knows."""

    def __init__(self, registry: Registry, kinds: Mapping[str, Work], settings: Any) -> None:
        self._registry = registry
        self._kinds = kinds
        self._settings = settings
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(
        self,
        kind: str,
        *,
        project: str | None,
        image_id: str | None,
        arguments: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        **to: Any,
    ) -> Job:
        """Record a job and change its image (see ``Registry.add_job``); return at once.

        Raises OverLimit, and Conflict when the image is not as it ``was``, or is being worked at.
        """
        now = model.now()
        job = Job(
            id=str(uuid.uuid4()),
            kind=kind,
            project=project,
            image_id=image_id,
            arguments=arguments,
            created_at=now,
            updated_at=now,
        )
        self._registry.add_job(job, was, within, **to)
        self.tell(job.id)
        return job

    def tell(self, job_id: str) -> None:
        """Let those who do jobs know of one, if they can be reached. Never raises."""
        self._wake.set()

    def run_one(self, job_id: str | None = None) -> bool:
        """Do one job, or that one, if it waits; return whether it did."""
        now = time.time()
        lease = now + self._settings.lease
        job = self._registry.claim_job(sorted(self._kinds), now, lease, job_id)
        if job is not None:
            self._run(job)
        return job is not None

    def _run(self, job: Job) -> None:
        LOG.info("Job %s (%s), attempt %d", job.id, job.kind, job.epoch)
        context = Context(self._registry, job, self._settings, self._stop)
        try:
            with context:
                self._work(job, context)
        except Interrupted as interruption:
            LOG.warning("Job %s goes on elsewhere: %s", job.id, interruption)
        except errors.Error as error:
            # The database is away, or the image was changed at the very end. The lease
            # runs out, and whoever takes the job over looks again.
            LOG.warning("Job %s could not be ended: %s", job.id, error)
        except Exception:
            LOG.exception("Job %s could not be ended", job.id)

    def _work(self, job: Job, context: Context) -> None:
        try:
            self._kinds[job.kind](job, context)
        except Interrupted:
            context.hand_back(at_once=self._stop.is_set())
            raise
        except errors.Error as error:
            LOG.info("Job %s failed: %s", job.id, error)
            context.fail(error)
        except Exception:
            LOG.exception("Job %s failed", job.id)
            context.fail(errors.Error())
        else:
            context.succeed()

    def forget(self) -> int:
        """Remove the records of jobs that ended long enough ago; return how many."""
        age = datetime.timedelta(seconds=self._settings.keep)
        return self._registry.forget_jobs(model.now() - age)

    # Delivery: threads that look for work.

    def work(self, number: int) -> None:
        """Do jobs on this many threads of this process, which does nothing else.

        To be called by the main thread, with the signals ENDS blocked since before any other
        thread began; they end it, and hand the running jobs back.
        """
        self.start_threads(number)
        signal.sigwait(ENDS)
        self.stop()

    def start_threads(self, number: int) -> None:
        """Do jobs on this many more threads of this process, until ``stop``, beside its service."""
        for _ in range(number):
            thread = threading.Thread(target=self._serve, name="jobs", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, seconds: float = 10) -> None:
        """Hand the running jobs back for others to do, and end the threads.

        Waits for each at most so long; one that does not come back loses its lease.
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
            pass  # the database, which was logged; it may come back
        except Exception:
            LOG.exception("Looking for jobs failed; it will be tried again")
        return False
