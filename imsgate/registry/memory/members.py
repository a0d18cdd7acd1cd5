"""The members of images in the memory of one process."""

import builtins
import dataclasses
import operator

from imsgate import model
from imsgate.errors import MemberExists, NotFound
from imsgate.model import DELETED, Member, MemberStatus
from imsgate.quotas import limits
from imsgate.registry.memory.images import MemoryImages


class MemoryMembers(MemoryImages):
    def add_member(self, member: Member, limit: int | None = None) -> None:
        with self._lock:
            self.get(member.image_id)
            limits.check_members(len(self.members(member.image_id)), limit)
            if (member.image_id, member.member_id) in self._members:
                raise MemberExists(image_id=member.image_id, member_id=member.member_id)
            self._members[member.image_id, member.member_id] = member
            self._record_member("create", member)

    def members(self, image_id: str) -> builtins.list[Member]:
        with self._lock:
            members = [
                member for member in self._members.values() if self._is_member(member, image_id)
            ]
        return sorted(members, key=operator.attrgetter("created_at", "member_id"))

    def _is_member(self, member: Member, image_id: str) -> bool:
        return member.image_id == image_id and self._images[image_id].status not in DELETED

    def change_member(self, image_id: str, member_id: str, status: MemberStatus) -> Member:
        with self._lock:
            member = self._member(image_id, member_id)
            changed = dataclasses.replace(member, status=status, updated_at=model.now())
            self._members[image_id, member_id] = changed
            self._record_member("update", changed)
            return changed

    def remove_member(self, image_id: str, member_id: str) -> None:
        with self._lock:
            removed = self._member(image_id, member_id)
            del self._members[image_id, member_id]
            self._record_member("delete", removed)

    def _record_member(self, action: str, member: Member) -> None:
        if self._recorder is not None:
            image = self._images[member.image_id]
            self.add_events(self._recorder.member(action, member, image))

    def _member(self, image_id: str, member_id: str) -> Member:
        member = self._members.get((image_id, member_id))
        if member is None or not self._is_member(member, image_id):
            raise NotFound(what=f"Member {member_id}")
        return member
