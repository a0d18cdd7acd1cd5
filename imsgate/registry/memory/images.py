"""Image records in the memory of one process, and which of them a list contains."""

import builtins
import dataclasses
import operator
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, LocationTaken, NotFound
from imsgate.model import DELETED, Image, Limits, Location, Member, Status, Usage, Visibility
from imsgate.quotas import limits
from imsgate.registry.base import (
    LIST_BATCH_IMAGES,
    Condition,
    Enough,
    Op,
    Query,
    Registry,
    ordering,
    sets_updated_at,
)
from imsgate.registry.idempotency import Outcome
from imsgate.registry.memory.keys import MemoryKeys
from imsgate.registry.outbox import is_shown

_COMPARE: Mapping[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: operator.eq,
    Op.NEQ: operator.ne,
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
    Op.LT: operator.lt,
    Op.LTE: operator.le,
    Op.IN: lambda value, values: value in values,
}


class MemoryImages(MemoryKeys, Registry):
    def __init__(self) -> None:
        super().__init__()
        self._images: dict[str, Image] = {}
        self._members: dict[tuple[str, str], Member] = {}
        #: When each copy was written or last checked.
        self._checked: dict[tuple[str, Location], float] = {}

    def add(
        self,
        image: Image,
        within: Limits | None = None,
        outcome: Outcome | None = None,
        shared_with: Collection[Member] = (),
    ) -> None:
        with self._lock:
            if image.id in self._images:
                raise AlreadyExists(what=f"Image {image.id}")
            self._check_claim(outcome)
            self._record_image(None, self._put(image, within))
            for member in shared_with:
                self.add_member(member)
            self._end(outcome)

    def _put(self, image: Image, within: Limits | None) -> Image:
        image = _frozen(image)
        self._check_places(image)
        if within is not None:
            usage = _sum(within.project, (self._images | {image.id: image}).values())
            limits.check(within, limits.grown(within, self._images.get(image.id), image), usage)
        return self._store(image)

    def _store(self, image: Image) -> Image:
        """Store a record; locations that stay keep what is recorded of their checks."""
        before = self._images.get(image.id)
        known = {each: each for each in before.locations} if before else {}
        unchecked = [dataclasses.replace(each, damage=None) for each in image.locations]
        locations = tuple(known.get(each, each) for each in unchecked)
        image = self._images[image.id] = dataclasses.replace(image, locations=locations)
        for location in {*known} - {*locations}:
            del self._checked[image.id, location]
        now = time.time()
        self._checked.update({(image.id, new): now for new in {*locations} - {*known}})
        return image

    def _check_places(self, image: Image) -> None:
        others = [other.locations for other in self._images.values() if other.id != image.id]
        for number, place in enumerate(image.locations):
            if place in image.locations[:number] or any(place in taken for taken in others):
                raise LocationTaken

    def get(self, image_id: str) -> Image:
        image = self._images.get(image_id)
        if image is None or image.status in DELETED:
            raise NotFound(what=f"Image {image_id}")
        return image

    def recall(self, image_id: str) -> Image:
        try:
            return self._images[image_id]
        except KeyError:
            raise NotFound(what=f"Image {image_id}") from None

    def list(self, query: Query, is_enough: Enough | None = None) -> builtins.list[Image]:
        order = ordering(query)
        with self._lock:
            images = [image for image in self._images.values() if self._listed(image, query)]
        for field, descending in reversed(order):
            images.sort(key=lambda image: _rank(image, field), reverse=descending)
        if query.marker is not None:
            images = [image for image in images if _after(image, query.marker, order)]
        images = images[: query.limit]
        if is_enough:
            for end in range(LIST_BATCH_IMAGES, len(images), LIST_BATCH_IMAGES):
                if is_enough(images[:end]):
                    return images[:end]
        return images

    def _listed(self, image: Image, query: Query) -> bool:
        return (
            image.status not in DELETED
            and self._visible(image, query)
            and all(_holds(image, condition) for condition in query.conditions)
            and query.properties.items() <= image.properties.items()
            and query.tags <= image.tags
        )

    def _visible(self, image: Image, query: Query) -> bool:
        own = query.viewer is not None and image.owner == query.viewer
        if query.visibility is not None and image.visibility != query.visibility:
            return False
        if own:
            return True
        if image.visibility == Visibility.COMMUNITY:
            return query.all_visibilities or query.visibility is not None
        if query.admin or image.visibility == Visibility.PUBLIC:
            return True
        return image.visibility == Visibility.SHARED and self._shared_with(image, query)

    def _shared_with(self, image: Image, query: Query) -> bool:
        member = self._members.get((image.id, query.viewer or ""))
        return member is not None and query.member_status in (None, member.status)

    def change(
        self, image_id: str, was: Mapping[str, Any], within: Limits | None = None, /, **to: Any
    ) -> Image:
        with self._lock:
            image = self._images.get(image_id)
            if image is None:
                raise NotFound(what=f"Image {image_id}")
            if any(getattr(image, field) != value for field, value in was.items()):
                raise Conflict(problem=f"Image {image_id} was changed by another request")
            self._check_transition(image, to)
            if sets_updated_at(to):
                to["updated_at"] = model.now()
            changed = self._put(dataclasses.replace(image, **to), within)
            if is_shown(to):
                self._record_image(image, changed)
            return changed

    def _record_image(self, before: Image | None, after: Image) -> None:
        if self._recorder is not None:
            self.add_events(self._recorder.image(before, after))

    def _check_transition(self, image: Image, to: Mapping[str, Any]) -> None:
        model.check_transition(image.id, image.status, to.get("status", image.status))

    def holds(self, location: Location) -> bool:
        with self._lock:
            return any(location in image.locations for image in self._images.values())

    def expired(self, now: float) -> builtins.list[Image]:
        with self._lock:
            return [image for image in self._images.values() if _is_expired(image, now)]

    def usage(self, project: str) -> Usage:
        with self._lock:
            return _sum(project, self._images.values())


def _sum(project: str, images: Iterable[Image]) -> Usage:
    usages = [dataclasses.asdict(image.usage) for image in images if image.owner == project]
    names = (field.name for field in dataclasses.fields(Usage))
    return Usage(**{name: sum(usage[name] for usage in usages) for name in names})


def _frozen(image: Image) -> Image:
    """The record with copies of its collections, which the caller cannot change afterwards."""
    return dataclasses.replace(
        image,
        properties=MappingProxyType(dict(image.properties)),
        tags=frozenset(image.tags),
        locations=tuple(image.locations),
    )


def _holds(image: Image, condition: Condition) -> bool:
    field, op, value = getattr(image, condition.field), condition.op, condition.value
    if field is None:
        return condition.or_none or (op is Op.EQ and value is None)
    if value is None:
        return op is Op.NEQ
    return _COMPARE[op](field, value)


def _rank(image: Image, field: str) -> tuple[bool, Any]:
    value = getattr(image, field)
    return value is not None, value


def _after(image: Image, marker: Image, order: Sequence[tuple[str, bool]]) -> bool:
    for field, descending in order:
        rank, marker_rank = _rank(image, field), _rank(marker, field)
        if rank != marker_rank:
            return (rank > marker_rank) is not descending
    return False


def _is_expired(image: Image, now: float) -> bool:
    expired = image.upload_expires is not None and image.upload_expires < now
    return expired or image.status == Status.PENDING_DELETE
