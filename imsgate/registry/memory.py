"""The registry in the memory of one process: for tests, and as the contract in plain Python."""

import builtins
import copy
import dataclasses
import datetime
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from imsgate import model
from imsgate.config import Section
from imsgate.errors import AlreadyExists, Conflict, LocationTaken, MemberExists, NotFound
from imsgate.model import (
    DELETED,
    UNFINISHED,
    Image,
    Job,
    JobState,
    Limits,
    Location,
    Member,
    MemberStatus,
    Status,
    Upload,
    UploadState,
    Usage,
    Visibility,
)
from imsgate.quotas import limits
from imsgate.registry.base import (
    ALL_JOBS,
    LIST_BATCH_IMAGES,
    NOTHING,
    Condition,
    Enough,
    JobQuery,
    Op,
    Query,
    Registry,
    ordering,
    page_of_jobs,
    sets_updated_at,
)
from imsgate.registry.idempotency import Outcome
from imsgate.registry.memory_keys import MemoryKeys

_COMPARE: Mapping[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: operator.eq,
    Op.NEQ: operator.ne,
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
    Op.LT: operator.lt,
    Op.LTE: operator.le,
    Op.IN: lambda value, values: value in values,
}


class MemoryRegistry(MemoryKeys, Registry):
    """Records of one process, lost when it ends."""

    def __init__(self, settings: Section | None = None) -> None:
        super().__init__()
        self._images: dict[str, Image] = {}
        self._members: dict[tuple[str, str], Member] = {}
        self._jobs: dict[str, Job] = {}
        self._uploads: dict[str, Upload] = {}

    def add(
        self, image: Image, within: Limits | None = None, outcome: Outcome | None = None
    ) -> None:
        with self._lock:
            if image.id in self._images:
                raise AlreadyExists(what=f"Image {image.id}")
            self._check_claim(outcome)
            self._put(image, within)
            self._end(outcome)

    def _put(self, image: Image, within: Limits | None) -> Image:
        image = _frozen(image)
        self._check_places(image)
        if within is not None:
            usage = _sum(within.project, (self._images | {image.id: image}).values())
            limits.check(within, limits.grown(within, self._images.get(image.id), image), usage)
        self._images[image.id] = image
        return image

    def _check_places(self, image: Image) -> None:
        others = [other.locations for other in self._images.values() if other.id != image.id]
        for number, place in enumerate(image.locations):
            if place in image.locations[:number] or any(place in taken for taken in others):
                raise LocationTaken

    def get(self, image_id: str) -> Image:
        image = self._images.get(image_id)
        if image is None or image.status in DELETED:
            raise NotFound(what=f"Image {image_id}")
        return image

    def recall(self, image_id: str) -> Image:
        try:
            return self._images[image_id]
        except KeyError:
            raise NotFound(what=f"Image {image_id}") from None

    def list(self, query: Query, is_enough: Enough | None = None) -> builtins.list[Image]:
        order = ordering(query)
        with self._lock:
            images = [image for image in self._images.values() if self._listed(image, query)]
        for field, descending in reversed(order):
            images.sort(key=lambda image: _rank(image, field), reverse=descending)
        if query.marker is not None:
            images = [image for image in images if _after(image, query.marker, order)]
        images = images[: query.limit]
        if is_enough:
            for end in range(LIST_BATCH_IMAGES, len(images), LIST_BATCH_IMAGES):
                if is_enough(images[:end]):
                    return images[:end]
        return images

    def _listed(self, image: Image, query: Query) -> bool:
        return (
            image.status not in DELETED
            and self._visible(image, query)
            and all(_holds(image, condition) for condition in query.conditions)
            and query.properties.items() <= image.properties.items()
            and query.tags <= image.tags
        )

    def _visible(self, image: Image, query: Query) -> bool:
        own = query.viewer is not None and image.owner == query.viewer
        if query.visibility is not None and image.visibility != query.visibility:
            return False
        if own:
            return True
        if image.visibility == Visibility.COMMUNITY:
            return query.all_visibilities or query.visibility is not None
        if query.admin or image.visibility == Visibility.PUBLIC:
            return True
        return image.visibility == Visibility.SHARED and self._shared_with(image, query)

    def _shared_with(self, image: Image, query: Query) -> bool:
        member = self._members.get((image.id, query.viewer or ""))
        return member is not None and query.member_status in (None, member.status)

    def change(
        self, image_id: str, was: Mapping[str, Any], within: Limits | None = None, /, **to: Any
    ) -> Image:
        with self._lock:
            image = self._images.get(image_id)
            if image is None:
                raise NotFound(what=f"Image {image_id}")
            if any(getattr(image, field) != value for field, value in was.items()):
                raise Conflict(problem=f"Image {image_id} was changed by another request")
            self._check_transition(image, to)
            if sets_updated_at(to):
                to["updated_at"] = model.now()
            return self._put(dataclasses.replace(image, **to), within)

    def _check_transition(self, image: Image, to: Mapping[str, Any]) -> None:
        model.check_transition(image.id, image.status, to.get("status", image.status))

    def holds(self, location: Location) -> bool:
        with self._lock:
            return any(location in image.locations for image in self._images.values())

    def expired(self, now: float) -> builtins.list[Image]:
        with self._lock:
            return [image for image in self._images.values() if _is_expired(image, now)]

    def usage(self, project: str) -> Usage:
        with self._lock:
            return _sum(project, self._images.values())

    def add_member(self, member: Member, limit: int | None = None) -> None:
        with self._lock:
            self.get(member.image_id)
            limits.check_members(len(self.members(member.image_id)), limit)
            if (member.image_id, member.member_id) in self._members:
                raise MemberExists(image_id=member.image_id, member_id=member.member_id)
            self._members[member.image_id, member.member_id] = member

    def members(self, image_id: str) -> builtins.list[Member]:
        with self._lock:
            members = [
                member for member in self._members.values() if self._is_member(member, image_id)
            ]
        return sorted(members, key=operator.attrgetter("created_at", "member_id"))

    def _is_member(self, member: Member, image_id: str) -> bool:
        return member.image_id == image_id and self._images[image_id].status not in DELETED

    def change_member(self, image_id: str, member_id: str, status: MemberStatus) -> Member:
        with self._lock:
            member = self._member(image_id, member_id)
            changed = dataclasses.replace(member, status=status, updated_at=model.now())
            self._members[image_id, member_id] = changed
            return changed

    def remove_member(self, image_id: str, member_id: str) -> None:
        with self._lock:
            self._member(image_id, member_id)
            del self._members[image_id, member_id]

    def _member(self, image_id: str, member_id: str) -> Member:
        member = self._members.get((image_id, member_id))
        if member is None or not self._is_member(member, image_id):
            raise NotFound(what=f"Member {member_id}")
        return member

    def add_job(
        self,
        job: Job,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        outcome: Outcome | None = None,
        /,
        **to: Any,
    ) -> None:
        with self._lock:
            if job.id in self._jobs:
                raise AlreadyExists(what=f"Job {job.id}")
            self._check_claim(outcome)
            if job.image_id is not None:
                self._check_idle(job.image_id)
                self.change(job.image_id, was, within, **to)
            self._put_job(job)
            self._end(outcome)

    def _put_job(self, job: Job) -> None:
        arguments = MappingProxyType(copy.deepcopy(dict(job.arguments)))
        self._jobs[job.id] = dataclasses.replace(job, arguments=arguments)

    def add_with_job(
        self,
        image: Image,
        job: Job,
        within: Limits | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        with self._lock:
            if job.id in self._jobs:
                raise AlreadyExists(what=f"Job {job.id}")
            self.add(image, within, outcome)
            self._put_job(job)

    def _check_idle(self, image_id: str) -> None:
        if any(job.state in UNFINISHED for job in self.jobs_of(image_id)):
            raise Conflict(problem=f"Another job of image {image_id} has not ended")

    def get_job(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound(what=f"Job {job_id}") from None

    def jobs_of(self, image_id: str) -> builtins.list[Job]:
        with self._lock:
            return [job for job in self._oldest_first() if job.image_id == image_id]

    def jobs(
        self,
        project: str | None,
        marker: Job | None = None,
        limit: int = 25,
        query: JobQuery = ALL_JOBS,
    ) -> builtins.list[Job]:
        with self._lock:
            jobs = [job for job in self._jobs.values() if project in (None, job.project)]
        return page_of_jobs(jobs, marker, limit, query)

    def _oldest_first(self) -> builtins.list[Job]:
        return sorted(self._jobs.values(), key=_age)

    def free_jobs(
        self, kinds: Collection[str], now: float, limit: int = 1000
    ) -> builtins.list[Job]:
        with self._lock:
            return self._free(kinds, now)[:limit]

    def _free(self, kinds: Collection[str], now: float) -> builtins.list[Job]:
        return [job for job in self._oldest_first() if job.kind in kinds and _is_free(job, now)]

    def claim_job(
        self,
        kinds: Collection[str],
        now: float,
        lease: float,
        job_id: str | None = None,
        without: Collection[str] = (),
    ) -> Job | None:
        with self._lock:
            free = [
                job
                for job in self._free(kinds, now)
                if job_id in (None, job.id) and job.project not in without
            ]
            if not free:
                return None
            moment = model.now()
            job = self._jobs[free[0].id] = dataclasses.replace(
                free[0],
                state=JobState.RUNNING,
                epoch=free[0].epoch + 1,
                lease=lease,
                begin_at=free[0].begin_at or moment,
                updated_at=moment,
            )
            return job

    def change_job(
        self,
        job_id: str,
        epoch: int,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Job:
        with self._lock:
            job = self.get_job(job_id)
            if job.state != JobState.RUNNING or job.epoch != epoch:
                raise Conflict(
                    problem=f"Job {job_id} was taken over by another worker, or has ended"
                )
            changed = dataclasses.replace(job, **{"updated_at": model.now(), **fields})
            if job.image_id is not None and (was or to):
                self.change(job.image_id, was, within, **to)
            self._jobs[job_id] = changed
            return changed

    def cancel_jobs(self, image_id: str) -> None:
        with self._lock:
            for job in self.jobs_of(image_id):
                if job.state in UNFINISHED:
                    self._jobs[job.id] = dataclasses.replace(job, cancelled=True)

    def forget_jobs(self, before: datetime.datetime) -> int:
        with self._lock:
            ended = [job.id for job in self._jobs.values() if job.end_at and job.end_at < before]
            for job_id in ended:
                del self._jobs[job_id]
            return len(ended)

    def add_upload(
        self,
        upload: Upload,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> None:
        with self._lock:
            if upload.id in self._uploads:
                raise AlreadyExists(what=f"Upload {upload.id}")
            self.change(upload.image_id, was, within, **to)
            self._uploads[upload.id] = upload

    def get_upload(self, upload_id: str) -> Upload:
        try:
            return self._uploads[upload_id]
        except KeyError:
            raise NotFound(what=f"Upload {upload_id}") from None

    def upload_of(self, image_id: str) -> Upload | None:
        with self._lock:
            uploads = [one for one in self._uploads.values() if one.image_id == image_id]
        return max(uploads, key=_age, default=None)

    def change_upload(
        self,
        upload_id: str,
        epoch: int,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Upload:
        with self._lock:
            upload = self.get_upload(upload_id)
            upload.check_change(epoch, fields)
            changed = dataclasses.replace(upload, **{"updated_at": model.now(), **fields})
            if was or to:
                self.change(upload.image_id, was, within, **to)
            self._uploads[upload_id] = changed
            return changed

    def forget_uploads(self, before: float) -> int:
        with self._lock:
            expired = [
                upload.id
                for upload in self._uploads.values()
                if upload.expires < before and upload.state != UploadState.FINISHING
            ]
            for upload_id in expired:
                del self._uploads[upload_id]
            return len(expired)


def _sum(project: str, images: Iterable[Image]) -> Usage:
    usages = [dataclasses.asdict(image.usage) for image in images if image.owner == project]
    names = (field.name for field in dataclasses.fields(Usage))
    return Usage(**{name: sum(usage[name] for usage in usages) for name in names})


def _age(record: Job | Upload) -> tuple[Any, str]:
    return record.created_at, record.id


def _is_free(job: Job, now: float) -> bool:
    abandoned = job.state == JobState.RUNNING and job.lease is not None and job.lease < now
    return job.state == JobState.INIT or abandoned


def _frozen(image: Image) -> Image:
    """The record with copies of its collections, which the caller cannot change afterwards."""
    return dataclasses.replace(
        image,
        properties=MappingProxyType(dict(image.properties)),
        tags=frozenset(image.tags),
        locations=tuple(image.locations),
    )


def _holds(image: Image, condition: Condition) -> bool:
    field, op, value = getattr(image, condition.field), condition.op, condition.value
    if field is None:
        return condition.or_none or (op is Op.EQ and value is None)
    if value is None:
        return op is Op.NEQ
    return _COMPARE[op](field, value)


def _rank(image: Image, field: str) -> tuple[bool, Any]:
    value = getattr(image, field)
    return value is not None, value


def _after(image: Image, marker: Image, order: Sequence[tuple[str, bool]]) -> bool:
    for field, descending in order:
        rank, marker_rank = _rank(image, field), _rank(marker, field)
        if rank != marker_rank:
            return (rank > marker_rank) is not descending
    return False


def _is_expired(image: Image, now: float) -> bool:
    expired = image.upload_expires is not None and image.upload_expires < now
    return expired or image.status == Status.PENDING_DELETE
