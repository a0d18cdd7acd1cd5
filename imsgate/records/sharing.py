"""The members of shared images: who may see, add, remove and answer them."""

import dataclasses

from imsgate import errors, model
from imsgate.model import Identity, Image, Member, MemberStatus, Visibility
from imsgate.records.access import Access, PolicyTarget
from imsgate.records.attributes import check_project
from imsgate.records.settings import ApiSettings
from imsgate.registry.base import Registry


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Shares images with projects.

    The methods that take an Identity decide what it may do; those that take an Image do it.
    """

    registry: Registry
    access: Access
    settings: ApiSettings

    def image(self, who: Identity, image_id: str) -> Image:
        """The image, if ``who`` sees it and it is ``shared``. Raises NotFound, Forbidden."""
        image = self.access.image(who, image_id)
        if image.visibility != Visibility.SHARED:
            raise errors.Forbidden(action="use members: only shared images have them")
        return image

    def owned(self, who: Identity, image_id: str, rule: str) -> Image:
        """The shared image whose members ``who`` may change, by ``rule``.

        Raises NotFound, Forbidden.
        """
        image = self.image(who, image_id)
        self.access.check_image(who, rule, image)
        return image

    def received(self, who: Identity, image_id: str) -> Image:
        """The shared image that the project of ``who`` may accept or reject.

        Raises NotFound, Forbidden.
        """
        image = self.image(who, image_id)
        self.access.check_image(who, "modify_member", image, who.project_id)
        return image

    def members(self, who: Identity, image_id: str, rule: str) -> tuple[Image, list[Member]]:
        """A shared image and those of its members that ``who`` may see, by ``rule``.

        Its owner sees all of them, any other project only itself. Raises NotFound, Forbidden.
        """
        image = self.image(who, image_id)
        members = self.registry.members(image.id)
        own = [member for member in members if member.member_id == who.project_id]
        if not self.access.owns(who, image):
            members = own
        self.access.check_image(who, rule, image, who.project_id if own else None)
        return image, members

    def member(self, who: Identity, image_id: str, member_id: str) -> tuple[Image, Member]:
        """A shared image and one of its members. Raises NotFound, Forbidden."""
        image, members = self.members(who, image_id, "get_member")
        for member in members:
            if member.member_id == member_id:
                return image, member
        raise errors.NotFound(what=f"Member {member_id}")

    def removable(self, who: Identity, image_id: str, member_id: str) -> tuple[Image, Member]:
        """As ``member``, if ``who`` may remove it."""
        image, member = self.member(who, image_id, member_id)
        self.access.check_image(who, "delete_member", image)
        return image, member

    def answerable(self, who: Identity, image_id: str, member_id: str) -> tuple[Image, Member]:
        """As ``member``, if ``who`` may accept or reject the image on its behalf.

        A project answers for itself and never for another one, not even as the image's owner;
        an administrator answers for any project.
        """
        image, member = self.member(who, image_id, member_id)
        own = member.member_id if member.member_id == who.project_id else None
        target = PolicyTarget(image, own)
        self.access.check(who, "modify_member", target, f"member {member_id}")
        return image, member

    def add(self, image: Image, member_id: str) -> Member:
        """Share the image with a project. Raises BadJson, AlreadyExists, QuotaExceeded."""
        check_project(member_id)
        now, quota = model.now(), self.settings.image_member_quota
        member = Member(image_id=image.id, member_id=member_id, created_at=now, updated_at=now)
        self.registry.add_member(member, None if quota < 0 else quota)
        return member

    def remove(self, image: Image, member_id: str) -> None:
        """Stop sharing the image with a project. Raises NotFound."""
        self.registry.remove_member(image.id, member_id)

    def answer(self, image: Image, member_id: str, status: MemberStatus) -> Member:
        """Record that a project accepts or rejects the image. Raises NotFound."""
        return self.registry.change_member(image.id, member_id, status)
