"""The registry contract rejects registries that break one promise each."""

import contextlib
import dataclasses
import struct
import threading
from unittest import mock

import pytest
from hypothesis import Phase

from imsgate import model
from imsgate.errors import Conflict, LocationTaken, NotFound
from imsgate.model import DELETED, MemberStatus, Status, Visibility
from imsgate.quotas import limits
from imsgate.registry import memory
from imsgate.registry.base import Op
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing import registry_machine
from imsgate.testing.records import START, member
from imsgate.testing.registries import RegistryContract
from tests.testing import broken_jobs, broken_limits

# Changes


class ComparesNothing(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, {}, **to)


class ComparesStatusOnly(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        was = {"status": was["status"]} if "status" in was else {}
        return super().change(image_id, was, **to)


class NeverEqualsNone(MemoryRegistry):
    """As ``column = NULL`` does."""

    def change(self, image_id, was, /, **to):
        if None in was.values():
            raise Conflict(problem="NULL is not equal to NULL")
        return super().change(image_id, was, **to)


class IgnoresNone(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, {f: v for f, v in was.items() if v is not None}, **to)


class ChecksThenWrites(MemoryRegistry):
    """All writers may have looked before one writes."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def change(self, image_id, was, /, **to):
        super().change(image_id, was)
        if was:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.all_looked.wait()
        return super().change(image_id, {}, **to)


class WritesCollectionsBeforeItChecks(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        if "properties" in to:
            super().change(image_id, {}, properties=to["properties"])
        return super().change(image_id, was, **to)


class ReadsInTwoSteps(MemoryRegistry):
    """A record and its tags may be of two moments."""

    def __init__(self):
        super().__init__()
        self.read, self.changed = threading.Event(), threading.Event()

    def change(self, image_id, was, /, **to):
        self.read.wait(10)
        changed = super().change(image_id, was, **to)
        self.changed.set()
        return changed

    def get(self, image_id):
        image = super().get(image_id)
        self.read.set()
        self.changed.wait(10)
        return dataclasses.replace(image, tags=super().get(image_id).tags)


class MergesProperties(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        if "properties" in to:
            to["properties"] = self._images[image_id].properties | to["properties"]
        return super().change(image_id, was, **to)


class SortsLocations(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        if "locations" in to:
            to["locations"] = tuple(sorted(to["locations"], key=lambda one: one.store))
        return super().change(image_id, was, **to)


class NeverMovesUpdatedAt(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, was, **{"updated_at": START} | to)


class MovesUpdatedAtForLeases(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, was, **{"updated_at": model.now()} | to)


class ReturnsTheRecordAsItWas(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        before = self._images.get(image_id)
        super().change(image_id, was, **to)
        return before


class HidesDeletedFromChange(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        self.get(image_id)
        return super().change(image_id, was, **to)


class UnknownIsAConflict(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        try:
            return super().change(image_id, was, **to)
        except NotFound:
            raise Conflict(problem="no row was changed") from None


class ChangesNothingUnchecked(MemoryRegistry):
    def change(self, image_id, was, /, **to):
        return super().change(image_id, was if to else {}, **to)


# Records


class UsesDeletedIdsAgain(MemoryRegistry):
    def add(self, image):
        if image.id in self._images and self._images[image.id].status in DELETED:
            del self._images[image.id]
        super().add(image)


class Overwrites(MemoryRegistry):
    def add(self, image):
        self._images.pop(image.id, None)
        super().add(image)


class LooksBeforeItAdds(MemoryRegistry):
    """All creators may have seen that the id is free."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def add(self, image):
        free = image.id not in self._images
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        if free:
            self._images.pop(image.id, None)
        super().add(image)


class ShowsDeleted(MemoryRegistry):
    def get(self, image_id):
        if image_id not in self._images:
            raise NotFound(what=image_id)
        return self._images[image_id]


class RecallsLivingOnly(MemoryRegistry):
    def recall(self, image_id):
        return self.get(image_id)


class RecallsDeletedOnly(MemoryRegistry):
    def recall(self, image_id):
        image = super().recall(image_id)
        if image.status not in DELETED:
            raise NotFound(what=image_id)
        return image


class ForgetsWhatDeletedOnesHeld(MemoryRegistry):
    """As a tombstone does."""

    def recall(self, image_id):
        image = super().recall(image_id)
        return dataclasses.replace(image, name=None) if image.status in DELETED else image


class RecallsWhatNeverWas(MemoryRegistry):
    def recall(self, image_id):
        return self._images.get(image_id)


class Keeps(MemoryRegistry):
    """Keeps something else than it was given."""

    def add(self, image):
        super().add(self.kept(image))


class KeepsNoMicroseconds(Keeps):
    def kept(self, image):
        return dataclasses.replace(image, updated_at=image.updated_at.replace(microsecond=0))


class KeepsNoZone(Keeps):
    def kept(self, image):
        return dataclasses.replace(image, updated_at=image.updated_at.replace(tzinfo=None))


class KeepsExpiryInSinglePrecision(Keeps):
    def kept(self, image):
        (expires,) = struct.unpack("f", struct.pack("f", image.upload_expires or 0.0))
        return dataclasses.replace(image, upload_expires=image.upload_expires and expires)


class KeepsNoTrailingSpaces(Keeps):
    def kept(self, image):
        return dataclasses.replace(image, tags={tag.strip() for tag in image.tags})


class KeepsOneCase(Keeps):
    def kept(self, image):
        properties = {name.lower(): value for name, value in image.properties.items()}
        return dataclasses.replace(image, properties=properties)


class CutsLongValues(Keeps):
    """As MariaDB's TEXT does, where nobody told the server to be strict."""

    def kept(self, image):
        properties = {name: value[:65_535] for name, value in image.properties.items()}
        return dataclasses.replace(image, properties=properties)


class KeepsTheGiversMapping(MemoryRegistry):
    def add(self, image):
        self._images[image.id] = image


# Lists


class LeaksCommunity(MemoryRegistry):
    def _seen(self, image, query):
        return image.visibility == Visibility.COMMUNITY or super()._seen(image, query)


class HidesOwnCommunity(MemoryRegistry):
    def _seen(self, image, query):
        asked = query.all_visibilities or query.visibility
        return super()._seen(image, query) and (asked or image.visibility != Visibility.COMMUNITY)


class MembershipOpensPrivate(MemoryRegistry):
    def _seen(self, image, query):
        return super()._seen(image, query) or self._shared_with(image, query)


class IgnoresAnswers(MemoryRegistry):
    def _shared_with(self, image, query):
        return super()._shared_with(image, dataclasses.replace(query, member_status=None))


class SharesPending(MemoryRegistry):
    def _shared_with(self, image, query):
        pending = dataclasses.replace(query, member_status=MemberStatus.PENDING)
        return super()._shared_with(image, query) or super()._shared_with(image, pending)


class NobodyOwnsWhatIsNobodys(MemoryRegistry):
    def _seen(self, image, query):
        return super()._seen(image, query) or image.owner == query.viewer


class AdminSeesWhatAnybodySees(MemoryRegistry):
    def _seen(self, image, query):
        return super()._seen(image, dataclasses.replace(query, admin=False))


class ListsDeleted(MemoryRegistry):
    def _listed(self, image, query):
        revived = dataclasses.replace(image, status=Status.ACTIVE)
        return super()._listed(revived if image.status in DELETED else image, query)


class _Compares(MemoryRegistry):
    """Judges one condition by a rule of its own."""

    def list(self, query):
        with mock.patch.object(memory, "_holds", self.holds):
            return super().list(query)


_holds = memory._holds


class NoValueDiffersFromAny(_Compares):
    def holds(self, image, condition):
        missing = getattr(image, condition.field) is None
        return (missing and condition.op is Op.NEQ) or _holds(image, condition)


class NoValueIsLess(_Compares):
    def holds(self, image, condition):
        missing = getattr(image, condition.field) is None
        return (missing and condition.op in (Op.LT, Op.LTE)) or _holds(image, condition)


class NoValueIsIn(_Compares):
    def holds(self, image, condition):
        value = getattr(image, condition.field)
        return (condition.op is Op.IN and value in condition.value) or _holds(image, condition)


class AlwaysNeedsAValue(_Compares):
    def holds(self, image, condition):
        return _holds(image, dataclasses.replace(condition, or_none=False))


class IgnoresCase(_Compares):
    def holds(self, image, condition):
        value = getattr(image, condition.field)
        if isinstance(value, str) and isinstance(condition.value, str):
            image = dataclasses.replace(image, **{condition.field: value.lower()})
            condition = dataclasses.replace(condition, value=condition.value.lower())
        return _holds(image, condition)


class OneConditionSuffices(MemoryRegistry):
    def list(self, query):
        return super().list(dataclasses.replace(query, conditions=query.conditions[:1]))


class OneTagSuffices(MemoryRegistry):
    def list(self, query):
        return super().list(dataclasses.replace(query, tags=frozenset(sorted(query.tags)[:1])))


class IgnoresPropertyValues(MemoryRegistry):
    def _listed(self, image, query):
        has_all = query.properties.keys() <= image.properties.keys()
        return has_all and super()._listed(image, dataclasses.replace(query, properties={}))


class SortsNoValueLast(MemoryRegistry):
    def list(self, query):
        def rank(image, field):
            value = getattr(image, field)
            return value is None, value

        with mock.patch.object(memory, "_rank", rank):
            return super().list(query)


class BreaksTiesUpwards(MemoryRegistry):
    def list(self, query):
        order = [*query.sort, ("created_at", False), ("id", False)]
        return super().list(dataclasses.replace(query, sort=order))


class PagesRepeatTheMarker(MemoryRegistry):
    def list(self, query):
        page = super().list(query)
        return [query.marker, *page][: query.limit] if query.marker and page else page


class PagesSkipTies(MemoryRegistry):
    def list(self, query):
        def behind(image, marker, order):
            return _behind(image, marker, order[:1])

        with mock.patch.object(memory, "_behind", behind):
            return super().list(query)


class PagesSkipNoValue(MemoryRegistry):
    """As ``column > marker`` does."""

    def list(self, query):
        def behind(image, marker, order):
            values = [getattr(one, order[0][0]) for one in (image, marker)]
            return None not in values and _behind(image, marker, order)

        with mock.patch.object(memory, "_behind", behind):
            return super().list(query)


_behind = memory._behind


class PagesNeedTheMarker(MemoryRegistry):
    def list(self, query):
        if query.marker and self._images[query.marker.id].status in DELETED:
            return []
        return super().list(query)


class PagesCountFromTheMarkersPlace(MemoryRegistry):
    """As an offset does."""

    def list(self, query):
        if query.marker:
            query = dataclasses.replace(query, marker=self._images[query.marker.id])
        return super().list(query)


class IgnoresLimit(MemoryRegistry):
    def list(self, query):
        return super().list(dataclasses.replace(query, limit=max(query.limit, 2)))


# The sweep and members


class SweepsLivingOnly(MemoryRegistry):
    def expired(self, now):
        return [image for image in super().expired(now) if image.status != Status.DELETED]


class SweepsLateOnly(MemoryRegistry):
    def expired(self, now):
        return [image for image in super().expired(now) if (image.upload_expires or now) < now]


class SweepsTooEarly(MemoryRegistry):
    def expired(self, now):
        return super().expired(now + 1e-6)


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
    def add_member(self, member, most=None):
        super().add_member(member)


class LimitsMembersByOneTooMany(MemoryRegistry):
    def add_member(self, member, most=None):
        super().add_member(member, None if most is None else most + 1)


class CountsTheMembersOfAll(MemoryRegistry):
    def add_member(self, member, most=None):
        limits.check_members(len(self._members), most)
        super().add_member(member)


class LooksBeforeItAddsMembers(MemoryRegistry):
    """All may have counted before one is added."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def add_member(self, member, most=None):
        members = self.members(member.image_id)
        limits.check_members(len(members), most)
        if members and most:
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


class PutsAnyNumberAtOnePlace(MemoryRegistry):
    def _check_places(self, image):
        pass


class LooksAtPlacesBeforeItWrites(MemoryRegistry):
    """All may have looked before one writes."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def change(self, image_id, was, /, **to):
        if any(self.holds(place) for place in to["locations"]):
            raise LocationTaken
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        with mock.patch.object(self, "_check_places"):
            return super().change(image_id, was, **to)


REJECTED = [
    (ComparesNothing, "every_field_can_be_compared"),
    (ComparesNothing, "one_of_many_writers_wins"),
    (ComparesStatusOnly, "all_fields_are_compared"),
    (NeverEqualsNone, "no_value_can_be_compared"),
    (IgnoresNone, "every_field_can_be_compared"),
    (ChecksThenWrites, "one_of_many_writers_wins"),
    (WritesCollectionsBeforeItChecks, "lost_change_leaves_nothing"),
    (ReadsInTwoSteps, "record_and_collections_are_of_one_moment"),
    (MergesProperties, "collections_are_replaced_whole"),
    (SortsLocations, "change_returns_the_record_as_it_is_then"),
    (NeverMovesUpdatedAt, "updated_at"),
    (MovesUpdatedAtForLeases, "updated_at"),
    (ReturnsTheRecordAsItWas, "change_returns_the_record_as_it_is_then"),
    (HidesDeletedFromChange, "deleted_record_is_seen_by_change_and_recall"),
    (UnknownIsAConflict, "change_of_an_unknown_image"),
    (ChangesNothingUnchecked, "change_of_nothing_still_compares"),
    (UsesDeletedIdsAgain, "id_is_used_once"),
    (Overwrites, "id_is_used_once"),
    (LooksBeforeItAdds, "one_of_many_creators_wins"),
    (ShowsDeleted, "deleted_record_is_seen_by_change_and_recall"),
    (RecallsLivingOnly, "deleted_record_is_seen_by_change_and_recall"),
    (RecallsDeletedOnly, "living_image_is_recalled_as_it_is"),
    (ForgetsWhatDeletedOnesHeld, "deleted_record_is_seen_by_change_and_recall"),
    (RecallsWhatNeverWas, "unknown_image"),
    (KeepsNoMicroseconds, "record_comes_back_as_it_was"),
    (KeepsNoZone, "times_come_back_in_utc"),
    (KeepsExpiryInSinglePrecision, "record_comes_back_as_it_was"),
    (KeepsNoTrailingSpaces, "record_comes_back_as_it_was"),
    (KeepsOneCase, "record_comes_back_as_it_was"),
    (CutsLongValues, "long_values_come_back"),
    (KeepsTheGiversMapping, "record_does_not_follow_what_it_was_made_from"),
    (LeaksCommunity, "who_sees_what"),
    (HidesOwnCommunity, "who_sees_what"),
    (MembershipOpensPrivate, "who_sees_what"),
    (IgnoresAnswers, "who_sees_what"),
    (SharesPending, "who_sees_what"),
    (NobodyOwnsWhatIsNobodys, "who_sees_what"),
    (AdminSeesWhatAnybodySees, "who_sees_what"),
    (ListsDeleted, "deleted_record_is_seen_by_change_and_recall"),
    (NoValueDiffersFromAny, "condition"),
    (NoValueIsLess, "condition"),
    (NoValueIsIn, "condition"),
    (AlwaysNeedsAValue, "condition_that_no_value_satisfies_too"),
    (IgnoresCase, "condition"),
    (OneConditionSuffices, "all_conditions_must_hold"),
    (OneTagSuffices, "tags"),
    (IgnoresPropertyValues, "properties"),
    (SortsNoValueLast, "order_and_pages"),
    (BreaksTiesUpwards, "order_and_pages"),
    (PagesRepeatTheMarker, "order_and_pages"),
    (PagesSkipTies, "order_and_pages"),
    (PagesSkipNoValue, "order_and_pages"),
    (PagesNeedTheMarker, "page_starts_behind_a_marker_that_has_left_the_list"),
    (PagesCountFromTheMarkersPlace, "page_starts_behind_a_marker_that_has_left_the_list"),
    (IgnoresLimit, "no_page_is_longer_than_its_limit"),
    (PutsAnyNumberAtOnePlace, "a_place_is_one_images"),
    (LooksAtPlacesBeforeItWrites, "a_place_becomes_one_images"),
    (SweepsLivingOnly, "expired"),
    (SweepsLateOnly, "expired"),
    (SweepsTooEarly, "expired"),
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
    *broken_jobs.REJECTED,
    *broken_limits.REJECTED,
]


def cases(test):
    """The arguments of each case of a parametrized test."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    if not marks:
        return [()]
    ((names, values),) = [mark.args for mark in marks]
    return [(value,) if isinstance(names, str) else value for value in values]


def passes(registry, test, arguments):
    try:
        test(RegistryContract(), registry, *arguments)
    except (Exception, pytest.fail.Exception):
        return False
    return True


@pytest.mark.parametrize(("broken", "name"), REJECTED)
def test_broken_registry_is_rejected(broken, name):
    test = getattr(RegistryContract, f"test_{name}")
    assert not all(passes(broken(), test, arguments) for arguments in cases(test))


@pytest.mark.parametrize("name", sorted({name for _, name in REJECTED}))
def test_whole_registry_is_not(name):
    test = getattr(RegistryContract, f"test_{name}")
    assert all(passes(MemoryRegistry(), test, arguments) for arguments in cases(test))


@pytest.mark.parametrize(
    "broken",
    [
        ComparesNothing,
        UsesDeletedIdsAgain,
        LeaksCommunity,
        NoValueIsLess,
        SortsNoValueLast,
        PagesSkipTies,
        PagesSkipNoValue,
        SweepsLateOnly,
    ],
)
def test_random_walk_finds_what_is_broken(broken):
    with pytest.raises(AssertionError):
        registry_machine.walk(
            broken(), max_examples=3000, derandomize=True, phases=[Phase.generate]
        )
