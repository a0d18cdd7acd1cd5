"""A store and the memory store are given the same calls in an order no one thought of."""

import dataclasses
import itertools
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

_RUNS = itertools.count()

SETTINGS = hypothesis.settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def compare(
    store: Store, leftovers: Callable[[Store], Collection[Any]], sequences: int = 100
) -> None:
    """Fails with the shortest sequence of calls in which ``store`` differs from the reference."""

    class Comparison(_Machine):
        def __init__(self) -> None:
            super().__init__(store, leftovers)

    settings = hypothesis.settings(SETTINGS, max_examples=sequences)
    run_state_machine_as_test(Comparison, settings=settings)


@dataclasses.dataclass(eq=False)
class _Attempt:
    """One attempt in both stores. ``locations`` are where the two put it."""

    key: str
    sinks: tuple[Sink, Sink]
    open: bool = True
    discarded: bool = False
    locations: tuple[str, str] | None = None


def _outcome(call: Callable[[], Any]) -> Any:
    """What a call returned, or the kind of its failure."""
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
        self.made: list[_Attempt] = []
        # One store serves all runs: what a failed one left is not seen by the next.
        self.run = next(_RUNS)
        self.before = list(leftovers(store))

    @rule(target=attempts, image=strategies.sampled_from("ab"), chunk=strategies.binary(max_size=9))
    def create(self, image: str, chunk: bytes) -> _Attempt:
        key = f"{image * 8}-{self.run}.{len(self.made):x}"
        sinks = self.store.create(key, None), self.reference.create(key, None)
        attempt = _Attempt(key, sinks)
        self.made.append(attempt)
        # No two attempts hold the same, so that mixing them up is seen.
        self.write(attempt, b"%d:" % len(self.made) + chunk)
        return attempt

    @rule(attempt=attempts, chunk=strategies.binary(min_size=1, max_size=40))
    def write(self, attempt: _Attempt, chunk: bytes) -> None:
        if attempt.open and not attempt.discarded:
            for sink in attempt.sinks:
                sink.write(chunk)

    @rule(attempt=attempts)
    def commit(self, attempt: _Attempt) -> None:
        if attempt.discarded and attempt.locations:
            return  # whether a sink still remembers its location is its own affair
        ours, reference = (_outcome(sink.commit) for sink in attempt.sinks)
        assert isinstance(ours, str) == isinstance(reference, str), (ours, reference)
        if isinstance(ours, str):
            assert attempt.locations in (None, (ours, reference))
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
            assert _outcome(lambda: self.store.delete(ours)) == _outcome(
                lambda: self.reference.delete(reference)
            )

    @rule(attempt=attempts, start=strategies.integers(0, 99), part=strategies.integers(0, 100))
    def read(self, attempt: _Attempt, start: int, part: int) -> None:
        """From ``start`` hundredths of the object on, ``part`` hundredths of the rest."""
        if not attempt.locations:
            return
        ours, reference = attempt.locations
        size = _outcome(lambda: self.reference.size(reference))
        assert _outcome(lambda: self.store.size(ours)) == size
        offset, length = 0, None
        if isinstance(size, int):
            offset = size * start // 100
            length = (size - offset) * part // 100
        assert _outcome(lambda: b"".join(self.store.read(ours, offset, length))) == _outcome(
            lambda: b"".join(self.reference.read(reference, offset, length))
        )

    @invariant()
    def empty_together(self) -> None:
        if not self.reference.held():
            assert not [left for left in self.leftovers(self.store) if left not in self.before]

    def teardown(self) -> None:
        for attempt in self.made:
            attempt.sinks[0].abort()
            self.store.discard(attempt.key)
