"""The part of the registry contract about the projects with which an image is shared."""

import pytest

from imsgate import model
from imsgate.errors import AlreadyExists, NotFound, QuotaExceeded
from imsgate.model import DELETED, MemberStatus, Status
from imsgate.registry.base import Registry
from imsgate.testing.records import after, image, member
from imsgate.testing.registries.statuses import bring
from imsgate.testing.registries.threads import together


class MemberContract:
    """The promises of ``imsgate.registry.base`` about members."""

    def test_members_come_back_oldest_first(self, registry: Registry) -> None:
        record, other = image(), image()
        for shared in (record, other):
            registry.add(shared)
        added = [
            member(record.id, "c", created_at=after(1)),
            member(record.id, "b", created_at=after(2), status=MemberStatus.ACCEPTED),
            member(record.id, "a", created_at=after(3)),
        ]
        for new in [added[1], added[2], added[0], member(other.id, "a")]:
            registry.add_member(new)
        assert registry.members(record.id) == added
        assert registry.members(image().id) == []

    def test_image_is_added_with_its_members(self, registry: Registry) -> None:
        record = image()
        shared_with = [member(record.id, "a"), member(record.id, "b", created_at=after(1))]
        registry.add(record, shared_with=shared_with)
        assert registry.members(record.id) == shared_with
        with pytest.raises(AlreadyExists):
            registry.add(record, shared_with=[member(record.id, "c")])
        assert registry.members(record.id) == shared_with

    def test_member_is_added_once(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        registry.add_member(member(record.id, "a", status=MemberStatus.ACCEPTED))
        with pytest.raises(AlreadyExists):
            registry.add_member(member(record.id, "a"))
        registry.add_member(member(record.id, "A"))
        statuses = {added.member_id: added.status for added in registry.members(record.id)}
        assert statuses == {"a": MemberStatus.ACCEPTED, "A": MemberStatus.PENDING}

    def test_members_are_limited(self, registry: Registry) -> None:
        record, other = image(), image()
        for shared in (record, other):
            registry.add(shared)
            registry.add_member(member(shared.id, "a"), 1)
        registry.add_member(member(record.id, "b"), 2)
        for limit in (0, 1, 2):
            with pytest.raises(QuotaExceeded):
                registry.add_member(member(record.id, "c"), limit)
        assert [added.member_id for added in registry.members(record.id)] == ["a", "b"]
        registry.remove_member(record.id, "a")
        registry.add_member(member(record.id, "c"), 2)
        registry.add_member(member(record.id, "d"))

    def test_many_members_at_once_keep_within_the_limit(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        registry.add_member(member(record.id, "first"), 3)
        outcomes = together(
            8, lambda number: registry.add_member(member(record.id, str(number)), 3)
        )
        assert outcomes.count(None) == 2, outcomes
        assert all(isinstance(outcome, QuotaExceeded | None) for outcome in outcomes), outcomes
        assert len(registry.members(record.id)) == 3

    def test_member_answers(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        registry.add_member(member(record.id, "a"))
        registry.add_member(member(record.id, "b"))
        before = model.now()
        changed = registry.change_member(record.id, "a", MemberStatus.REJECTED)
        assert before <= changed.updated_at <= model.now()
        expected = member(record.id, "a", status="rejected", updated_at=changed.updated_at)
        assert changed == expected
        assert registry.members(record.id) == [changed, member(record.id, "b")]

    def test_member_leaves_and_returns(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        for name in ("a", "b"):
            registry.add_member(member(record.id, name))
        registry.remove_member(record.id, "a")
        assert registry.members(record.id) == [member(record.id, "b")]
        registry.add_member(member(record.id, "a"))
        assert len(registry.members(record.id)) == 2

    @pytest.mark.parametrize("deleted", [None, *sorted(DELETED)])
    def test_members_of_nothing(self, registry: Registry, deleted: Status | None) -> None:
        record = image()
        if deleted:
            registry.add(record)
            registry.add_member(member(record.id, "a"))
            bring(registry, record.id, deleted)
        with pytest.raises(NotFound):
            registry.add_member(member(record.id, "b"))
        assert registry.members(record.id) == []
        _refuses_member(registry, record.id, "a")

    def test_unknown_member(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        registry.add_member(member(record.id, "a"))
        _refuses_member(registry, record.id, "b")
        assert registry.members(record.id) == [member(record.id, "a")]


def _refuses_member(registry: Registry, image_id: str, member_id: str) -> None:
    with pytest.raises(NotFound):
        registry.change_member(image_id, member_id, MemberStatus.ACCEPTED)
    with pytest.raises(NotFound):
        registry.remove_member(image_id, member_id)
