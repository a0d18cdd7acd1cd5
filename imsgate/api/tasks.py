"""Jobs as Glance's tasks: ``/v2/tasks`` and ``/v2/images/{id}/tasks``; read-only."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api.access import Access, identity
from imsgate.api.views import isotime
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.jobs import locations, methods
from imsgate.model import Identity, Job, JobState
from imsgate.registry.base import Registry

_STATUS = {
    JobState.INIT: "pending",
    JobState.RUNNING: "processing",
    JobState.SUCCESS: "success",
    JobState.FAIL: "failure",
}

#: Glance's words for the kinds of jobs; others keep their own.
_TYPES = {methods.IMPORT: "api_image_import", locations.KIND: "location_import"}


@dataclasses.dataclass(frozen=True, slots=True)
class Tasks:
    """The handlers of tasks. ``default`` and ``maximum`` are tasks on a page."""

    access: Access
    registry: Registry
    default: int
    maximum: int

    def of_image(self, request: Request, image_id: str) -> webob.Response:
        """Who sees the image sees how far it is; what was asked for, its own project only."""
        who, image = identity(request), self.access.image(request, image_id)
        owns = self.access.owns(who, image)
        tasks = [
            view(job) if owns or _began(who, job) else {**view(job), **_UNTOLD}
            for job in self.registry.jobs_of(image.id)
        ]
        return responses.json_response({"tasks": tasks})

    def index(self, request: Request) -> webob.Response:
        who = self._enter(request)
        limit = self._limit(request.GET.get("limit"))
        marker = request.GET.get("marker")
        after = self._marker(request, marker) if marker is not None else None
        project = None if self.access.is_admin(request) else who.project_id or ""
        jobs = self.registry.jobs(project, after, limit)
        page = {
            "tasks": [_stub(view(job)) for job in jobs],
            "first": "/v2/tasks",
            "schema": "/v2/schemas/tasks",
        }
        if len(jobs) == limit:
            page["next"] = f"/v2/tasks?limit={limit}&marker={jobs[-1].id}"
        return responses.json_response(page)

    def show(self, request: Request, task_id: str) -> webob.Response:
        return responses.json_response(view(self._job(request, task_id)))

    def _enter(self, request: Request) -> Identity:
        who = identity(request)
        self.access.enforce("tasks_api_access", who, {"project_id": who.project_id}, "tasks")
        return who

    def _job(self, request: Request, task_id: str) -> Job:
        who = self._enter(request)
        job = self.registry.get_job(task_id)
        if not (self.access.is_admin(request) or _began(who, job)):
            raise errors.NotFound(what=f"Task {task_id}")
        return job

    def _marker(self, request: Request, task_id: str) -> Job:
        try:
            return self._job(request, task_id)
        except errors.NotFound as error:
            raise errors.BadQuery(parameter="marker", problem="no such task") from error

    def _limit(self, text: str | None) -> int:
        if text is None:
            return self.default
        if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
            raise errors.BadQuery(parameter="limit", problem="it is a positive number")
        return min(int(text[:9]), self.maximum)


#: A URI may hold a signature or a password in its query.
_UNTOLD = dict.fromkeys(("input", "user_id", "request_id"))


def _began(who: Identity, job: Job) -> bool:
    """Whether the job is the asking project's."""
    return job.project is not None and job.project == who.project_id


def view(job: Job) -> dict[str, Any]:
    """One task. ``progress`` and ``total`` (bytes) are ours, in a member that Glance has not."""
    return {
        "id": job.id,
        "type": _TYPES.get(job.kind, job.kind),
        "status": _STATUS[job.state],
        "owner": job.project,
        "message": job.reason or "",
        "result": _result(job),
        "input": _input(job.arguments),
        "image_id": job.image_id,
        "user_id": job.arguments.get("user_id"),
        "request_id": job.arguments.get("request_id"),
        "created_at": isotime(job.created_at),
        "updated_at": isotime(job.updated_at),
        "expires_at": None,
        "progress": {"bytes": job.progress, "total": job.total},
        "self": f"/v2/tasks/{job.id}",
        "schema": "/v2/schemas/task",
    }


def _result(job: Job) -> dict[str, Any] | None:
    if job.state == JobState.FAIL:
        return {"error_code": job.error_code}
    return {"image_id": job.image_id} if job.state == JobState.SUCCESS else None


def _input(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if "validation_data" in arguments:
        return {"validation_data": arguments["validation_data"]}
    return {"import_req": arguments.get("asked"), "backend": arguments.get("stores")}


def _stub(task: Mapping[str, Any]) -> dict[str, Any]:
    """What a list shows of a task."""
    whole = ("message", "result", "input", "request_id", "user_id")
    return {name: value for name, value in task.items() if name not in whole}
