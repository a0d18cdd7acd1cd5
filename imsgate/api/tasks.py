"""Jobs as Glance's tasks: ``/v2/tasks`` and ``/v2/images/{id}/tasks``; read-only."""

import dataclasses
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api.description import TEXT, component, described, json_content, listed, record
from imsgate.api.requester import identity
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.jobs.arguments import shown_image_id
from imsgate.jobs.tasks import STATUSES, TYPES
from imsgate.model import Identity, Job, JobState, isotime
from imsgate.records.access import Access
from imsgate.records.settings import ApiSettings
from imsgate.registry.base import JobQuery, Registry, page_of_jobs

#: Fields of jobs by the attributes of tasks that lists can be sorted by.
_SORT = {"created_at": "created_at", "updated_at": "updated_at", "status": "state", "id": "id"}

#: Members that only the project that asked for a job sees: a URI may contain a signature or a
#: password in its query.
_HIDDEN = dict.fromkeys(("input", "user_id", "request_id"))

_PARAMETERS = {
    "status": {"enum": list(STATUSES.values())},
    "type": TEXT,
    "sort_key": {"enum": list(_SORT)},
    "sort_dir": {"enum": ["asc", "desc"]},
    "limit": {"type": "integer", "minimum": 1},
    "marker": {**TEXT, "description": "The id of the last task of the previous page"},
}
_OF_IMAGE = record({"tasks": listed(component("task")), "next": TEXT}, "next")

#: Members that a list of tasks leaves out.
_DETAILS = ("message", "result", "input", "request_id", "user_id")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """The handlers of tasks. A page has as many tasks as a page of images."""

    access: Access
    registry: Registry
    settings: ApiSettings

    @described(answers={200: json_content(_OF_IMAGE)}, query=_PARAMETERS)
    def of_image(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Images: Show tasks associated with image. Oldest first, as many on a page
        as the service allows, unless the query says otherwise.

        Everybody who sees the image sees the progress of its jobs.
        """
        who = identity(request)
        image = self.access.image(who, image_id)
        params = dict(request.GET.items())
        query, limit = _query(params, "asc"), params.get("limit")
        jobs = self.registry.jobs_of(image.id)
        marker = _marker_of(jobs, params["marker"]) if "marker" in params else None
        size = self.settings.api_limit_max if limit is None else self._limit(limit)
        page = page_of_jobs(jobs, marker, size, query)
        owns = self.access.owns(who, image)
        document: dict[str, Any] = {
            "tasks": [
                view(job) if owns or _is_own(who, job) else {**view(job), **_HIDDEN} for job in page
            ]
        }
        if len(page) == size:
            document["next"] = _next(f"/v2/images/{image.shown_id}/tasks", params, page[-1])
        return responses.json_response(document)

    @described(answers={200: json_content(component("tasks"))}, query=_PARAMETERS)
    def index(self, request: Request) -> webob.Response:
        """Image API v2, Tasks: List tasks."""
        who = self._identity(request)
        params = dict(request.GET.items())
        query = _query(params, "desc")
        limit = self._limit(params.get("limit"))
        marker = params.get("marker")
        after = self._marker(who, marker) if marker is not None else None
        project = None if self.access.is_admin(who) else who.project_id or ""
        jobs = self.registry.jobs(project, after, limit, query)
        page = {
            "tasks": [_summary(view(job)) for job in jobs],
            "first": _link("/v2/tasks", {**params, "marker": ""}),
            "schema": "/v2/schemas/tasks",
        }
        if len(jobs) == limit:
            page["next"] = _next("/v2/tasks", params, jobs[-1])
        return responses.json_response(page)

    @described(answers={200: json_content(component("task"))})
    def show(self, request: Request, task_id: str) -> webob.Response:
        """Image API v2, Tasks: Show task details."""
        return responses.json_response(view(self._job(self._identity(request), task_id)))

    def _identity(self, request: Request) -> Identity:
        """The user, if it may see tasks. Raises Forbidden."""
        who = identity(request)
        self.access.check(who, "tasks_api_access", {"project_id": who.project_id}, "tasks")
        return who

    def _job(self, who: Identity, task_id: str) -> Job:
        try:
            job = self.registry.get_job(task_id.lower())
        except errors.NotFound:
            raise errors.NotFound(what=f"Task {task_id}") from None
        if not (self.access.is_admin(who) or _is_own(who, job)):
            raise errors.NotFound(what=f"Task {task_id}")
        return job

    def _marker(self, who: Identity, task_id: str) -> Job:
        try:
            return self._job(who, task_id)
        except errors.NotFound as error:
            raise errors.BadQuery(parameter="marker", problem="no such task") from error

    def _limit(self, text: str | None) -> int:
        if text is None:
            return self.settings.limit_param_default
        if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
            raise errors.BadQuery(parameter="limit", problem="it must be a positive number")
        return min(int(text[:9]), self.settings.api_limit_max)


def _query(params: Mapping[str, str], direction: str) -> JobQuery:
    """The jobs that a query string asks for. Raises BadQuery."""
    status, key = params.get("status"), params.get("sort_key", "created_at")
    direction = params.get("sort_dir", direction)
    if status is not None and status not in STATUSES.values():
        problem = f"it must be one of {', '.join(STATUSES.values())}"
        raise errors.BadQuery(parameter="status", problem=problem)
    if key not in _SORT:
        raise errors.BadQuery(parameter="sort_key", problem=f"it must be one of {', '.join(_SORT)}")
    if direction not in ("asc", "desc"):
        raise errors.BadQuery(parameter="sort_dir", problem="it must be asc or desc")
    return JobQuery(
        states=[state for state, name in STATUSES.items() if name == status] if status else None,
        kinds=_kinds(params["type"]) if "type" in params else None,
        sort=_SORT[key],
        descending=direction == "desc",
    )


def _kinds(type_: str) -> list[str]:
    """The kinds of jobs that are shown with this type."""
    named = [kind for kind, name in TYPES.items() if name == type_]
    return named if named or type_ in TYPES else [type_]


def _marker_of(jobs: Iterable[Job], task_id: str) -> Job:
    for job in jobs:
        if job.id == task_id.lower():
            return job
    raise errors.BadQuery(parameter="marker", problem="no such task")


def _next(path: str, params: Mapping[str, str], last: Job) -> str:
    return _link(path, {**params, "marker": last.id})


def _link(path: str, params: Mapping[str, str]) -> str:
    given = {name: text for name, text in params.items() if name != "marker" or text}
    return path + (f"?{urllib.parse.urlencode(given)}" if given else "")


def _is_own(who: Identity, job: Job) -> bool:
    """Whether the requesting project asked for the job."""
    return job.project is not None and job.project == who.project_id


def view(job: Job) -> dict[str, Any]:
    """One task. Glance has no member ``progress``; its values are bytes."""
    return {
        "id": job.id,
        "type": TYPES.get(job.kind, job.kind),
        "status": STATUSES[job.state],
        "owner": job.project,
        "message": job.reason or "",
        "result": _result(job),
        "input": _input(job.arguments),
        "image_id": shown_image_id(job),
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
    return {"image_id": shown_image_id(job)} if job.state == JobState.SUCCESS else None


def _input(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if "validation_data" in arguments:
        return {"validation_data": arguments["validation_data"]}
    return {"import_req": arguments.get("asked"), "backend": arguments.get("stores")}


def _summary(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task as a list shows it."""
    return {name: value for name, value in task.items() if name not in _DETAILS}
