"""Sharing: ``/v2/images/{id}/members``."""

import dataclasses
from typing import Any

import webob

from imsgate import errors, model, wsgi
from imsgate.api import access, schemas, views
from imsgate.api.images import check_quota, json_body
from imsgate.model import Image, Member, MemberStatus, Visibility
from imsgate.registry.base import Registry
from imsgate.wsgi import Request


@dataclasses.dataclass(frozen=True, slots=True)
class Members:
    """The handlers of an image's members."""

    registry: Registry
    settings: Any
    schema: schemas.Checker

    def index(self, request: Request, image_id: str) -> webob.Response:
        _, members = self._readable(request, image_id)
        return wsgi.json_response(
            {"members": [views.member(m) for m in members], "schema": "/v2/schemas/members"}
        )

    def show(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        _, members = self._readable(request, image_id)
        return wsgi.json_response(views.member(_find(members, member_id)))

    def create(self, request: Request, image_id: str) -> webob.Response:
        image = self._shared(request, image_id, "share")
        body = json_body(request)
        if not isinstance(body, dict) or not isinstance(body.get("member"), str):
            raise errors.BadJson(problem='it must be an object with a member "member"')
        member_id = body["member"].strip()
        if not 0 < len(member_id) <= 255:
            raise errors.BadJson(problem="member: a project id is 1 to 255 characters long")
        count = len(self.registry.members(image.id)) + 1
        check_quota("members of an image", count, self.settings.image_member_quota)
        now = model.now()
        member = Member(image_id=image.id, member_id=member_id, created_at=now, updated_at=now)
        self.registry.add_member(member)
        return wsgi.json_response(views.member(member))

    def update(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        """The project itself answers; the owner cannot answer for it."""
        who = access.identity(request)
        image, members = self._readable(request, image_id)
        member = _find(members, member_id)
        if not who.is_admin and who.project_id != member_id:
            raise errors.Forbidden(action=f"answer for project {member_id}")
        access.check_writer(who, f"answer for project {member_id}")
        body = json_body(request)
        if not isinstance(body, dict) or "status" not in body:
            raise errors.BadJson(problem='it must be an object with a member "status"')
        self.schema.check({"status": body["status"]})
        status = MemberStatus(body["status"])
        changed = self.registry.change_member(image.id, member.member_id, status)
        return wsgi.json_response(views.member(changed))

    def delete(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        image = self._shared(request, image_id, "stop sharing")
        self.registry.remove_member(image.id, member_id)
        return webob.Response(status=204)

    def _shared(self, request: Request, image_id: str, action: str) -> Image:
        """The image to share. Raises Forbidden unless it is ``shared`` and the asker's."""
        who = access.identity(request)
        image = access.changeable(self.registry, image_id, who, action)
        if image.visibility != Visibility.SHARED:
            raise errors.Forbidden(action=f"{action} an image whose visibility is not shared")
        return image

    def _readable(self, request: Request, image_id: str) -> tuple[Image, list[Member]]:
        """The members the asker may see: all of its own image's, else only itself."""
        who = access.identity(request)
        image = access.visible(self.registry, image_id, who)
        if image.visibility != Visibility.SHARED:
            raise errors.Forbidden(action="list members of an image that is not shared")
        members = self.registry.members(image.id)
        if not access.owns(who, image):
            members = [member for member in members if member.member_id == who.project_id]
        return image, members


def _find(members: list[Member], member_id: str) -> Member:
    for member in members:
        if member.member_id == member_id:
            return member
    raise errors.NotFound(what=f"Member {member_id}")
