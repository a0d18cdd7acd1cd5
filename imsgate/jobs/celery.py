"""Jobs brought to workers by Celery, over RabbitMQ or Redis: the extra ``imsgate[celery]``.

A message says only which job there is. Whether it is to be done, and by whom, the row in the
registry decides as ever: a message that comes twice, late or never changes nothing but the
time. Messages are acknowledged when the job has been done, and every worker looks for jobs
that nobody works at and sends them again: those whose message was lost, and those whose
worker died, once the lease has run out.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import celery
from celery import signals
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.jobs.engine import ENDS, GROUP, Engine, Work
from imsgate.registry.base import Registry

LOG = logging.getLogger(__name__)

TASK = "imsgate.run"

#: Seconds that a request may wait for a broker that does not answer.
_PATIENCE = 5


class CeleryEngine(Engine):
    """Serving processes send messages; ``imsgate worker`` processes are Celery workers."""

    def __init__(self, registry: Registry, kinds: Mapping[str, Work], settings: Any) -> None:
        """Raises BadConfig for a broker that cannot be meant; it need not be up yet."""
        super().__init__(registry, kinds, settings)
        self._app, self._failures = _app(settings)
        self._app.task(self._delivered, name=TASK, shared=False)
        self._handed_back: list[str] = []

    def tell(self, job_id: str) -> None:
        """Send the message. A broker that is away is told later, by a worker."""
        try:
            self._app.send_task(TASK, (job_id,), retry=False)
        except self._failures as error:
            LOG.warning("Job %s waits until the broker is back: %s", job_id, error)

    def _delivered(self, job_id: str) -> None:
        if not self._stop.is_set():
            self._try_one(job_id)
        if self._stop.is_set():
            self._handed_back.append(job_id)

    def start_threads(self, number: int) -> None:
        """None: the workers do all jobs."""

    def work(self, number: int) -> None:
        """Be a Celery worker with so many threads; otherwise as the other engine's."""
        signals.setup_logging.connect(_keep_logging)
        signals.worker_shutting_down.connect(self._shutting_down)
        threading.Thread(target=self._resend_forever, name="resend", daemon=True).start()
        worker = self._app.Worker(
            pool="threads",
            concurrency=number,
            hostname=f"imsgate-{os.getpid()}@{socket.gethostname()}",
            without_gossip=True,
            without_mingle=True,
            quiet=True,
        )
        # For this thread alone: Celery's handlers run on it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        worker.start()
        # Only now: this worker would have been given them again.
        for job_id in self._handed_back:
            self.tell(job_id)

    def _shutting_down(self, **_: Any) -> None:
        self._stop.set()

    def _resend_forever(self) -> None:
        while not self._stop.wait(self._settings.resend):
            try:
                self.resend()
            except errors.Unavailable:  # the database, which was logged; it may come back
                continue
            except Exception:
                LOG.exception("Looking for jobs to send again failed; it will be tried again")

    def resend(self) -> int:
        """Send all jobs again that nobody works at, unless their messages seem to be there.

        Returns how many. As long as the queue holds as many messages as jobs wait, none are
        added, however busy the workers are.
        """
        free = self._registry.free_jobs(sorted(self._kinds), time.time())
        if not free or self._queued() >= len(free):
            return 0
        for job in free:
            self.tell(job.id)
        return len(free)

    def _queued(self) -> int:
        """The messages that wait in the queue; 0 while it cannot be asked."""
        try:
            with self._app.connection_for_write() as connection:
                queue = connection.default_channel.queue_declare(self._settings.queue, passive=True)
                return int(queue.message_count)
        except self._failures:
            return 0


def _transport_options(url: str) -> dict[str, Any]:
    once = {"max_retries": 1, "interval_start": 0}
    if url.startswith("redis"):
        return {**once, "socket_connect_timeout": _PATIENCE, "socket_timeout": _PATIENCE}
    return {**once, "write_timeout": _PATIENCE}


def _keep_logging(**_: Any) -> None:
    """A listener by which Celery leaves the logging as it is."""


def _app(settings: Any) -> tuple[celery.Celery, tuple[type[Exception], ...]]:
    """The application, and what its broker may fail with."""
    key, url = f"[{GROUP}] broker_url", settings.broker_url
    if not url:
        raise BadConfig(key, "the engine celery needs one")
    try:
        broker = Connection(url).transport  # of the scheme; nothing is connected yet
    except (KeyError, ImportError) as error:
        raise BadConfig(key, f"it names no broker: {error}") from error
    except (ValueError, TypeError) as error:  # whose text may hold part of a password
        raise BadConfig(key, "it is no URL of a broker") from error
    app = celery.Celery("imsgate", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=_PATIENCE,
        broker_transport_options=_transport_options(url),
        task_acks_late=True,
        task_default_queue=settings.queue,
        task_ignore_result=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
    )
    return app, (*broker.connection_errors, *broker.channel_errors, OperationalError)
