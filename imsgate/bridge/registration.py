"""Registrations: IMS takes an uploaded object as the data of an image."""

import contextlib
import dataclasses
import logging
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from imsgate import errors
from imsgate.bridge.records import CALL, FILE
from imsgate.bridge.remote import Remote
from imsgate.errors import BadConfig
from imsgate.jobs.arguments import requested_by
from imsgate.jobs.context import Context, Interrupted
from imsgate.jobs.engine import Engine
from imsgate.jobs.import_cleanup import DATA_FIELDS
from imsgate.jobs.progress import with_failure, with_progress
from imsgate.jobs.work import Work
from imsgate.model import Image, Job, JobState, Location, Status
from imsgate.registry.base import Condition, Op, Query, Registry
from imsgate.stores.base import Addressed, Store
from imsgate.stores.enabled import Stores
from imsgate.transfer import residue
from imsgate.transfer.settings import GROUP as UPLOAD
from imsgate.transfer.settings import UploadSettings

LOG = logging.getLogger(__name__)

#: The kind of these jobs.
KIND = "bridge-register"

#: Arguments of a job: whether IMS was asked to register the object, and its job, if known.
_ASKED, _REMOTE_JOB = "asked", "remote_job"
#: The code of IMS for the failure, which its job query shows.
_CODE = "code"

#: The largest object that IMS registers, in bytes.
MAX_BYTES = 128 << 30

#: A valid key of an object.
_SOME_KEY = "00000000-0000-0000-0000-000000000000.0"
_SWEPT_IMAGES = 100
_NO_DATA: dict[str, Any] = {**dict.fromkeys(DATA_FIELDS), "locations": ()}


def image_url(store: Store, location: str) -> str | None:
    """``bucket:object`` of an object; None if the store does not keep it in a bucket."""
    url = store.url(location) if isinstance(store, Addressed) else None
    parts = urllib.parse.urlsplit(url or "")
    bucket, _, key = parts.path.removeprefix("/").partition("/")
    return f"{bucket}:{key}" if parts.scheme.startswith("s3") and bucket and key else None


def check_store(stores: Stores, settings: UploadSettings) -> None:
    """Raises BadConfig unless the store that data is staged in is a bucket. One that is unavailable
    now is not checked."""
    name = settings.staging_store or stores.default
    key = (
        f"[{UPLOAD}] staging_store" if settings.staging_store else "[glance_store] default_backend"
    )
    store = next((backend.started for backend in stores if backend.id == name), None)
    if store is not None and image_url(store, _SOME_KEY) is None:
        problem = f"the image service imports from buckets only, and the store {name!r} is none"
        raise BadConfig(key, problem)


def check_size(limit: int) -> None:
    """Raises BadConfig if images of ``limit`` bytes cannot be registered."""
    if limit > MAX_BYTES:
        problem = f"the image service registers {MAX_BYTES} bytes at most"
        raise BadConfig("[sizelimit] image_size_cap", problem)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Registrations:
    """Starts the jobs that register complete data."""

    registry: Registry
    engine: Engine

    def start_if_due(self, image_id: str, request_id: str | None = None) -> Job | None:
        """Start the registration of an image whose data is complete, unless its client is to ask
        for that; return its running job, if there is one."""
        try:
            image = self.registry.get(image_id.lower())
        except errors.NotFound:
            return None
        if _is_complete(image) and image.properties.get(CALL) == FILE:
            with contextlib.suppress(errors.Conflict):  # somebody else has started it
                return self.start(image, user_id=None, request_id=request_id)
        if image.status == Status.IMPORTING:
            jobs = self.registry.jobs_of(image.id)
            return jobs[-1] if jobs else None
        return None

    def start(self, image: Image, *, user_id: str | None, request_id: str | None) -> Job:
        """Start the registration of an image. Raises WrongStatus if its data is not complete, and
        Conflict."""
        if not _is_complete(image):
            status, needed = image.status, Status.UPLOADING
            raise errors.WrongStatus(image_id=image.shown_id, status=status, needed=needed)
        return self.engine.start(
            KIND,
            project=image.owner,
            image_id=image.id,
            arguments={
                "job_type": "imsNativeImportImageJob",
                **requested_by(user_id=user_id, request_id=request_id),
            },
            was={"status": Status.UPLOADING, "upload_key": None},
            status=Status.IMPORTING,
            properties=with_progress(image),
        )

    def sweep(self) -> None:
        """Start what a process has not started before it died."""
        complete = Condition("status", Op.EQ, Status.UPLOADING)
        query = Query(admin=True, all_visibilities=True, conditions=[complete], limit=_SWEPT_IMAGES)
        while images := self.registry.list(query):
            for image in images:
                self.start_if_due(image.id)
            query = dataclasses.replace(query, marker=images[-1])


def _is_complete(image: Image) -> bool:
    return image.status == Status.UPLOADING and image.upload_key is None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegisterWork(Work):
    """The work of these jobs.

    No thread waits for IMS: the job is handed back until ``poll_interval`` seconds later. Until
    ``timeout`` seconds after its start it goes on, whatever IMS answers, unless it refuses the
    object. ``clock`` returns seconds since the epoch.
    """

    registry: Registry
    stores: Stores
    remote: Remote
    poll_interval: float
    timeout: float
    says_why: bool = True
    clock: Callable[[], float] = time.time

    def is_transient(self, error: errors.Error) -> bool:
        """``run`` waits for IMS by itself."""
        return False

    def run(self, job: Job, context: Context) -> None:
        context.check()
        image = context.image()
        try:
            self._register(job, context, image)
        except errors.Unavailable as error:
            self._wait(job, context, error)
        if not self._discard(image):
            raise Interrupted("its object could not be removed")
        context.succeed(lambda image: {"status": Status.DELETED, "locations": ()})

    def _register(self, job: Job, context: Context, image: Image) -> None:
        """Returns once IMS has the image. Raises Interrupted while it has not."""
        asked = _ASKED in job.arguments
        known = self._follow(job, context, image) if _REMOTE_JOB in job.arguments else False
        status = self._status(job, image)
        if status == Status.ACTIVE and asked:
            return
        if status == Status.QUEUED and not known:
            self._ask(job, context, image)
        elif not asked:
            raise errors.WrongStatus(image_id=image.id, status=status, needed=Status.QUEUED)
        elif status in (Status.KILLED, Status.DELETED, Status.PENDING_DELETE):
            raise errors.RegistrationFailed(
                vendor_code="IMG.0057", problem=f"the image is {status} in the image service"
            )
        self._wait(job, context)

    def _follow(self, job: Job, context: Context, image: Image) -> bool:
        """Whether IMS knows its job. Returns once that has succeeded; raises RegistrationFailed if
        it has failed, and Interrupted while it runs."""
        found = self.remote.job(job.project, job.arguments[_REMOTE_JOB])
        if found is None:
            return False
        if found.state == JobState.FAIL:
            raise errors.RegistrationFailed(vendor_code=found.code, problem=found.reason)
        if found.state != JobState.SUCCESS:
            size = image.size or 0
            context.report(int(size * found.done), size)
            self._wait(job, context)
        return True

    def _status(self, job: Job, image: Image) -> str:
        """The status of the image in IMS. Raises Cancelled if it is gone."""
        try:
            return str(self.remote.image(job.project, image.id)["status"])
        except errors.NoImageUpstream as error:
            raise errors.Cancelled(image_id=image.id) from error

    def _ask(self, job: Job, context: Context, image: Image) -> None:
        """Ask IMS to register the object. If its answer is lost, the image's status decides."""
        location = image.locations[0]
        url = image_url(self.stores.get(location.store), location.url)
        assert url is not None, "checked at the start"
        context.add_arguments({_ASKED: True})
        context.renew()
        try:
            job_id = self.remote.register(job.project, image.id, url)
        except errors.RegistrationFailed:
            # An earlier request whose answer was lost may have arrived after all.
            if _ASKED not in job.arguments or self._status(job, image) == Status.QUEUED:
                raise
            return
        context.add_arguments({_REMOTE_JOB: job_id})

    def _wait(self, job: Job, context: Context, error: errors.Error | None = None) -> None:
        """Let the job continue later. Raises Interrupted, or an error if it took too long."""
        if self.clock() > job.created_at.timestamp() + self.timeout:
            problem = f"the registration did not end within {self.timeout:.0f} s"
            raise error or errors.RegistrationFailed(vendor_code="IMG.1075", problem=problem)
        pause = self.poll_interval
        if isinstance(error, errors.UpstreamBusy):
            pause = max(pause, error.details["seconds"])
        if error is not None:
            LOG.warning("Job %s waits for the image service: %s", job.id, error)
        context.continue_after(pause)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """Remove the object. The image can be uploaded again, unless IMS no longer has it."""
        gone = isinstance(error, errors.Cancelled)

        def changes(image: Image) -> dict[str, Any]:
            properties = with_failure(
                image,
                failed=[place.store for place in image.locations],
                error=error,
                says_why=self.says_why,
            )
            status = Status.DELETED if gone else Status.QUEUED
            return {"status": status, **_NO_DATA, "properties": properties}

        try:
            if not self._discard(context.image()):
                raise Interrupted("its object could not be removed")
            context.add_arguments({_CODE: error.code})
            context.fail(error, changes)
        except errors.Cancelled as cancelled:
            context.fail(cancelled)  # the object goes with the image

    def _discard(self, image: Image) -> bool:
        """Remove the object, now or later; False if neither is possible now."""
        discarded = [self._discard_at(location) for location in image.locations]
        return all(discarded)

    def _discard_at(self, location: Location) -> bool:
        def store() -> Store:
            return self.stores.get(location.store)

        return residue.discard(self.registry, store, location.store, location.url)
