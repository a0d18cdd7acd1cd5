"""Who may do what with an image: the seam between handlers and ``imsgate.policy``.

What another project may not see does not exist for it (404); what it may see but not
do is forbidden (403). Whether an image can be seen at all is not the policy's alone to
say: whatever ``get_image`` allows, a private image stays its project's, and a shared
one that of the projects it is shared with.
"""

import dataclasses
from typing import Any

from imsgate import errors
from imsgate.model import Identity, Image, Visibility
from imsgate.policy import Policy
from imsgate.registry.base import Registry
from imsgate.wsgi import Request

_BY_VISIBILITY = {
    Visibility.PUBLIC: "publicize_image",
    Visibility.COMMUNITY: "communitize_image",
}


def identity(request: Request) -> Identity:
    """Who asks. Raises Unauthenticated when no filter established it."""
    if request.identity is None:
        raise errors.Unauthenticated
    return request.identity


def target(image: Image, member_id: str | None = None) -> dict[str, Any]:
    """What a rule's check may name of an image; custom properties too, unless ours hide them.

    ``member_id`` is the asking project, if the image is shared with it.
    """
    ours = {
        "image_id": image.id,
        "id": image.id,
        "owner": image.owner,
        "project_id": image.owner,
        "member_id": member_id,
        "name": image.name,
        "status": str(image.status),
        "visibility": str(image.visibility),
        "protected": image.protected,
        "os_hidden": image.os_hidden,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
    }
    custom = {name: value for name, value in image.properties.items() if name not in ours}
    return {**custom, **{name: value for name, value in ours.items() if value is not None}}


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Finds images for the handlers, and lets nobody have what is not theirs."""

    registry: Registry
    policy: Policy

    def image(self, request: Request, image_id: str, rule: str = "get_image") -> Image:
        """The image, if the asker may do to it what ``rule`` stands for.

        Raises NotFound when the asker may not even see it, else Forbidden.
        """
        return self.permitted(identity(request), image_id, rule)

    def permitted(self, who: Identity, image_id: str, rule: str) -> Image:
        """As ``image``, for an identity."""
        image = self.registry.get(image_id.lower())
        member_id = self._member(who, image)
        if not self._sees(who, image, member_id):
            raise errors.NotFound(what=f"Image {image_id}")
        self.enforce(rule, who, target(image, member_id), f"image {image.id}")
        return image

    def _sees(self, who: Identity, image: Image, member_id: str | None) -> bool:
        theirs = (
            image.visibility in _BY_VISIBILITY or member_id is not None or self.owns(who, image)
        )
        return theirs and self.policy.allows("get_image", who, target(image, member_id))

    def _member(self, who: Identity, image: Image) -> str | None:
        """The asking project's id, if it is a member of the image."""
        if image.visibility != Visibility.SHARED or who.project_id in (None, image.owner):
            return None
        members = self.registry.members(image.id)
        found = any(member.member_id == who.project_id for member in members)
        return who.project_id if found else None

    def listed(self, who: Identity, image: Image) -> bool:
        """Whether an image that a registry's list holds for ``who`` is to be shown.

        A list holds no shared image but one's own and those one is a member of.
        """
        shared = image.visibility == Visibility.SHARED and image.owner != who.project_id
        return self.policy.allows(
            "get_image", who, target(image, who.project_id if shared else None)
        )

    def enforce(self, rule: str, who: Identity, subject: dict[str, Any], what: str) -> None:
        """Raises Forbidden unless ``who`` may do to ``subject`` what ``rule`` stands for."""
        if not self.policy.allows(rule, who, subject):
            raise errors.Forbidden(action=f"{rule.replace('_', ' ')} ({what}, by policy {rule})")

    def creatable(self, who: Identity, image: Image) -> None:
        """Raises Forbidden unless ``who`` may create this image."""
        self.enforce("add_image", who, target(image), f"owner {image.owner}")
        self.may_show(who, image, image.visibility)

    def may_show(self, who: Identity, image: Image, visibility: Visibility) -> None:
        """Raises Forbidden unless ``who`` may give the image that visibility."""
        rule = _BY_VISIBILITY.get(visibility)
        if rule:
            self.enforce(rule, who, target(image), f"image {image.id}")

    def is_admin(self, request: Request) -> bool:
        """Whether an administrator asks."""
        return self.policy.is_admin(identity(request))

    def owns(self, who: Identity, image: Image) -> bool:
        """Whether the image is the asking project's, or the asker an administrator."""
        own = image.owner is not None and image.owner == who.project_id
        return own or self.policy.is_admin(who)
