"""Registries that break one promise about members each, and the test to fail."""

import contextlib
import dataclasses
import threading

from imsgate.quotas import limits
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.records import member


class ForgetsFirstMembers(MemoryRegistry):
    def add(self, image, within=None, outcome=None, shared_with=()):
        super().add(image, within, outcome)


class SharesWhatIsThere(MemoryRegistry):
    def add(self, image, within=None, outcome=None, shared_with=()):
        try:
            super().add(image, within, outcome)
        finally:
            for added in shared_with:
                self.add_member(added)


class AddsMembersTwice(MemoryRegistry):
    def add_member(self, member):
        self._members.pop((member.image_id, member.member_id), None)
        super().add_member(member)


class AddsMembersToNothing(MemoryRegistry):
    def add_member(self, member):
        self._members[member.image_id, member.member_id] = member

    def _is_member(self, member, image_id):
        return member.image_id == image_id


class LetsAnyNumberBeMembers(MemoryRegistry):
    def add_member(self, member, limit=None):
        super().add_member(member)


class LimitsMembersByOneTooMany(MemoryRegistry):
    def add_member(self, member, limit=None):
        super().add_member(member, None if limit is None else limit + 1)


class CountsTheMembersOfAll(MemoryRegistry):
    def add_member(self, member, limit=None):
        limits.check_members(len(self._members), limit)
        super().add_member(member)


class LooksBeforeItAddsMembers(MemoryRegistry):
    """All threads may have counted before one adds a member."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def add_member(self, member, limit=None):
        members = self.members(member.image_id)
        limits.check_members(len(members), limit)
        if members and limit:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.all_looked.wait()
        super().add_member(member)


class MembersInAnyOrder(MemoryRegistry):
    def members(self, image_id):
        return sorted(super().members(image_id), key=lambda one: one.member_id)


class AnswersForEverybody(MemoryRegistry):
    def change_member(self, image_id, member_id, status):
        for key in [key for key in self._members if key[0] == image_id]:
            super().change_member(*key, status)
        return super().change_member(image_id, member_id, status)


class AnswersMakeMembers(MemoryRegistry):
    def change_member(self, image_id, member_id, status):
        self._members.setdefault((image_id, member_id), member(image_id, member_id))
        return super().change_member(image_id, member_id, status)


class RemovesAnybody(MemoryRegistry):
    def remove_member(self, image_id, member_id):
        self._members.pop((image_id, member_id), None)


class RemovesEverybody(MemoryRegistry):
    def remove_member(self, image_id, member_id):
        super().remove_member(image_id, member_id)
        self._members.clear()


class AnswersLeaveTheTime(MemoryRegistry):
    def change_member(self, image_id, member_id, status):
        changed = super().change_member(image_id, member_id, status)
        return dataclasses.replace(changed, updated_at=changed.created_at)


REJECTED = [
    (ForgetsFirstMembers, "image_is_added_with_its_members"),
    (SharesWhatIsThere, "image_is_added_with_its_members"),
    (AddsMembersTwice, "member_is_added_once"),
    (AddsMembersToNothing, "members_of_nothing"),
    (LetsAnyNumberBeMembers, "members_are_limited"),
    (LimitsMembersByOneTooMany, "members_are_limited"),
    (CountsTheMembersOfAll, "members_are_limited"),
    (LooksBeforeItAddsMembers, "many_members_at_once_keep_within_the_limit"),
    (MembersInAnyOrder, "members_come_back_oldest_first"),
    (AnswersForEverybody, "member_answers"),
    (AnswersMakeMembers, "unknown_member"),
    (AnswersLeaveTheTime, "member_answers"),
    (RemovesAnybody, "unknown_member"),
    (RemovesEverybody, "member_leaves_and_returns"),
]
