"""Sharing: ``/v2/images/{id}/members``."""

import dataclasses
from typing import Any

import webob

from imsgate import errors, model
from imsgate.api import schemas, views
from imsgate.api.access import Access, PolicyTarget, identity
from imsgate.http import responses
from imsgate.http.json_body import json_body
from imsgate.http.request import Request
from imsgate.model import Image, Member, MemberStatus, Visibility
from imsgate.registry.base import Registry


@dataclasses.dataclass(frozen=True, slots=True)
class Members:
    """The handlers of an image's members."""

    access: Access
    registry: Registry
    settings: Any
    schema: schemas.Checker

    def index(self, request: Request, image_id: str) -> webob.Response:
        _, members = self._readable(request, image_id, "get_members")
        return responses.json_response(
            {"members": [views.member(m) for m in members], "schema": "/v2/schemas/members"}
        )

    def show(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        try:
            _, members = self._readable(request, image_id, "get_member")
        except errors.Forbidden as error:
            raise errors.NotFound(what=f"Member {member_id}") from error
        return responses.json_response(views.member(_find(members, member_id)))

    def create(self, request: Request, image_id: str) -> webob.Response:
        image = _shared(self.access.image(request, image_id))
        self._owner_may(request, image, "add_member")
        body = json_body(request)
        if not isinstance(body, dict) or not isinstance(body.get("member"), str):
            raise errors.BadJson(problem='it must be an object with a member "member"')
        member_id = body["member"].strip()
        if not 0 < len(member_id) <= 255:
            raise errors.BadJson(problem="member: a project id is 1 to 255 characters long")
        return responses.json_response(views.member(self.add(image, member_id)))

    def add(self, image: Image, member_id: str) -> Member:
        """Share an image with a project. Raises AlreadyExists, QuotaExceeded."""
        now, quota = model.now(), self.settings.image_member_quota
        member = Member(image_id=image.id, member_id=member_id, created_at=now, updated_at=now)
        self.registry.add_member(member, None if quota < 0 else quota)
        return member

    def update(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        """The project itself answers; the owner cannot answer for it."""
        who = identity(request)
        image, members = self._readable(request, image_id, "get_member")
        member = _find(members, member_id)
        # An administrator may answer for any project, everybody else only for the own one.
        asked = None if member.member_id != who.project_id else member.member_id
        self.access.enforce("modify_member", who, PolicyTarget(image, asked), f"member {member_id}")
        body = json_body(request)
        if not isinstance(body, dict) or "status" not in body:
            raise errors.BadJson(problem='it must be an object with a member "status"')
        self.schema.check({"status": body["status"]})
        status = MemberStatus(body["status"])
        changed = self.registry.change_member(image.id, member.member_id, status)
        return responses.json_response(views.member(changed))

    def delete(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        image, members = self._readable(request, image_id, "get_member")
        member = _find(members, member_id)
        self._owner_may(request, image, "delete_member")
        self.registry.remove_member(image.id, member.member_id)
        return webob.Response(status=204)

    def _owner_may(self, request: Request, image: Image, rule: str) -> None:
        self.access.enforce(rule, identity(request), PolicyTarget(image), f"image {image.id}")

    def _readable(self, request: Request, image_id: str, rule: str) -> tuple[Image, list[Member]]:
        """The members the asker may see: all of its own image's, else only itself."""
        who = identity(request)
        image = _shared(self.access.image(request, image_id))
        members = self.registry.members(image.id)
        own = [member for member in members if member.member_id == who.project_id]
        if not self.access.owns(who, image):
            members = own
        asked = who.project_id if own else None
        self.access.enforce(rule, who, PolicyTarget(image, asked), f"image {image.id}")
        return image, members


def _shared(image: Image) -> Image:
    """Raises Forbidden for an image that has no members because it is not ``shared``."""
    if image.visibility != Visibility.SHARED:
        raise errors.Forbidden(action="use members: only shared images have them")
    return image


def _find(members: list[Member], member_id: str) -> Member:
    for member in members:
        if member.member_id == member_id:
            return member
    raise errors.NotFound(what=f"Member {member_id}")
