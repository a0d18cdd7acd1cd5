"""Sharing several images at once: ``/v1/cloudimages/members``.

The work is finished before the response: the job that it names has already ended.
"""

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

import webob

from imsgate import errors, model
from imsgate.api import schemas, views
from imsgate.api.description import NUMBER, TEXT, component, described, json_content, listed, record
from imsgate.api.ims import ids, jobs, projects
from imsgate.api.requester import identity
from imsgate.http import responses
from imsgate.http.json_body import json_object
from imsgate.http.request import Request
from imsgate.model import Image, Job, JobState, MemberStatus
from imsgate.records.attributes import check_project
from imsgate.records.sharing import Sharing
from imsgate.registry.base import Registry

#: IMS's types of these jobs, by method.
_TYPES = {
    "POST": "imsAddImageMembersJob",
    "DELETE": "imsDelImageMembersJob",
    "PUT": "imsUpdateImageMembersJob",
}
#: Maximum number of images, and of projects, in one request.
_MAX_ITEMS = 100

_IDS = {
    **listed({"type": "string", "minLength": 1, "maxLength": 255}),
    "minItems": 1,
    "maxItems": _MAX_ITEMS,
}
_SHARING = record({"images": _IDS, "projects": _IDS})
_ANSWER = record(
    {"images": _IDS, "project_id": TEXT, "status": {"enum": [str(each) for each in MemberStatus]}}
)
_SHARING_CHECKER, _ANSWER_CHECKER = schemas.Checker(_SHARING), schemas.Checker(_ANSWER)
_PAGE = record(
    {
        "members": listed(component("member")),
        "schema": TEXT,
        "page_info": record({"current_count": NUMBER, "next_marker": TEXT}, "next_marker"),
    }
)
_PARAMETERS = {"marker": TEXT, "limit": {"type": "integer", "minimum": 1}}

#: Changes one member of an image: of the project with this id.
Step = Callable[[Image, str], object]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CloudMembers:
    """The handlers."""

    sharing: Sharing
    registry: Registry

    @described(answers={200: json_content(_PAGE)}, query=_PARAMETERS)
    def index(self, request: Request, project_id: str, image_id: str) -> webob.Response:
        """IMS API, Image Sharing: Querying Image Members, oldest first."""
        projects.check(request, project_id)
        who = identity(request)
        image, members = self.sharing.members(who, ids.checked(image_id), "get_members")
        marker, limit = request.GET.get("marker"), request.GET.get("limit")
        if marker is not None:
            known = [member.member_id for member in members]
            if marker not in known:
                raise errors.BadQuery(parameter="marker", problem="no such member")
            members = members[known.index(marker) + 1 :]
        page = members[: _limit(limit)]
        info: dict[str, Any] = {"current_count": len(page)}
        if len(page) < len(members):
            info["next_marker"] = page[-1].member_id
        return responses.json_response(
            {
                "members": [views.member(member, image) for member in page],
                "schema": "/v2/schemas/members",
                "page_info": info,
            }
        )

    @described(answers={200: json_content(component("member"))})
    def show(
        self, request: Request, project_id: str, image_id: str, member_id: str
    ) -> webob.Response:
        """IMS API, Image Sharing: Querying an Image Member."""
        projects.check(request, project_id)
        who = identity(request)
        try:
            image, member = self.sharing.member(who, ids.checked(image_id), member_id)
        except errors.Forbidden as error:  # as at /v2/images
            raise errors.NotFound(what=f"Member {member_id}") from error
        return responses.json_response(views.member(member, image))

    @described(answers=jobs.ACCEPTED, body=json_content(_SHARING))
    def add(self, request: Request) -> webob.Response:
        """IMS API, Image Sharing: Adding Image Members in Batches."""
        return self._change_each(request, "add_member", self.sharing.add)

    @described(answers=jobs.ACCEPTED, body=json_content(_SHARING))
    def remove(self, request: Request) -> webob.Response:
        """IMS API, Image Sharing: Deleting Image Members in Batches."""
        return self._change_each(request, "delete_member", self.sharing.remove)

    def _change_each(self, request: Request, rule: str, step: Step) -> webob.Response:
        body, who = json_object(request), identity(request)
        _SHARING_CHECKER.check(body)
        shared_with = list(dict.fromkeys(body["projects"]))
        if rule == "add_member":
            for project in shared_with:
                check_project(project)
        images = [self.sharing.owned(who, image_id, rule) for image_id in _images(body)]
        return self._run(request, images, shared_with, step)

    @described(answers=jobs.ACCEPTED, body=json_content(_ANSWER))
    def answer(self, request: Request) -> webob.Response:
        """IMS API, Image Sharing: Updating the Status of Image Members in Batches."""
        body, who = json_object(request), identity(request)
        if body.get("project_id") != who.project_id:
            raise errors.BadAttribute("IMG.0030", problem="project_id: it is not the token's")
        _ANSWER_CHECKER.check(body)
        status = MemberStatus(body["status"])
        images = [self.sharing.received(who, image_id) for image_id in _images(body)]
        return self._run(
            request,
            images,
            [str(who.project_id)],
            lambda image, project: self.sharing.answer(image, project, status),
        )

    def _run(
        self, request: Request, images: list[Image], shared_with: list[str], step: Step
    ) -> webob.Response:
        """Call ``step`` for every image and project, and record a job with the results."""
        failure: errors.Error | None = None
        results = []
        for image in images:
            for project in shared_with:
                status = "success"
                try:
                    step(image, project)
                except errors.Error as error:
                    failure, status = failure or error, "failed"
                results.append(
                    {"image_id": image.shown_id, "project_id": project, "status": status}
                )
        job = _ended_job(request, results, failure)
        self.registry.add_job(job)
        return jobs.accepted(job)


def _ended_job(
    request: Request, results: list[dict[str, str]], failure: errors.Error | None
) -> Job:
    now = model.now()
    code = {} if failure is None else {"code": failure.code}
    return Job(
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


def _limit(text: str | None) -> int | None:
    """Raises BadQuery unless ``text`` is missing or a number of at least 1."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise errors.BadQuery(parameter="limit", problem="it must be a positive number")
    return int(text[:9])


def _images(body: dict[str, Any]) -> list[str]:
    """The ids of images in a valid body, without duplicates, which may differ in case."""
    images = map(ids.checked, body["images"])
    return list({image_id.lower(): image_id for image_id in images}.values())
