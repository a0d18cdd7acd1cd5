"""Who may do what with an image: the seam between handlers and ``imsgate.auth.policy``.

What another project may not see does not exist for it (404); what it may see but not
do is forbidden (403). Whether an image can be seen at all is not the policy's alone to
say: whatever ``get_image`` allows, a private image stays its project's, and a shared
one that of the projects it is shared with.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imsgate import errors
from imsgate.auth.policy import Policy
from imsgate.http.request import Request
from imsgate.model import DELETED, Identity, Image, Visibility
from imsgate.registry.base import Registry

_BY_VISIBILITY = {
    Visibility.PUBLIC: "publicize_image",
    Visibility.COMMUNITY: "communitize_image",
}


def identity(request: Request) -> Identity:
    """Who asks. Raises Unauthenticated when no filter established it."""
    if request.identity is None:
        raise errors.Unauthenticated
    return request.identity


#: What a rule's check may name of an image, and the field that it stands for.
_NAMED = {
    "image_id": "id",
    "id": "id",
    "owner": "owner",
    "project_id": "owner",
    "name": "name",
    "status": "status",
    "visibility": "visibility",
    "protected": "protected",
    "os_hidden": "os_hidden",
    "disk_format": "disk_format",
    "container_format": "container_format",
}
_MEMBER = "member_id"


class PolicyTarget(Mapping[str, Any]):
    """What a rule's check may name of an image; custom properties too, unless ours hide them.

    Looked up when asked for: most rules name two or three of a list's thousand images.
    """

    __slots__ = ("_image", "_member_id")

    def __init__(self, image: Image, member_id: str | None = None) -> None:
        """``member_id`` is the asking project, if the image is shared with it."""
        self._image = image
        self._member_id = member_id

    def get(self, name: str, default: Any = None) -> Any:
        if name == _MEMBER:
            found = self._member_id
        elif name in _NAMED:
            found = getattr(self._image, _NAMED[name])
        else:
            found = self._image.properties.get(name)
        return default if found is None else found

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        names = (_MEMBER, *_NAMED, *(one for one in self._image.properties if one not in _OURS))
        return (name for name in names if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_OURS = frozenset({_MEMBER, *_NAMED})


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
        return self._permitted(who, self.registry.get(image_id.lower()), rule)

    def marker(self, request: Request, image_id: str) -> Image:
        """The image that a page of the asker's list ended with.

        One's own may be deleted, and any where an administrator asks: whoever deletes
        what a page held goes on behind it. Raises NotFound and Forbidden.
        """
        who = identity(request)
        image = self.registry.recall(image_id.lower())
        if image.status in DELETED and not self.owns(who, image):
            raise errors.NotFound(what=f"Image {image.id}")
        return self._permitted(who, image, "get_image")

    def _permitted(self, who: Identity, image: Image, rule: str) -> Image:
        member_id = self._member(who, image)
        if not self._sees(who, image, member_id):
            raise errors.NotFound(what=f"Image {image.id}")
        self.enforce(rule, who, PolicyTarget(image, member_id), f"image {image.id}")
        return image

    def _sees(self, who: Identity, image: Image, member_id: str | None) -> bool:
        theirs = (
            image.visibility in _BY_VISIBILITY or member_id is not None or self.owns(who, image)
        )
        return theirs and self.policy.allows("get_image", who, PolicyTarget(image, member_id))

    def _member(self, who: Identity, image: Image) -> str | None:
        """The asking project's id, if it is a member of the image."""
        if image.visibility != Visibility.SHARED or who.project_id in (None, image.owner):
            return None
        members = self.registry.members(image.id)
        found = any(member.member_id == who.project_id for member in members)
        return who.project_id if found else None

    def listed(self, who: Identity, images: Iterable[Image]) -> list[Image]:
        """Those of a registry's list for ``who`` that are to be shown.

        It holds no shared image but one's own and those one is a member of.
        """
        allows = self.policy.judge("get_image", who)

        def shown(image: Image) -> bool:
            shared = image.visibility == Visibility.SHARED and image.owner != who.project_id
            return allows(PolicyTarget(image, who.project_id if shared else None))

        return list(filter(shown, images))

    def enforce(self, rule: str, who: Identity, subject: Mapping[str, Any], what: str) -> None:
        """Raises Forbidden unless ``who`` may do to ``subject`` what ``rule`` stands for."""
        if not self.policy.allows(rule, who, subject):
            raise errors.Forbidden(action=f"{rule.replace('_', ' ')} ({what}, by policy {rule})")

    def creatable(self, who: Identity, image: Image) -> None:
        """Raises Forbidden unless ``who`` may create this image."""
        self.enforce("add_image", who, PolicyTarget(image), f"owner {image.owner}")
        self.may_show(who, image, image.visibility)

    def may_show(self, who: Identity, image: Image, visibility: Visibility) -> None:
        """Raises Forbidden unless ``who`` may give the image that visibility."""
        rule = _BY_VISIBILITY.get(visibility)
        if rule:
            self.enforce(rule, who, PolicyTarget(image), f"image {image.id}")

    def is_admin(self, request: Request) -> bool:
        """Whether an administrator asks."""
        return self.policy.is_admin(identity(request))

    def owns(self, who: Identity, image: Image) -> bool:
        """Whether the image is the asking project's, or the asker an administrator."""
        own = image.owner is not None and image.owner == who.project_id
        return own or self.policy.is_admin(who)
