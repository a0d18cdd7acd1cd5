"""Sharing several images at once: ``/v1/cloudimages/members``.

What is asked for is done before the answer; the job that it names has ended already.
"""

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

import webob

from imsgate import errors, model
from imsgate.api.access import PolicyTarget, identity
from imsgate.api.ims import jobs
from imsgate.api.members import Members
from imsgate.http.json_body import json_object
from imsgate.http.request import Request
from imsgate.model import Image, Job, JobState, MemberStatus, Visibility

#: The kinds of these jobs, by method.
_TYPES = {
    "POST": "imsAddImageMembersJob",
    "DELETE": "imsDelImageMembersJob",
    "PUT": "imsUpdateImageMembersJob",
}
_MOST = 100

Step = Callable[[Image, str], object]


@dataclasses.dataclass(frozen=True, slots=True)
class CloudMembers:
    """The handlers. ``members`` are those of Glance's calls."""

    members: Members

    def add(self, request: Request) -> webob.Response:
        body = json_object(request)
        add = self.members.add
        return self._each(request, body, _texts(body, "projects"), "add_member", add)

    def remove(self, request: Request) -> webob.Response:
        body = json_object(request)
        projects = _texts(body, "projects")
        remove = self.members.registry.remove_member
        return self._each(
            request, body, projects, "delete_member", lambda image, one: remove(image.id, one)
        )

    def answer(self, request: Request) -> webob.Response:
        """Accept or reject images that are shared with the asking project."""
        body = json_object(request)
        who = identity(request)
        if body.get("project_id") != who.project_id:
            raise errors.BadAttribute("IMG.0030", problem="project_id: it is not the token's")
        try:
            status = MemberStatus(body.get("status", ""))
        except ValueError as error:
            problem = f"status: it is one of {', '.join(MemberStatus)}"
            raise errors.BadJson(problem=problem) from error
        change = self.members.registry.change_member
        return self._each(
            request,
            body,
            [str(who.project_id)],
            "modify_member",
            lambda image, one: change(image.id, one, status),
        )

    def _each(
        self, request: Request, body: dict[str, Any], projects: list[str], rule: str, step: Step
    ) -> webob.Response:
        """Do it for every image and project; none is touched unless all may be."""
        images = [self._image(request, image_id, rule) for image_id in _texts(body, "images")]
        failure: errors.Error | None = None
        results = []
        for image in images:
            for project in projects:
                status = "success"
                try:
                    step(image, project)
                except errors.Error as error:
                    failure, status = failure or error, "failed"
                results.append({"image_id": image.id, "project_id": project, "status": status})
        return jobs.accepted(self._record(request, results, failure))

    def _image(self, request: Request, image_id: str, rule: str) -> Image:
        who = identity(request)
        image = self.members.access.image(request, image_id)
        if image.visibility != Visibility.SHARED:
            raise errors.Forbidden(action="use members: only shared images have them")
        asked = who.project_id if rule == "modify_member" else None
        self.members.access.enforce(rule, who, PolicyTarget(image, asked), f"image {image.id}")
        return image

    def _record(self, request: Request, results: list[Any], failure: errors.Error | None) -> Job:
        now = model.now()
        code = {} if failure is None else {"code": failure.code}
        job = Job(
            id=str(uuid.uuid4()),
            kind="ims-members",
            project=identity(request).project_id,
            arguments={"job_type": _TYPES[request.method], "results": results, **code},
            state=JobState.SUCCESS if failure is None else JobState.FAIL,
            error_code=None if failure is None else failure.reason,
            reason=None if failure is None else str(failure),
            created_at=now,
            updated_at=now,
            begin_at=now,
            end_at=now,
        )
        self.members.registry.add_job(job)
        return job


def _texts(body: dict[str, Any], member: str) -> list[str]:
    value = body.get(member)
    good = isinstance(value, list) and 0 < len(value) <= _MOST
    if not good or not all(isinstance(one, str) and 0 < len(one) <= 255 for one in value or ()):
        raise errors.BadJson(problem=f"{member}: it is a list of 1 to {_MOST} texts")
    return list(dict.fromkeys(value or ()))
