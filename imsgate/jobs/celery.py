"""Jobs brought to workers by Celery, over RabbitMQ or Redis: the extra ``imsgate[celery]``.

A message only contains the id of a job. The row in the registry decides whether the job is to be
done, and by which worker, so a message that arrives twice, late or never only changes when it is
done. Messages are acknowledged after the job is done. Every worker also searches for jobs that no
worker holds, and sends their messages again: the message may be lost, or the worker dead and its
lease expired.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import celery
from celery import signals
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.jobs.engine import ENDS, Engine
from imsgate.jobs.settings import GROUP, JobSettings
from imsgate.jobs.work import Work
from imsgate.registry.base import Registry
from imsgate.telemetry.dependencies import Dependency

LOG = logging.getLogger(__name__)

BROKER = Dependency("The broker", LOG)

TASK = "imsgate.run"

#: Seconds that a request waits for a broker that does not answer.
_BROKER_TIMEOUT_SECONDS = 5


class CeleryEngine(Engine):
    """Serving processes send messages; ``imsgate worker`` processes are Celery workers."""

    def __init__(
        self,
        registry: Registry,
        kinds: Mapping[str, Work],
        settings: JobSettings,
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        """Raises BadConfig for an invalid broker_url; the broker need not be up yet."""
        super().__init__(registry, kinds, settings, is_paused)
        self._app, self._failures = _app(settings)
        self._app.task(self._delivered, name=TASK, shared=False)
        self._handed_back: list[str] = []

    @classmethod
    def check_broker(cls, settings: JobSettings) -> bool:
        app, failures = _app(settings)
        try:
            with app.connection_for_write() as opened:
                opened.connect()
        except failures as error:
            raise errors.Unavailable(what="The broker") from error
        return True

    def tell(self, job_id: str) -> None:
        """Send the message. If the broker is unavailable, a worker sends it later."""
        try:
            self._app.send_task(TASK, (job_id,), retry=False)
        except self._failures as error:
            BROKER.failed(error)
            LOG.info("Job %s waits until the broker is back", job_id)
        else:
            BROKER.works()

    def _delivered(self, job_id: str) -> None:
        if not self._stop.is_set():
            self._try_one(job_id)
        if self._stop.is_set():
            self._handed_back.append(job_id)

    def start_threads(self, number: int) -> None:
        """Do nothing: the workers do all jobs."""

    def work(self, number: int) -> None:
        """Run a Celery worker with this many threads; otherwise as in the base class."""
        self.share_threads(number)
        signals.setup_logging.connect(_keep_logging)
        logging.getLogger("celery.worker.consumer.consumer").addFilter(_is_no_outage)
        logging.getLogger("celery.worker.consumer.connection").addFilter(_notice_recovery)
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
        # On this thread only: Celery's handlers run on it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        worker.start()
        # Not before: this worker would have received them again.
        for job_id in self._handed_back:
            self.tell(job_id)

    def _shutting_down(self, **_: Any) -> None:
        self._stop.set()

    def _resend_forever(self) -> None:
        while not self._stop.wait(self._settings.resend):
            try:
                self.resend()
            except errors.Unavailable:  # the database, which was logged and may come back
                continue
            except Exception:
                LOG.exception("Looking for jobs to send again failed; it will be tried again")

    def resend(self) -> int:
        """Send the messages of all waiting jobs again, unless they seem to be in the queue.

        Returns their number. While the queue contains as many messages as jobs are waiting, none
        is added, however busy the workers are.
        """
        free = self._registry.free_jobs(sorted(self._kinds), time.time())
        if not free or self._queued() >= len(free):
            return 0
        for job in free:
            self.tell(job.id)
        return len(free)

    def _queued(self) -> int:
        """The number of messages in the queue; 0 while the broker is unavailable."""
        try:
            with self._app.connection_for_write() as opened:
                queue = opened.default_channel.queue_declare(self._settings.queue, passive=True)
                return int(queue.message_count)
        except self._failures:
            return 0


def _transport_options(url: str) -> dict[str, Any]:
    retry_once = {"max_retries": 1, "interval_start": 0}
    if url.startswith("redis"):
        return {
            **retry_once,
            "socket_connect_timeout": _BROKER_TIMEOUT_SECONDS,
            "socket_timeout": _BROKER_TIMEOUT_SECONDS,
        }
    return {**retry_once, "write_timeout": _BROKER_TIMEOUT_SECONDS}


def _keep_logging(**_: Any) -> None:
    """Connected to ``setup_logging``, which keeps Celery from configuring logging itself."""


def _is_no_outage(record: logging.LogRecord) -> bool:
    """Celery logs each failed attempt to connect, every few seconds; BROKER logs them."""
    text, arguments = str(record.msg), record.args
    if not text.startswith("consumer: Cannot connect to") or not isinstance(arguments, tuple):
        return True
    BROKER.failed(arguments[1])
    return False


def _notice_recovery(record: logging.LogRecord) -> bool:
    if record.msg == "Connected to %s":
        BROKER.works()
    return True


def _app(settings: JobSettings) -> tuple[celery.Celery, tuple[type[Exception], ...]]:
    """The application, and the exceptions that its broker raises."""
    key, url = f"[{GROUP}] broker_url", settings.broker_url
    connection: Any = Connection  # which is not typed
    if not url:
        raise BadConfig(key, "the engine celery needs it")
    try:
        broker = connection(url).transport  # of the URL's scheme; this connects to nothing
    except (KeyError, ImportError) as error:
        raise BadConfig(key, f"it does not name a supported broker: {error}") from error
    except (ValueError, TypeError) as error:  # its text may contain part of a password
        raise BadConfig(key, "it is not a valid URL of a broker") from error
    app = celery.Celery("imsgate", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=_BROKER_TIMEOUT_SECONDS,
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
