"""Registries that break one promise about changes of status each, and the test to fail."""

import contextlib
import threading
from unittest import mock

from imsgate.errors import Conflict
from imsgate.model import TRANSITIONS, Status, check_transition
from imsgate.registry.base import NOTHING
from imsgate.registry.memory import MemoryRegistry


class AllowsAnyTransition(MemoryRegistry):
    def _check_transition(self, image, to):
        pass


class AllowsAnyTransitionOfJobs(MemoryRegistry):
    """Only ``change`` checks."""

    def add_job(self, job, was=NOTHING, within=None, /, **to):
        with mock.patch.object(self, "_check_transition"):
            super().add_job(job, was, within, **to)

    def change_job(self, job_id, epoch, fields, was=NOTHING, within=None, /, **to):
        with mock.patch.object(self, "_check_transition"):
            return super().change_job(job_id, epoch, fields, was, within, **to)


class BelievesTheCaller(MemoryRegistry):
    """Judges the status that the caller expects, and nothing where it expects none."""

    def change(self, image_id, was, within=None, /, **to):
        if "status" in was and "status" in to:
            check_transition(image_id, was["status"], to["status"])
        with mock.patch.object(self, "_check_transition"):
            return super().change(image_id, was, within, **to)


class LooksBeforeItWrites(MemoryRegistry):
    """All threads look before one writes, and deletion comes first."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)
        self.deleted = threading.Event()

    def change(self, image_id, was, within=None, /, **to):
        super()._check_transition(self._images[image_id], to)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        if to["status"] != Status.DELETED:
            self.deleted.wait(10)
        changed = super().change(image_id, was, within, **to)
        self.deleted.set()
        return changed

    def _check_transition(self, image, to):
        pass


class WritesBeforeItChecks(MemoryRegistry):
    def change(self, image_id, was, within=None, /, **to):
        others = {field: value for field, value in to.items() if field != "status"}
        super().change(image_id, was, within, **others)
        return super().change(image_id, was, within, **to)


class EndsTheJobAllTheSame(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, within=None, /, **to):
        super().change_job(job_id, epoch, fields)
        return super().change_job(job_id, epoch, fields, was, within, **to)


class MakesItAConflict(MemoryRegistry):
    """As a compare-and-set does that found no row."""

    def change(self, image_id, was, within=None, /, **to):
        try:
            return super().change(image_id, was, within, **to)
        except ValueError:
            raise Conflict(problem="no row was changed") from None


class RefusesToStay(MemoryRegistry):
    def _check_transition(self, image, to):
        if "status" in to and to["status"] not in TRANSITIONS[image.status]:
            raise ValueError("no such transition")


class JudgesTheStatusFirst(MemoryRegistry):
    def change(self, image_id, was, within=None, /, **to):
        if image_id in self._images:
            self._check_transition(self._images[image_id], to)
        return super().change(image_id, was, within, **to)


REJECTED = [
    (AllowsAnyTransition, "illegal_changes_of_status"),
    (AllowsAnyTransitionOfJobs, "illegal_change_of_status_by_a_new_job"),
    (AllowsAnyTransitionOfJobs, "illegal_change_of_status_by_a_worker"),
    (BelievesTheCaller, "illegal_changes_of_status"),
    (LooksBeforeItWrites, "stored_status_is_judged"),
    (WritesBeforeItChecks, "illegal_changes_of_status"),
    (EndsTheJobAllTheSame, "illegal_change_of_status_by_a_worker"),
    (MakesItAConflict, "illegal_changes_of_status"),
    (MakesItAConflict, "illegal_change_of_status_by_a_new_job"),
    (RefusesToStay, "legal_changes_of_status"),
    (JudgesTheStatusFirst, "conflict_comes_before_an_illegal_change_of_status"),
]
