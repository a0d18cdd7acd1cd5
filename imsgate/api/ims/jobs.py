"""Jobs: ``/v1/{project_id}/jobs/{job_id}`` and ``/v1/cloudimages/job/{job_id}``."""

import dataclasses
import datetime
import uuid
from typing import Any

import webob

from imsgate import errors
from imsgate.api.description import NUMBER, TEXT, described, json_content, nullable, record
from imsgate.api.ims import projects
from imsgate.api.requester import identity
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.jobs import export, methods
from imsgate.jobs.arguments import shown_image_id
from imsgate.model import Identity, Job, JobState
from imsgate.records.access import Access
from imsgate.registry.base import Registry

#: IMS's types for kinds of jobs. A job's argument ``job_type`` takes precedence, as ``code`` does
#: over the code of its error's reason.
_TYPES = {
    methods.IMPORT: "imsImportImageJob",
    methods.REGISTER: "imsNativeImportImageJob",
    methods.CREATE: "imsImportImageJob",
    methods.COPY: "imsCopyImageInRegionJob",
    export.KIND: "imsNativeExportImageJob",
}


_JOB = record(
    {
        "status": {"enum": [str(state) for state in JobState]},
        "job_id": TEXT,
        "job_type": TEXT,
        "begin_time": TEXT,
        "end_time": TEXT,
        "error_code": nullable(TEXT),
        "fail_reason": nullable(TEXT),
        "entities": {"type": "object"},
        "progress": record({"bytes": NUMBER, "total": nullable(NUMBER)}),
    }
)
#: The answers of a call that started a job.
ACCEPTED = {200: json_content(record({"job_id": TEXT}))}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """The handler of jobs."""

    access: Access
    registry: Registry

    @described(answers={200: json_content(_JOB)})
    def show(self, request: Request, job_id: str, project_id: str | None = None) -> webob.Response:
        """IMS API, Image Jobs: Querying the Status (Progress) of an Asynchronous Job."""
        who = identity(request)
        self.access.check(who, "get_job", {"project_id": who.project_id}, "jobs")
        return responses.json_response(view(self._job(who, job_id, project_id)))

    def _job(self, who: Identity, job_id: str, project_id: str | None) -> Job:
        """Raises JobNotFound for another project's job, and for a path that names another
        project than the job's."""
        missing = errors.JobNotFound(job_id=job_id)
        try:
            job = self.registry.get_job(str(uuid.UUID(job_id)))
        except (ValueError, errors.NotFound) as error:
            raise missing from error
        named = job.project if project_id is None else projects.named(who, project_id)
        if job.project is None or named != job.project:
            raise missing
        if job.project != who.project_id and not self.access.is_admin(who):
            raise missing
        return job


def shown_id(job: Job) -> str:
    """A job's id in the format of IMS: 32 hexadecimal digits."""
    return uuid.UUID(job.id).hex


def accepted(job: Job) -> webob.Response:
    """The response to a call that started a job."""
    return responses.json_response({"job_id": shown_id(job)})


def view(job: Job) -> dict[str, Any]:
    """One job. IMS has no member ``progress``; its values are bytes."""
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
    """The entities of a job. As in IMS, they depend on the kind of job."""
    if "results" in job.arguments:
        return {"results": job.arguments["results"]}
    entities: dict[str, Any] = {"image_id": shown_image_id(job)}
    if job.kind in (methods.CREATE, methods.COPY):
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
