"""Verification in the background: all copies, again and again, at a low rate.

A row in the registry, a job of one kind that never ends, is claimed by one process at a time. It
is no more than the right to verify: how far it has come is recorded with the copies. So any process
on any host can go on where another one has stopped.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator

from imsgate import errors, model
from imsgate.jobs.context import Context
from imsgate.jobs.engine import Engine
from imsgate.jobs.settings import JobSettings
from imsgate.jobs.work import Work
from imsgate.model import UNFINISHED, Job
from imsgate.registry.base import Registry
from imsgate.stores.enabled import Stores
from imsgate.verification import repair
from imsgate.verification.checking import CheckResult, CheckState, Place, Verifier
from imsgate.verification.repair import Repairs
from imsgate.verification.settings import (
    VerificationSettings,
    check_stores,
    stores_to_verify,
)

LOG = logging.getLogger(__name__)

#: The kind of the job, and its id in every registry.
KIND = "verification"
JOB_ID = "5b8e7d0c-3d8a-4c63-9a53-6f7c9d2e4a10"

#: Seconds between two looks at whether something is to be verified.
POLL_SECONDS = 60.0
#: Seconds after which a process offers the others to go on.
TURN_SECONDS = 600.0
#: Seconds until a store that was away, and a copy that could not be read, is tried again.
STORE_PAUSE_SECONDS, COPY_PAUSE_SECONDS = 600.0, 24 * 3600.0
#: Seconds until another repair of the same image is tried.
REPAIR_PAUSE_SECONDS = 24 * 3600.0


class BackgroundVerification(Engine):
    """Verifies copies on a thread, when it is the turn of its process."""

    POOL = "verification"

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        repairs: Repairs,
        settings: VerificationSettings,
        jobs: JobSettings,
        is_paused: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """While ``is_paused`` returns True, nothing is begun. It may raise Unavailable. ``clock``
        returns seconds since the epoch.

        Raises BadConfig if the settings name a store that is not enabled.
        """
        check_stores(settings, stores)
        self._work_to_do = VerifyWork(registry, stores, repairs, settings, is_paused, clock)
        self._is_on = settings.interval > 0
        # However often its processes die, the job goes on.
        endless = dataclasses.replace(jobs, poll=POLL_SECONDS, attempts=2**62)
        super().__init__(registry, {KIND: self._work_to_do}, endless, is_paused)

    def start_threads(self, number: int) -> None:
        """Verify on this many threads, 0 or 1, until ``stop``; none if this is turned off."""
        if self._is_on and number:
            super().start_threads(number)

    def run_one(self, job_id: str | None = None) -> bool:
        """Verify for one turn; return False if nothing is to be verified, or others do it."""
        if self._is_paused():
            return False
        self._work_to_do.start_repairs()
        if not self._work_to_do.is_due():
            return False
        self._make_job()
        return super().run_one(JOB_ID)

    def _make_job(self) -> None:
        with contextlib.suppress(errors.AlreadyExists):
            try:
                self._registry.get_job(JOB_ID)
            except errors.NotFound:
                now = model.now()
                self._registry.add_job(Job(id=JOB_ID, kind=KIND, created_at=now, updated_at=now))


class VerifyWork(Work):
    """Verifies the copies whose last check is too long ago, for one turn."""

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        repairs: Repairs,
        settings: VerificationSettings,
        is_paused: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` returns seconds since the epoch."""
        self._registry = registry
        self._stores = stores
        self._repairs = repairs
        self._settings = settings
        self._is_paused = is_paused
        self._clock = clock
        #: Until when stores and copies that could not be read are left out.
        self._away: dict[str, float] = {}
        self._unreadable: dict[Place, float] = {}

    def is_due(self) -> bool:
        """Whether there is anything to verify now. Raises Unavailable."""
        return next(self._due(), None) is not None

    def run(self, job: Job, context: Context) -> None:
        """Raises Waiting at the end of the turn."""
        turn = _Turn()
        verifier = Verifier(
            self._registry,
            self._stores,
            rate=self._settings.rate,
            check=context.check,
            wait=context.wait,
            clock=self._clock,
        )
        for place in self._due():
            result = verifier.verify_copy(*place)
            if result is not None:
                turn.count(result)
                context.report(turn.bytes, None)
            if result is None or result.state is CheckState.NOT_CHECKED:
                self._postpone(place)
            if context.seconds > TURN_SECONDS or self._is_paused():
                break
        turn.log()
        context.continue_after(0)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """The job never ends: it goes on later. Raises Waiting."""
        LOG.warning("Verification in the background waits: %s", error)
        context.continue_after(POLL_SECONDS)

    def _due(self) -> Iterator[Place]:
        """What is to be verified now, beginning with the copy whose check is the longest ago."""
        before, last = self._clock() - self._settings.interval, None
        while page := self._registry.copies_to_check(before, self._present_stores(), last):
            for last in page:
                place = last.image_id, last.location
                if last.location.store in self._present_stores() and self._is_readable(place):
                    yield place

    def _present_stores(self) -> list[str]:
        now = self._clock()
        names = stores_to_verify(self._settings, self._stores)
        return [name for name in names if self._away.get(name, now) <= now]

    def _is_readable(self, place: Place) -> bool:
        now = self._clock()
        return self._unreadable.get(place, now) <= now

    def _postpone(self, place: Place) -> None:
        """Leave a copy that could not be read, or its whole store, out for a while."""
        store_id, now = place[1].store, self._clock()
        self._unreadable = {each: end for each, end in self._unreadable.items() if end > now}
        try:
            self._stores.get(store_id).check()
            self._unreadable[place] = now + COPY_PAUSE_SECONDS
        except errors.StoreUnavailable:
            self._away[store_id] = now + STORE_PAUSE_SECONDS

    def start_repairs(self) -> None:
        """Start jobs that repair what is damaged, if they are configured. Raises Unavailable."""
        if not self._settings.repair:
            return
        last = None
        while page := self._registry.damaged_copies(last):
            for image_id in dict.fromkeys(copy.image_id for copy in page):
                with contextlib.suppress(errors.NotFound, errors.Conflict):
                    if not self._was_tried(image_id):
                        self._repairs.start(self._registry.get(image_id))
            last = page[-1]

    def _was_tried(self, image_id: str) -> bool:
        """Whether a job uses the image, or a repair has failed not long ago."""
        return any(
            job.state in UNFINISHED
            or (
                job.kind == repair.KIND
                and job.created_at.timestamp() > self._clock() - REPAIR_PAUSE_SECONDS
            )
            for job in self._registry.jobs_of(image_id)
        )


class _Turn:
    """What one turn has found, for the log."""

    def __init__(self) -> None:
        self._copies = dict.fromkeys(CheckState, 0)
        self.bytes = 0

    def count(self, result: CheckResult) -> None:
        self._copies[result.state] += 1
        self.bytes += result.bytes

    def log(self) -> None:
        fields = {str(state): count for state, count in self._copies.items()}
        LOG.info(
            "Verified %d copies with %d bytes in the background: %d damaged, %d not checked",
            sum(self._copies.values()),
            self.bytes,
            self._copies[CheckState.DAMAGED],
            self._copies[CheckState.NOT_CHECKED],
            extra={"extra": {**fields, "bytes": self.bytes}},
        )
