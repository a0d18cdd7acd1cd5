"""Registries that break one promise about lists each, and the test to fail."""

import dataclasses
from unittest import mock

from imsgate.model import DELETED, MemberStatus, Status, Visibility
from imsgate.registry.base import Op
from imsgate.registry.memory import MemoryRegistry, images


class LeaksCommunity(MemoryRegistry):
    def _visible(self, image, query):
        return image.visibility == Visibility.COMMUNITY or super()._visible(image, query)


class HidesOwnCommunity(MemoryRegistry):
    def _visible(self, image, query):
        asked = query.all_visibilities or query.visibility
        return super()._visible(image, query) and (
            asked or image.visibility != Visibility.COMMUNITY
        )


class MembershipOpensPrivate(MemoryRegistry):
    def _visible(self, image, query):
        return super()._visible(image, query) or self._shared_with(image, query)


class IgnoresAnswers(MemoryRegistry):
    def _shared_with(self, image, query):
        return super()._shared_with(image, dataclasses.replace(query, member_status=None))


class SharesPending(MemoryRegistry):
    def _shared_with(self, image, query):
        pending = dataclasses.replace(query, member_status=MemberStatus.PENDING)
        return super()._shared_with(image, query) or super()._shared_with(image, pending)


class NobodyOwnsWhatIsNobodys(MemoryRegistry):
    def _visible(self, image, query):
        return super()._visible(image, query) or image.owner == query.viewer


class AdminSeesWhatAnybodySees(MemoryRegistry):
    def _visible(self, image, query):
        return super()._visible(image, dataclasses.replace(query, admin=False))


class ListsDeleted(MemoryRegistry):
    def _listed(self, image, query):
        revived = dataclasses.replace(image, status=Status.ACTIVE)
        return super()._listed(revived if image.status in DELETED else image, query)


class _Compares(MemoryRegistry):
    """Overrides the rule for one condition."""

    def list(self, query):
        with mock.patch.object(images, "_holds", self.holds):
            return super().list(query)


_holds = images._holds


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

        with mock.patch.object(images, "_rank", rank):
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
        def after(image, marker, order):
            return _after(image, marker, order[:1])

        with mock.patch.object(images, "_after", after):
            return super().list(query)


class PagesSkipNoValue(MemoryRegistry):
    """As ``column > marker`` does."""

    def list(self, query):
        def after(image, marker, order):
            values = [getattr(one, order[0][0]) for one in (image, marker)]
            return None not in values and _after(image, marker, order)

        with mock.patch.object(images, "_after", after):
            return super().list(query)


_after = images._after


class PagesNeedTheMarker(MemoryRegistry):
    def list(self, query):
        if query.marker and self._images[query.marker.id].status in DELETED:
            return []
        return super().list(query)


class PagesCountFromTheMarkersPlace(MemoryRegistry):
    """As a page does that begins at an offset."""

    def list(self, query):
        if query.marker:
            query = dataclasses.replace(query, marker=self._images[query.marker.id])
        return super().list(query)


class IgnoresLimit(MemoryRegistry):
    def list(self, query):
        return super().list(dataclasses.replace(query, limit=max(query.limit, 2)))


REJECTED = [
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
]
