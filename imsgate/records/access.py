"""Who may see an image and do what with it: the rules of ``imsgate.auth.policy``, applied.

An image that a project may not see does not exist for it (404 Not Found). What it may see but
not do is 403 Forbidden. The policy alone does not make an image visible: whatever ``get_image``
allows, a private image is visible only to its own project, and a shared one only to that
project and its members.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imsgate import errors
from imsgate.auth.policy import Policy
from imsgate.model import DELETED, Identity, Image, Visibility
from imsgate.registry.base import Registry

#: The rule that decides who may give an image this visibility. Everybody sees such images.
_PUBLISHING_RULES = {
    Visibility.PUBLIC: "publicize_image",
    Visibility.COMMUNITY: "communitize_image",
}

#: Names that a policy check may use, and the field of Image that each stands for.
_FIELDS = {
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
    """What a policy check may refer to: fields of an image, and its custom properties.

    A property cannot hide a field of the same name. Values are looked up on demand: most rules
    refer to two or three, and a list has a thousand images.
    """

    __slots__ = ("_image", "_member_id")

    def __init__(self, image: Image, member_id: str | None = None) -> None:
        """``member_id`` is the requesting project if the image is shared with it."""
        self._image = image
        self._member_id = member_id

    def get(self, name: str, default: Any = None) -> Any:
        if name == _MEMBER:
            value = self._member_id
        elif name in _FIELDS:
            value = getattr(self._image, _FIELDS[name])
        else:
            value = self._image.properties.get(name)
        return default if value is None else value

    def __getitem__(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        properties = (name for name in self._image.properties if name not in _RESERVED)
        return (name for name in (_MEMBER, *_FIELDS, *properties) if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_RESERVED = frozenset({_MEMBER, *_FIELDS})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Finds images, and refuses what the requesting user may not see or do."""

    registry: Registry
    policy: Policy

    def image(self, who: Identity, image_id: str, rule: str = "get_image") -> Image:
        """The image, if the policy rule ``rule`` allows ``who`` to use it.

        Raises NotFound if ``who`` may not see the image, else Forbidden.
        """
        try:
            image = self.registry.get(image_id.lower())
        except errors.NotFound:
            raise errors.NotFound(what=f"Image {image_id}") from None
        return self._permitted(who, image, rule)

    def marker(self, who: Identity, image_id: str) -> Image:
        """The last image of the page before the one that ``who`` asks for.

        It may have been deleted meanwhile if it is the project's own or ``who`` is an
        administrator: a client that deletes the images of a page still gets the next one.
        Raises NotFound and Forbidden.
        """
        image = self.registry.recall(image_id.lower())
        if image.status in DELETED and not self.owns(who, image):
            raise errors.NotFound(what=f"Image {image.shown_id}")
        return self._permitted(who, image, "get_image")

    def visible(self, who: Identity, images: Iterable[Image]) -> list[Image]:
        """Those images of a registry's list for ``who`` that the policy allows it to see.

        The list must contain no shared images except the project's own and those of which it
        is a member.
        """
        allows = self.policy.judge("get_image", who)

        def is_visible(image: Image) -> bool:
            is_member = image.visibility == Visibility.SHARED and image.owner != who.project_id
            return allows(PolicyTarget(image, who.project_id if is_member else None))

        return list(filter(is_visible, images))

    def check_list(self, who: Identity) -> None:
        """Raises Forbidden unless ``who`` may list images."""
        target = {} if who.project_id is None else {"project_id": who.project_id}
        self.check(who, "get_images", target, "list")

    def check_new(self, who: Identity, image: Image) -> None:
        """Raises Forbidden unless ``who`` may create this image."""
        self.check(who, "add_image", PolicyTarget(image), f"owner {image.owner}")
        self.check_visibility(who, image, image.visibility)

    def check_visibility(self, who: Identity, image: Image, visibility: Visibility) -> None:
        """Raises Forbidden unless ``who`` may give the image this visibility."""
        rule = _PUBLISHING_RULES.get(visibility)
        if rule:
            self.check_image(who, rule, image)

    def check_image(
        self, who: Identity, rule: str, image: Image, member_id: str | None = None
    ) -> None:
        """Raises Forbidden unless ``rule`` allows ``who`` to use an image that it can see.

        ``member_id`` is the project of ``who`` if the image is shared with it.
        """
        self.check(who, rule, PolicyTarget(image, member_id), f"image {image.shown_id}")

    def check(self, who: Identity, rule: str, target: Mapping[str, Any], name: str) -> None:
        """Raises Forbidden unless ``rule`` allows ``who`` to use ``target``, called ``name``."""
        if not self.policy.allows(rule, who, target):
            raise errors.Forbidden(action=f"{rule.replace('_', ' ')} ({name}, by policy {rule})")

    def is_admin(self, who: Identity) -> bool:
        """Whether ``who`` is an administrator."""
        return self.policy.is_admin(who)

    def owns(self, who: Identity, image: Image) -> bool:
        """Whether the image belongs to the project of ``who``, or ``who`` is an administrator."""
        own = image.owner is not None and image.owner == who.project_id
        return own or self.policy.is_admin(who)

    def _permitted(self, who: Identity, image: Image, rule: str) -> Image:
        member_id = self._membership(who, image)
        if not self._sees(who, image, member_id):
            raise errors.NotFound(what=f"Image {image.shown_id}")
        self.check_image(who, rule, image, member_id)
        return image

    def _sees(self, who: Identity, image: Image, member_id: str | None) -> bool:
        is_public = image.visibility in _PUBLISHING_RULES
        reachable = is_public or member_id is not None or self.owns(who, image)
        return reachable and self.policy.allows("get_image", who, PolicyTarget(image, member_id))

    def _membership(self, who: Identity, image: Image) -> str | None:
        """The id of the requesting project if the image is shared with it."""
        if image.visibility != Visibility.SHARED or who.project_id in (None, image.owner):
            return None
        members = self.registry.members(image.id)
        is_member = any(member.member_id == who.project_id for member in members)
        return who.project_id if is_member else None
