"""What a running job may ask, and the thread that keeps its lease."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from imsgate import errors, model
from imsgate.model import Image, Job, JobState, Limits
from imsgate.quotas.quota import Quotas
from imsgate.registry.base import NOTHING, Registry
from imsgate.transfer.upload import PAUSES, beats

LOG = logging.getLogger(__name__)

#: Seconds between two reports of progress, at most.
_REPORT = 2.0

#: How often a change is tried again when another request got in between.
_ATTEMPTS = 20


#: The argument that counts the attempts that ended in peace: what a worker dies of is a job
#: that is begun again and again, not a host that is restarted or a service that is away.
HANDED_BACK = "handed_back"

#: The argument by which the asker is asked again. The record of a job that has ended has none.
WARRANT = "warrant"


def without_warrant(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a job for which nobody need be asked any more."""
    return {name: value for name, value in arguments.items() if name != WARRANT}


class Interrupted(Exception):
    """The job is not this worker's any more, or not for long: it goes on elsewhere."""


class TakenOver(Interrupted):
    """What this worker wanted to write was refused: nothing of it is in the record."""


class Context:
    """One attempt at a job. Inside the ``with`` block its lease is kept."""

    def __init__(
        self, registry: Registry, job: Job, settings: Any, stop: threading.Event | None = None
    ) -> None:
        self.registry = registry
        self._job = job
        self._settings = settings
        self._stop = stop or threading.Event()
        self._done = threading.Event()
        self._lost = False
        self._ended = False
        self._cancelled = job.cancelled
        self._progress: dict[str, Any] = {"progress": 0, "total": None}
        self._thread = threading.Thread(target=self._beat, name="job-lease", daemon=True)

    # What work may ask

    def check(self) -> None:
        """Raises Interrupted, Cancelled or GivenUp when the job must not go on here."""
        if self._lost:
            raise Interrupted("another worker has taken it over")
        if self._stop.is_set():
            raise Interrupted("this worker is being stopped")
        if self._cancelled:
            raise errors.Cancelled(image_id=self._job.image_id)
        deaths = self._job.epoch - 1 - self._job.arguments.get(HANDED_BACK, 0)
        if deaths >= self._settings.attempts:
            raise errors.GivenUp(attempts=self._settings.attempts)

    def report(self, done: int, total: int | None) -> None:
        """Progress in bytes; written with the next renewal."""
        self._progress = {"progress": done, "total": total}

    def renew(self) -> None:
        """Renew the lease now, as before what cannot be undone. Raises as ``check``."""
        self._renew()
        self.check()

    def limits(self, quotas: Quotas, image: Image) -> Limits | None:
        """Those of the image's owner. Raises Interrupted when they cannot be had now."""
        try:
            return quotas.of(image.owner)
        except errors.Unavailable as error:
            raise Interrupted(str(error)) from error

    def reserve(self, limits: Limits | None, count: int) -> None:
        """Reserve so many bytes of its owner's quota for the image, where it has limits.

        Raises OverLimit and Interrupted, and Conflict when the image has another owner now.
        """
        if limits is not None:
            self._change(NOTHING, NOTHING, limits, upload_reserved=count)

    def ask(self, recheck: Callable[[Job], object]) -> None:
        """Ask ``recheck`` about the job, all of whose work is done: once what that needs is not
        away, however long it takes. Raises what ``recheck`` raises, and as ``check``."""
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            try:
                recheck(self._job)
                return
            except errors.Unavailable as error:
                LOG.warning("Job %s waits: %s", self._job.id, error)
            self.wait(pause)
            self.check()

    def note(self, arguments: Mapping[str, Any]) -> None:
        """Set arguments of the job, for whoever takes it over. Raises Interrupted."""
        self._job = self._change({"arguments": {**self._job.arguments, **arguments}})

    def wait(self, seconds: float) -> None:
        """Let time pass, less of it when the worker is being stopped."""
        self._stop.wait(seconds)

    def image(self) -> Image:
        """The job's image as it is now. Raises Cancelled when it was deleted."""
        try:
            return self.registry.get(str(self._job.image_id))
        except errors.NotFound as error:
            raise errors.Cancelled(image_id=self._job.image_id) from error
        except errors.Unavailable as error:
            raise Interrupted(str(error)) from error

    def amend(
        self, changes: Callable[[Image], dict[str, Any]], fields: Mapping[str, Any] = NOTHING
    ) -> Job:
        """Read the image, decide and write until nothing came in between.

        ``fields`` of the job are set in the same step. Raises Interrupted, Cancelled when
        the image was deleted, and what ``changes`` raises.
        """
        for _ in range(_ATTEMPTS):
            image = self.image()
            was = {"status": image.status, "updated_at": image.updated_at}
            try:
                job = self._change(fields, was, **changes(image))
            except errors.Conflict:
                continue
            self._ended = "end_at" in fields
            return job
        raise errors.Conflict(problem=f"Image {self._job.image_id} is being changed by others")

    def succeed(self, changes: Callable[[Image], dict[str, Any]] | None = None) -> None:
        """End the job, and change its image in the same step. Does nothing the second time."""
        self._end({"state": JobState.SUCCESS}, changes)

    def fail(
        self, error: errors.Error, changes: Callable[[Image], dict[str, Any]] | None = None
    ) -> None:
        """End the job in failure, and change its image in the same step."""
        why = {"error_code": error.reason, "reason": str(error)}
        self._end({"state": JobState.FAIL, **why}, changes)

    def hand_back(self, *, at_once: bool) -> None:
        """Let another worker have the job: at once, or when the lease has run out.

        Raises Interrupted when one has it already, and Unavailable.
        """
        self._rest()
        arguments = dict(self.registry.get_job(self._job.id).arguments)
        arguments[HANDED_BACK] = arguments.get(HANDED_BACK, 0) + 1
        self._change({"arguments": arguments, **({"lease": 0.0} if at_once else {})})

    # How

    def _end(
        self, fields: dict[str, Any], changes: Callable[[Image], dict[str, Any]] | None
    ) -> None:
        if self._ended:
            return
        fields = {**self._progress, **fields, "lease": None, "end_at": model.now()}
        if WARRANT in self._job.arguments:
            fields["arguments"] = without_warrant(self._job.arguments)
        if changes is not None:
            self.amend(changes, fields)
        else:
            self._change(fields)
            self._ended = True

    def _change(
        self,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Job:
        """Raises TakenOver, Conflict when the image differs, and Interrupted for an outage."""
        job = self._job
        try:
            try:
                return self.registry.change_job(job.id, job.epoch, fields, was, within, **to)
            except errors.Conflict:
                found = self.registry.get_job(job.id)
                if found.epoch == job.epoch and found.state == JobState.RUNNING:
                    raise
        except errors.Unavailable as error:
            # Nobody knows whether it was written; the lease decides who looks.
            raise Interrupted(str(error)) from error
        self._lost = True
        raise TakenOver("another worker has taken it over")

    def _renew(self) -> None:
        lease = time.time() + self._settings.lease
        self._cancelled = self._change({"lease": lease, **self._progress}).cancelled

    def _beat(self) -> None:
        for _ in beats(self._done, min(_REPORT, self._settings.lease / 3)):
            try:
                self._renew()
            except Exception:
                if self._lost:
                    return
                # The database may come back before the lease runs out; whether it did is
                # decided by the epoch at the end.
                LOG.warning("The lease of job %s could not be renewed", self._job.id)

    def __enter__(self) -> "Context":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rest()

    def _rest(self) -> None:
        self._done.set()
        self._thread.join()
