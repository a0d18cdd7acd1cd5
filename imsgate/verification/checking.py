"""Reads copies of image data and compares them with what the records say."""

import contextlib
import dataclasses
import enum
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator

from imsgate import errors, hashing, metrics
from imsgate.http.body import Tapped
from imsgate.model import Damage, Image, Location
from imsgate.registry.base import Registry
from imsgate.sources.base import ByteStream
from imsgate.stores.base import Store
from imsgate.stores.enabled import Stores
from imsgate.stores.throttle import Throttle
from imsgate.transfer.copy import copy
from imsgate.transfer.digests import Digests

LOG = logging.getLogger(__name__)

#: An image's id and the location of one of its copies.
Place = tuple[str, Location]


class CheckState(enum.StrEnum):
    """The result of a check."""

    GOOD = "good"
    DAMAGED = "damaged"
    #: The store failed, which says nothing about the copy.
    NOT_CHECKED = "not_checked"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What was found of one copy.

    ``problem`` says what differs, or why the copy could not be checked; it is empty for a good
    copy. ``compared`` names what was compared: the size, and digest algorithms. It is empty for an
    image whose record has neither: then the copy can be read, and no more is known. ``bytes`` is
    the number of bytes read.
    """

    image_id: str
    location: Location
    state: CheckState
    damage: Damage | None = None
    problem: str = ""
    compared: tuple[str, ...] = ()
    bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Difference:
    damage: Damage
    problem: str


class Verifier:
    """Checks copies at a limited rate, and records what it finds."""

    def __init__(
        self,
        registry: Registry,
        stores: Stores,
        *,
        rate: float | None = None,
        check: Callable[[], object] = lambda: None,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.time,
        records: bool = True,
    ) -> None:
        """``rate`` is in MiB/s; None means as fast as possible. ``check`` is called between two
        reads and may raise to stop; ``wait`` lets a number of seconds pass, ``clock`` returns
        seconds since the epoch. Without ``records``, nothing is written to the registry."""
        self._registry = registry
        self._stores = stores
        self._throttle = Throttle(rate, sleep=wait)
        self._check = check
        self._clock = clock
        self._records = records

    def verify(self, places: Iterable[Place]) -> Iterator[CheckResult]:
        """Check these copies. Those that do not exist any more are left out.

        No connection to the database is in use while data is read. Raises Unavailable, and
        whatever ``check`` raises.
        """
        for image_id, location in places:
            result = self.verify_copy(image_id, location)
            if result is not None:
                yield result

    def verify_copy(self, image_id: str, location: Location) -> CheckResult | None:
        """Check one copy; None if the image has it no more. Raises as ``verify``."""
        image = self._image_with(image_id, location)
        if image is None:
            return None
        result = self.examine(image, location)
        # Data of an image that was deleted, or was given other data, is not damaged.
        if self._image_with(image_id, location) is None:
            return None
        is_checked = result.state is not CheckState.NOT_CHECKED
        if (
            is_checked
            and self._records
            and not self._registry.record_check(image_id, location, self._clock(), result.damage)
        ):
            return None
        _report(result, image)
        return result

    def examine(self, image: Image, location: Location) -> CheckResult:
        """Compare the object at a location with the image's record, and record nothing."""
        reading = _Reading(image, location, self._throttle, self._check)
        try:
            difference = reading.compare(self._stores.get(location.store))
            if difference is not None:
                # A wrong mark would keep a good copy from its users, so it is read once more.
                difference = reading.compare(self._stores.get(location.store))
        except (errors.StoreUnavailable, errors.BodyCut) as error:
            return reading.result(CheckState.NOT_CHECKED, problem=str(error))
        return reading.judged(difference)

    def _image_with(self, image_id: str, location: Location) -> Image | None:
        try:
            image = self._registry.get(image_id)
        except errors.NotFound:
            return None
        return image if location in image.copies else None


class _Reading:
    """Reads one copy, once or more."""

    def __init__(
        self,
        image: Image,
        location: Location,
        throttle: Throttle,
        check: Callable[[], object],
    ) -> None:
        self._image = image
        self._location = location
        self._throttle = throttle
        self._check = check
        self._digests = hashing.recorded(image.os_hash_algo, image.os_hash_value, image.checksum)
        self._bytes = 0

    def compare(self, store: Store) -> _Difference | None:
        """How the copy differs from the record. Raises StoreUnavailable and BodyCut."""
        try:
            size = store.size(self._location.url)
            if self._image.size not in (None, size):
                problem = f"it has {size} bytes instead of {self._image.size}"
                return _Difference(Damage.SIZE, problem)
            return self._compare_content(store)
        except errors.ObjectNotFound:
            return _Difference(Damage.MISSING, "the store has no such object")

    def _compare_content(self, store: Store) -> _Difference | None:
        found = Digests(tuple(self._digests))
        with contextlib.closing(ByteStream.of(store.read(self._location.url))) as stream:
            body = Tapped(stream, None)
            paced = 0

            def check() -> None:
                nonlocal paced
                self._check()
                self._throttle.take(body.received - paced)
                paced = body.received

            try:
                size = copy(body, None, found, check)
            finally:
                self._bytes += body.received
                metrics.VERIFIED_BYTES.add(self._location.store, amount=body.received)
        if self._image.size not in (None, size):
            return _Difference(Damage.SIZE, f"it has {size} bytes instead of {self._image.size}")
        values = found.values()
        for algorithm, expected in self._digests.items():
            if values[algorithm] != expected:
                problem = f"its {algorithm} digest is {values[algorithm]} instead of {expected}"
                return _Difference(Damage.CONTENT, problem)
        return None

    def judged(self, difference: _Difference | None) -> CheckResult:
        if difference is None:
            return self.result(CheckState.GOOD)
        return self.result(CheckState.DAMAGED, damage=difference.damage, problem=difference.problem)

    def result(
        self, state: CheckState, *, damage: Damage | None = None, problem: str = ""
    ) -> CheckResult:
        sizes = () if self._image.size is None else ("size",)
        return CheckResult(
            image_id=self._image.id,
            location=self._location,
            state=state,
            damage=damage,
            problem=problem,
            compared=(*sizes, *self._digests),
            bytes=self._bytes,
        )


def _report(result: CheckResult, image: Image) -> None:
    store = result.location.store
    metrics.VERIFIED.add(store, result.state)
    fields = {"image": image.id, "store": store, "problem": result.problem}
    if result.state is CheckState.DAMAGED:
        LOG.error(
            "Image %s is damaged in store %s: %s",
            *(image.id, store, result.problem),
            extra={"extra": {**fields, "damage": result.damage}},
        )
    elif result.state is CheckState.NOT_CHECKED:
        LOG.warning(
            "Image %s could not be verified in store %s: %s",
            *(image.id, store, result.problem),
            extra={"extra": fields},
        )
    elif _had_damage(image, result.location):
        LOG.info("Image %s is whole again in store %s", image.id, store, extra={"extra": fields})


def _had_damage(image: Image, location: Location) -> str | None:
    return next(copy.damage for copy in image.locations if copy == location)


def longest_unchecked(
    registry: Registry, stores: Collection[str] | None = None, number: int | None = None
) -> Iterator[Place]:
    """The copies in these stores or in all, beginning with the one whose check is the longest ago.

    At most ``number``, or all. A sample that is taken again and again gets to every copy, because
    what was checked goes to the end. Copies that are added meanwhile are left out. Raises
    Unavailable.
    """
    began, last, count = time.time(), None, 0
    while page := registry.copies_to_check(began, stores, last):
        for last in page:
            if count == number:
                return
            count += 1
            yield last.image_id, last.location


def known_damage(registry: Registry, stores: Collection[str] | None = None) -> Iterator[Place]:
    """The copies in these stores or in all in which the last check found damage.

    Raises Unavailable.
    """
    last = None
    while page := registry.damaged_copies(last):
        for last in page:
            if stores is None or last.location.store in stores:
                yield last.image_id, last.location
