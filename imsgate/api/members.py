"""Sharing: ``/v2/images/{id}/members``."""

import dataclasses

import webob

from imsgate import errors
from imsgate.api import schemas, views
from imsgate.api.description import NO_CONTENT, TEXT, component, described, json_content, record
from imsgate.api.requester import identity
from imsgate.http import responses
from imsgate.http.json_body import json_body
from imsgate.http.request import Request
from imsgate.model import MemberStatus
from imsgate.records.sharing import Sharing

_NEW = record({"member": {**TEXT, "minLength": 1, "maxLength": 255}})
_ANSWER = record({"status": schemas.MEMBER["properties"]["status"]})
_NEW_CHECKER, _ANSWER_CHECKER = schemas.Checker(_NEW), schemas.Checker(_ANSWER)
_MEMBER = json_content(component("member"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The handlers of an image's members."""

    sharing: Sharing

    @described(answers={200: json_content(component("members"))})
    def index(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Sharing: List image members."""
        image, members = self.sharing.members(identity(request), image_id, "get_members")
        shown = [views.member(member, image) for member in members]
        return responses.json_response({"members": shown, "schema": "/v2/schemas/members"})

    @described(answers={200: _MEMBER})
    def show(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        """Image API v2, Sharing: Show image member details."""
        try:
            image, member = self.sharing.member(identity(request), image_id, member_id)
        except errors.Forbidden as error:
            raise errors.NotFound(what=f"Member {member_id}") from error
        return responses.json_response(views.member(member, image))

    @described(answers={200: _MEMBER}, body=json_content(_NEW), refusals=(409, 413))
    def create(self, request: Request, image_id: str) -> webob.Response:
        """Image API v2, Sharing: Create image member."""
        image = self.sharing.owned(identity(request), image_id, "add_member")
        body = json_body(request)
        _NEW_CHECKER.check(body)
        member_id = body["member"].strip()
        return responses.json_response(views.member(self.sharing.add(image, member_id), image))

    @described(answers={200: _MEMBER}, body=json_content(_ANSWER), refusals=(409,))
    def update(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        """Image API v2, Sharing: Update image member."""
        image, member = self.sharing.answerable(identity(request), image_id, member_id)
        body = json_body(request)
        _ANSWER_CHECKER.check(body)
        status = MemberStatus(body["status"])
        changed = self.sharing.answer(image, member.member_id, status)
        return responses.json_response(views.member(changed, image))

    @described(answers={204: NO_CONTENT}, refusals=(409,))
    def delete(self, request: Request, image_id: str, member_id: str) -> webob.Response:
        """Image API v2, Sharing: Delete image member."""
        image, member = self.sharing.removable(identity(request), image_id, member_id)
        self.sharing.remove(image, member.member_id)
        return webob.Response(status=204)
