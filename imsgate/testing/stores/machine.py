"""Makes the same calls on a store and on the memory store, in random order, and compares them."""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Collection
from typing import Any

import hypothesis
from hypothesis import strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from imsgate import errors
from imsgate.config import Section
from imsgate.stores.base import Sink, Store
from imsgate.stores.memory import MemoryStore
from imsgate.testing.stores.budget import Budget

_RUNS = itertools.count()

SETTINGS = hypothesis.settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def compare(store: Store, leftovers: Callable[[Store], Collection[Any]], budget: Budget) -> None:
    """Fails with the shortest sequence of calls for which ``store`` differs from the memory store.

    ``leftovers`` lists what is in the store; ``budget`` is how many sequences to try.
    """

    class Comparison(_Machine):
        def __init__(self) -> None:
            budget.begin()
            self.handled = sys.exc_info()[1]
            super().__init__(store, leftovers)

        def teardown(self) -> None:
            error = sys.exc_info()[1]
            budget.note(None if error is self.handled else error)
            super().teardown()

    settings = hypothesis.settings(SETTINGS, max_examples=budget.sequences)
    with budget.spending():
        run_state_machine_as_test(Comparison, settings=settings)


@dataclasses.dataclass(eq=False)
class _Attempt:
    """An attempt in both stores. ``locations`` are what the two commits returned."""

    key: str
    sinks: tuple[Sink, Sink]
    open: bool = True
    discarded: bool = False
    locations: tuple[str, str] | None = None


def _outcome(call: Callable[[], Any]) -> Any:
    """The return value of a call, or the class of its error."""
    try:
        return call()
    except errors.ObjectNotFound:
        return errors.ObjectNotFound
    except errors.Error:
        return errors.Error


class _Machine(RuleBasedStateMachine):
    attempts = Bundle("attempts")

    def __init__(self, store: Store, leftovers: Callable[[Store], Collection[Any]]) -> None:
        super().__init__()
        self.reference = MemoryStore("reference", Section(memory_store_capacity=None))
        self.store = store
        self.leftovers = leftovers
        self.created: list[_Attempt] = []
        # All runs use one store. A run ignores what a failed run left behind.
        self.run = next(_RUNS)
        self.before = list(leftovers(store))

    @rule(target=attempts, image=strategies.sampled_from("ab"), chunk=strategies.binary(max_size=9))
    def create(self, image: str, chunk: bytes) -> _Attempt:
        key = f"{image * 8}-{self.run}.{len(self.created):x}"
        sinks = self.store.create(key, None), self.reference.create(key, None)
        attempt = _Attempt(key, sinks)
        self.created.append(attempt)
        # The data of each attempt is different, so that mixing up two of them shows.
        self.write(attempt, b"%d:" % len(self.created) + chunk)
        return attempt

    @rule(attempt=attempts, chunk=strategies.binary(min_size=1, max_size=40))
    def write(self, attempt: _Attempt, chunk: bytes) -> None:
        if attempt.open and not attempt.discarded:
            for sink in attempt.sinks:
                sink.write(chunk)

    @rule(attempt=attempts)
    def commit(self, attempt: _Attempt) -> None:
        if attempt.discarded and attempt.locations:
            return  # the contract does not say whether commit still returns the location
        ours, reference = (_outcome(sink.commit) for sink in attempt.sinks)
        agrees = isinstance(ours, str) == isinstance(reference, str)
        assert agrees, f"commit must have the outcome {reference!r}; it was {ours!r}"
        if isinstance(ours, str):
            same = attempt.locations in (None, (ours, reference))
            assert same, f"commit must return the same location again; it returned {ours!r}"
            attempt.locations = ours, reference
            self.read(attempt, 0, 100)
        attempt.open = False

    @rule(attempt=attempts)
    def abort(self, attempt: _Attempt) -> None:
        for sink in attempt.sinks:
            sink.abort()
        attempt.open = False

    @rule(attempt=attempts)
    def discard(self, attempt: _Attempt) -> None:
        self.store.discard(attempt.key)
        self.reference.discard(attempt.key)
        attempt.discarded = True

    @rule(attempt=attempts)
    def delete(self, attempt: _Attempt) -> None:
        if attempt.locations:
            ours, reference = attempt.locations
            expected = _outcome(lambda: self.reference.delete(reference))
            outcome = _outcome(lambda: self.store.delete(ours))
            assert outcome == expected, f"delete must have the outcome {expected}, not {outcome}"

    @rule(attempt=attempts, start=strategies.integers(0, 99), part=strategies.integers(0, 100))
    def read(self, attempt: _Attempt, start: int, part: int) -> None:
        """Start at ``start`` percent of the object and read ``part`` percent of the rest."""
        if not attempt.locations:
            return
        ours, reference = attempt.locations
        size = _outcome(lambda: self.reference.size(reference))
        outcome = _outcome(lambda: self.store.size(ours))
        assert outcome == size, f"size must have the outcome {size}, not {outcome}"
        offset, length = 0, None
        if isinstance(size, int):
            offset = size * start // 100
            length = (size - offset) * part // 100
        expected = _outcome(lambda: b"".join(self.reference.read(reference, offset, length)))
        outcome = _outcome(lambda: b"".join(self.store.read(ours, offset, length)))
        assert outcome == expected, (
            f"read({offset}, {length}) must have the outcome {expected!r}, not {outcome!r}"
        )

    @invariant()
    def empty_together(self) -> None:
        if not self.reference.held():
            remains = [item for item in self.leftovers(self.store) if item not in self.before]
            assert not remains, f"the store must be empty now; it contains {remains}"

    def teardown(self) -> None:
        for attempt in self.created:
            attempt.sinks[0].abort()
            self.store.discard(attempt.key)
