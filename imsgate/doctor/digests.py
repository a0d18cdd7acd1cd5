"""Digests: image data is read and compared with the records."""

import collections
import dataclasses
import random
from collections.abc import Iterable, Iterator

from imsgate.doctor import database
from imsgate.doctor.diagnosis import Diagnosis, Severity, counted
from imsgate.doctor.installation import Installation
from imsgate.stores import loader
from imsgate.stores.enabled import Stores
from imsgate.verification.checking import (
    CheckResult,
    CheckState,
    Place,
    Verifier,
    longest_unchecked,
)

#: How many copies a message names.
_NAMED = 5

_DAMAGED = (
    "Run 'imsgate verify --repair IMAGE', which takes the data from another store, or restore the "
    "data from a backup."
)
_NOT_CHECKED = "Repeat this check when the store works."


def check(installation: Installation) -> Iterator[Diagnosis]:
    """One finding for each store with damaged copies. Writes nothing to the database."""
    sample = installation.sample
    if sample is None:
        message = "No image data was read: --verify N reads N copies, and --verify all reads all."
        yield Diagnosis(check="digests", severity=Severity.SKIPPED, message=message)
        return
    if not installation.has_records or database.is_before_start(installation):
        message = "There are no records."
        yield Diagnosis(check="digests", severity=Severity.SKIPPED, message=message)
        return
    registry = installation.registry
    stores = Stores(installation.backends, loader.default_id(installation.conf))
    verifier = Verifier(registry, stores, rate=sample.rate, records=False)
    places: Iterable[Place] = longest_unchecked(registry)
    if sample.number is not None:
        places = chosen(places, sample.number)
    summary = _Summary()
    for result in verifier.verify(places):
        summary.add(result)
    yield from summary.findings()


def chosen(places: Iterable[Place], number: int) -> list[Place]:
    """This number of places at random, each with the same probability, or all if there are fewer.

    (Algorithm R: needs the memory of the sample only.)
    """
    sample: list[Place] = []
    for seen, place in enumerate(places):
        if seen < number:
            sample.append(place)
        elif (position := random.randrange(seen + 1)) < number:  # noqa: S311 - no secret
            sample[position] = place
    return sample


@dataclasses.dataclass(slots=True)
class _Summary:
    """The results of all checks, in bounded memory."""

    good: int = 0
    bytes: int = 0
    bad: dict[tuple[str, CheckState], list[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    counts: collections.Counter[tuple[str, CheckState]] = dataclasses.field(
        default_factory=collections.Counter
    )

    def add(self, result: CheckResult) -> None:
        self.bytes += result.bytes
        if result.state is CheckState.GOOD:
            self.good += 1
            return
        kind = (result.location.store, result.state)
        self.counts[kind] += 1
        if len(self.bad[kind]) < _NAMED:
            self.bad[kind].append(f"{result.image_id}: {result.problem}")

    def findings(self) -> Iterator[Diagnosis]:
        for (store, state), examples in self.bad.items():
            number = self.counts[store, state]
            named = "; ".join(examples) + ("; …" if number > len(examples) else "")
            damaged = state is CheckState.DAMAGED
            what = "with other data than recorded" if damaged else "not checked"
            yield Diagnosis(
                check=f"digests.{store}",
                severity=Severity.ERROR if damaged else Severity.WARNING,
                message=f"{counted(number, 'copy', 'copies')} in the store {store!r} {what}: "
                f"{named}.",
                advice=_DAMAGED if damaged else _NOT_CHECKED,
            )
        good = counted(self.good, "good copy", "good copies")
        read = f"{good}; {counted(self.bytes, 'byte')} read."
        yield Diagnosis(check="digests", severity=Severity.OK, message=read)
