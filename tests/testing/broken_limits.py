"""Registries that break one promise about limits each, and the test to fail."""

import contextlib
import dataclasses
import threading
from unittest import mock

from imsgate.errors import OverLimit
from imsgate.model import DELETED, Status, Usage
from imsgate.quotas import limits
from imsgate.registry.base import NOTHING
from imsgate.registry.memory import MemoryRegistry, images


class Ignores(MemoryRegistry):
    def _put(self, image, within):
        return super()._put(image, None)


class IgnoresForNew(MemoryRegistry):
    def add(self, image, within=None):
        super().add(image)


class IgnoresForJobs(MemoryRegistry):
    def add_job(self, job, was=NOTHING, within=None, /, **to):
        super().add_job(job, was, **to)


class IgnoresForNewWithJobs(MemoryRegistry):
    def add_with_job(self, image, job, within=None):
        super().add_with_job(image, job)


class IgnoresForChangesOfJobs(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, within=None, /, **to):
        return super().change_job(job_id, epoch, fields, was, **to)


class EndsTheJobAllTheSame(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, within=None, /, **to):
        super().change_job(job_id, epoch, fields)
        return super().change_job(job_id, epoch, fields, was, within, **to)


class WritesBeforeItChecks(MemoryRegistry):
    def _put(self, image, within):
        before = self._images.get(image.id)
        super()._put(image, None)
        if within:
            usage = self.usage(within.project)
            limits.check(within, limits.grown(within, before, image), usage)
        return image


class LooksBeforeItGrows(MemoryRegistry):
    """All threads may have looked before one writes."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def change(self, image_id, was, within=None, /, **to):
        if within:
            before = self._images[image_id]
            deltas = limits.grown(within, before, dataclasses.replace(before, **to))
            try:
                limits.check(within, deltas, self._grown(within, deltas))
            except OverLimit:
                self.all_looked.abort()
                raise
            with contextlib.suppress(threading.BrokenBarrierError):
                self.all_looked.wait()
        return super().change(image_id, was, **to)

    def _grown(self, within, deltas):
        usage = self.usage(within.project)
        return dataclasses.replace(usage, **{k: getattr(usage, k) + v for k, v in deltas.items()})


class RefusesWhateverIsOverTheLimit(MemoryRegistry):
    def _put(self, image, within):
        if within:
            limits.check(within, dict.fromkeys(within.maximum, 0), self.usage(within.project))
        return super()._put(image, within)


class TakesAnyOwner(MemoryRegistry):
    def _put(self, image, within):
        owned = within and image.owner == within.project
        return super()._put(image, within if owned else None)


class NothingMeansZero(MemoryRegistry):
    def _put(self, image, within):
        if within:
            zeros = {field.name: 0 for field in dataclasses.fields(Usage)}
            within = dataclasses.replace(within, maximum=zeros | dict(within.maximum))
        return super()._put(image, within)


class _Counts(MemoryRegistry):
    """Sums a modified copy of each image."""

    def usage(self, project):
        with self._lock:
            return images._sum(project, map(self.changed, self._images.values()))


class CountsDeleted(_Counts):
    def changed(self, image):
        return (
            dataclasses.replace(image, status=Status.ACTIVE) if image.status in DELETED else image
        )


class ForgetsKilled(_Counts):
    def changed(self, image):
        killed = image.status == Status.KILLED
        return dataclasses.replace(image, status=Status.DELETED) if killed else image


class CountsOneCopy(_Counts):
    def changed(self, image):
        return dataclasses.replace(image, locations=image.locations[:1])


class ForgetsReservations(_Counts):
    def changed(self, image):
        return dataclasses.replace(image, upload_reserved=0)


class CountsStagedAsStored(_Counts):
    def changed(self, image):
        staged = image.status in (Status.UPLOADING, Status.IMPORTING)
        return dataclasses.replace(image, status=Status.SAVING) if staged else image


class IgnoresCase(MemoryRegistry):
    def usage(self, project):
        def total(name, images):
            return _sum("project", [dataclasses.replace(one, owner=_lower(one)) for one in images])

        with mock.patch.object(images, "_sum", total):
            return super().usage(project)


def _lower(image):
    return image.owner and image.owner.lower()


_sum = images._sum


class SumOfNothingIsNone(MemoryRegistry):
    """As SUM, which is NULL without rows."""

    def usage(self, project):
        return super().usage(project) if self._images else None


REJECTED = [
    (Ignores, "number_of_images_is_limited"),
    (Ignores, "bytes_are_limited_to_the_last"),
    (IgnoresForNew, "number_of_images_is_limited"),
    (IgnoresForJobs, "jobs_are_limited_with_their_images"),
    (IgnoresForNewWithJobs, "new_images_with_jobs_are_limited"),
    (IgnoresForChangesOfJobs, "jobs_are_limited_with_their_images"),
    (EndsTheJobAllTheSame, "jobs_are_limited_with_their_images"),
    (WritesBeforeItChecks, "number_of_images_is_limited"),
    (WritesBeforeItChecks, "bytes_are_limited_to_the_last"),
    (LooksBeforeItGrows, "many_at_once_keep_within_the_limit"),
    (IgnoresForNew, "many_first_ones_at_once"),
    (RefusesWhateverIsOverTheLimit, "what_does_not_grow_is_not_refused"),
    (TakesAnyOwner, "limits_are_those_of_the_owner"),
    (NothingMeansZero, "what_is_not_named_is_not_limited"),
    (CountsDeleted, "what_an_image_counts_for"),
    (ForgetsKilled, "what_an_image_counts_for"),
    (CountsOneCopy, "what_an_image_counts_for"),
    (ForgetsReservations, "what_an_image_counts_for"),
    (CountsStagedAsStored, "what_an_image_counts_for"),
    (IgnoresCase, "usage_is_the_sum_over_the_projects_images"),
    (SumOfNothingIsNone, "usage_is_the_sum_over_the_projects_images"),
]
