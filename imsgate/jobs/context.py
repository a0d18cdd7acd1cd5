"""What the work of a job can use while it runs."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from imsgate import errors, metrics, model
from imsgate.jobs.arguments import HANDED_BACK, POSTPONED, without_credential
from imsgate.model import Image, Job, JobState, Limits
from imsgate.quotas.quota import Quotas
from imsgate.registry.base import NOTHING, Registry
from imsgate.registry.changes import read_decide_write, version_of
from imsgate.transfer import lease

LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: The longest time between two renewals of a lease, which also report progress.
REPORT_SECONDS = 2.0

#: The pauses between attempts at a job whose source is unavailable, in seconds: each is twice as
#: long as the one before, up to the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0

Changes = Callable[[Image], dict[str, Any]]


class Interrupted(Exception):
    """The job continues in another worker, now or later."""


class Postponed(Interrupted):
    """The job was handed back, and continues after a pause."""


class Waiting(Postponed):
    """The job waits for somebody else, which is no failure."""


class TakenOver(Interrupted):
    """A write of this worker was refused: the record contains nothing of it."""


class Context:
    """One attempt at a job. Inside the ``with`` block its lease is renewed."""

    def __init__(
        self,
        registry: Registry,
        job: Job,
        *,
        lease_seconds: float,
        attempts: int,
        stop: threading.Event,
        source_retry_time: float = 0,
    ) -> None:
        """The job is given up after ``attempts`` that killed their worker, and after pauses of
        ``source_retry_time`` seconds in all for an unavailable source. ``stop`` is set when this
        worker is to end."""
        self._registry = registry
        self._job = job
        self._lease_seconds = lease_seconds
        self._attempts = attempts
        self._source_retry_time = source_retry_time
        self._stop = stop
        self._began = time.monotonic()
        self._ended = False
        self._cancelled = job.cancelled
        self._progress: dict[str, Any] = {"progress": 0, "total": None}
        self._lease = lease.Lease(
            f"job {job.id}",
            self._renew,
            interval=min(REPORT_SECONDS, lease_seconds / 3),
            refusals=(TakenOver,),
        )

    @property
    def seconds(self) -> float:
        """How long this attempt has taken."""
        return time.monotonic() - self._began

    @property
    def bytes(self) -> int:
        """How many bytes the work has reported."""
        return int(self._progress["progress"])

    # What work may ask for

    def check(self) -> None:
        """Raises Interrupted, Cancelled or GivenUp if the job must not continue here."""
        self._lease.keep()
        if self._lease.lost:
            raise Interrupted("another worker has taken it over")
        if self._stop.is_set():
            raise Interrupted("this worker is being stopped")
        if self._cancelled:
            raise errors.Cancelled(image_id=self._job.image_id)
        if self._deaths() >= self._attempts:
            raise errors.GivenUp(attempts=self._attempts)

    def _deaths(self) -> int:
        """How many workers died, or were cut off, while they had the job."""
        deaths: int = self._job.epoch - 1 - self._job.arguments.get(HANDED_BACK, 0)
        return deaths

    def report(self, done: int, total: int | None) -> None:
        """Progress in bytes; written with the next renewal of the lease."""
        self._progress = {"progress": done, "total": total}

    def renew(self) -> None:
        """Renew the lease now, before a step that cannot be undone. Raises as ``check``."""
        self._renew()
        self.check()

    def limits(self, quotas: Quotas, image: Image) -> Limits | None:
        """The limits of the image's owner. Raises Interrupted while they are unavailable."""
        try:
            return quotas.of(image.owner)
        except errors.Unavailable as error:
            raise Interrupted(str(error)) from error

    def reserve(self, limits: Limits | None, total: int) -> None:
        """Reserve ``total`` bytes of the owner's quota for the image, if it has limits.

        Raises OverLimit and Interrupted, and Conflict if the image has another owner now.
        """
        if limits is not None:
            self._change(NOTHING, NOTHING, limits, upload_reserved=total)

    def retry_while_unavailable(self, step: Callable[[], T]) -> T:
        """Repeat ``step`` during an outage, however long it takes: the job's work is done, and
        would be lost. Raises what ``step`` raises, and as ``check``."""
        pauses = lease.RETRY_PAUSES_SECONDS

        def wait(seconds: float) -> None:
            self.wait(seconds)
            self.check()

        return lease.retry_while_unavailable(
            step,
            subject=f"Job {self._job.id}",
            pauses=itertools.chain(pauses, itertools.repeat(pauses[-1])),
            wait=wait,
        )

    def add_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Set arguments of the job, for another worker that takes it over. Raises Interrupted."""
        self._job = self._change({"arguments": {**self._job.arguments, **arguments}})

    def wait(self, seconds: float) -> None:
        """Wait; return at once when the worker is being stopped."""
        self._stop.wait(seconds)

    def image(self) -> Image:
        """The job's image as it is now. Raises Cancelled if it was deleted, and Interrupted."""
        try:
            return self._registry.get(str(self._job.image_id))
        except errors.NotFound as error:
            raise errors.Cancelled(image_id=self._job.image_id) from error
        except errors.Unavailable as error:
            raise Interrupted(str(error)) from error

    def change_image(self, changes: Changes, fields: Mapping[str, Any] = NOTHING) -> Job:
        """Change the image by what ``changes`` decides from its record; return the job.

        ``fields`` of the job are set in the same step. Raises Interrupted, Cancelled if the
        image was deleted, Conflict if others keep changing it, and what ``changes`` raises.
        """

        def write(image: Image, to: Mapping[str, Any]) -> Job:
            return self._change(fields, version_of(image), **to)

        job = read_decide_write(self.image, changes, write)
        self._ended = "end_at" in fields
        return job

    def succeed(self, changes: Changes | None = None) -> None:
        """End the job, and change its image in the same step. Does nothing the second time."""
        self._end({"state": JobState.SUCCESS}, changes)

    def fail(self, error: errors.Error, changes: Changes | None = None) -> None:
        """End the job in failure, and change its image in the same step. Does nothing if the job
        has ended."""
        why = {"error_code": error.reason, "reason": str(error)}
        self._end({"state": JobState.FAIL, **why}, changes)

    def hand_back(self, *, at_once: bool) -> None:
        """Let another worker have the job: at once, or when the lease has run out.

        Raises Interrupted if another worker has it already, and Unavailable.
        """
        self._hand_back({"lease": 0.0} if at_once else {})

    def postpone(self, error: errors.Error) -> None:
        """Let any worker begin the job again after a pause, because of ``error``.

        No thread waits for that. Raises Postponed; returns if the pauses would be too long now,
        so that the job fails.
        """
        times = self._job.arguments.get(POSTPONED, 0)
        pauses = [min(FIRST_PAUSE_SECONDS * 2**n, LONGEST_PAUSE_SECONDS) for n in range(times + 1)]
        if sum(pauses) > self._source_retry_time:
            return
        self._hand_back({"lease": time.time() + pauses[-1]}, {POSTPONED: times + 1})
        raise Postponed(f"it is tried again in {pauses[-1]:.0f} s: {error}")

    def continue_after(self, seconds: float) -> NoReturn:
        """Let any worker continue the job after a pause. No thread waits for that.

        Raises Waiting, and what ``hand_back`` raises.
        """
        lease_end = time.time() + seconds if seconds else 0.0
        self._hand_back({**self._progress, "lease": lease_end})
        raise Waiting(f"it continues in {seconds:.0f} s")

    def _hand_back(self, fields: Mapping[str, Any], arguments: Mapping[str, Any] = NOTHING) -> None:
        self._lease.end()
        stored = self._registry.get_job(self._job.id).arguments
        handed_back = {HANDED_BACK: stored.get(HANDED_BACK, 0) + 1}
        self._change({"arguments": {**stored, **handed_back, **arguments}, **fields})

    # How

    def _end(self, fields: dict[str, Any], changes: Changes | None) -> None:
        if self._ended:
            return
        fields = {**self._progress, **fields, "lease": None, "end_at": model.now()}
        arguments = without_credential(self._job.arguments)
        if len(arguments) < len(self._job.arguments):
            fields["arguments"] = arguments
        if changes is not None:
            self.change_image(changes, fields)
        else:
            self._change(fields)
            self._ended = True
        metrics.ENDED_JOBS.add(self._job.kind, fields["state"], fields.get("error_code", ""))
        metrics.LEASES_TAKEN_OVER.add("job", amount=self._deaths())

    def _change(
        self,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Job:
        """Raises TakenOver, Conflict if the image differs, and Interrupted during an outage."""
        job = self._job
        try:
            try:
                return self._registry.change_job(job.id, job.epoch, fields, was, within, **to)
            except errors.Conflict:
                current = self._registry.get_job(job.id)
                if current.epoch == job.epoch and current.state == JobState.RUNNING:
                    raise
        except errors.Unavailable as error:
            # It is unknown whether it was written; after the lease has run out, a worker looks.
            raise Interrupted(str(error)) from error
        self._lease.lost = True
        raise TakenOver("another worker has taken it over")

    def _renew(self) -> None:
        expires = time.time() + self._lease_seconds
        self._cancelled = self._change({"lease": expires, **self._progress}).cancelled

    def __enter__(self) -> "Context":
        self._lease.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._lease.end()
