"""Jobs: ``/v1/{project}/jobs/{id}`` and ``/v1/cloudimages/job/{id}``."""

import dataclasses
import datetime
import uuid
from typing import Any

import webob

from imsgate import errors
from imsgate.api.access import Access, identity
from imsgate.api.ims import projects
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.jobs import export, methods
from imsgate.model import Identity, Job, JobState
from imsgate.registry.base import Registry

#: This service's words for the kinds of jobs. The argument ``job_type`` is more precise, as
#: ``code`` is than the code that its reason stands for.
_TYPES = {
    methods.IMPORT: "imsImportImageJob",
    methods.REGISTER: "imsNativeImportImageJob",
    methods.CREATE: "imsImportImageJob",
    export.KIND: "imsNativeExportImageJob",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Jobs:
    """The handlers of jobs."""

    access: Access
    registry: Registry

    def show(self, request: Request, job_id: str, project_id: str | None = None) -> webob.Response:
        who = identity(request)
        self.access.enforce("get_job", who, {"project_id": who.project_id}, "jobs")
        return responses.json_response(view(self._job(who, job_id, project_id)))

    def _job(self, who: Identity, job_id: str, project_id: str | None) -> Job:
        """Another project's job does not exist, nor does one's own by another's path."""
        missing = errors.JobNotFound(job_id=job_id)
        try:
            job = self.registry.get_job(str(uuid.UUID(job_id)))
        except (ValueError, errors.NotFound) as error:
            raise missing from error
        named = job.project if project_id is None else projects.named(who, project_id)
        if job.project is None or named != job.project:
            raise missing
        if job.project != who.project_id and not self.access.policy.is_admin(who):
            raise missing
        return job


def shown_id(job: Job) -> str:
    """A job's id as this service writes ids: 32 hexadecimal digits."""
    return uuid.UUID(job.id).hex


def accepted(job: Job) -> webob.Response:
    """The answer to a call that started a job."""
    return responses.json_response({"job_id": shown_id(job)})


def view(job: Job) -> dict[str, Any]:
    """One job. ``progress`` (bytes done, and in all where that is known) is ours."""
    failed = job.state == JobState.FAIL
    return {
        "status": job.state,
        "job_id": shown_id(job),
        "job_type": job.arguments.get("job_type") or _TYPES.get(job.kind, job.kind),
        "begin_time": _time(job.begin_at or job.created_at),
        "end_time": _time(job.end_at) if job.end_at else "",
        "error_code": _code(job) if failed else None,
        "fail_reason": job.reason if failed else None,
        "entities": _entities(job),
        "progress": {"bytes": job.progress, "total": job.total},
    }


def _code(job: Job) -> str:
    return str(job.arguments.get("code") or errors.code_of(job.error_code or ""))


def _entities(job: Job) -> dict[str, Any]:
    """What the service shows depends on the kind of the job; so do these."""
    if "results" in job.arguments:
        return {"results": job.arguments["results"]}
    entities: dict[str, Any] = {"image_id": job.image_id}
    if job.kind == methods.CREATE:
        entities["image_name"] = job.arguments["name"]
        entities["process_percent"] = _fraction(job)
    return entities


def _fraction(job: Job) -> float:
    if job.state == JobState.SUCCESS:
        return 1.0
    return round(min(job.progress / job.total, 1.0), 2) if job.total else 0.0


def _time(when: datetime.datetime) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
