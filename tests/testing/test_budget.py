"""The checks with random calls end in time, and a failure is never lost."""

import hypothesis
import pytest
from hypothesis import strategies

from imsgate.config import Section
from imsgate.stores.memory import MemoryStore
from imsgate.testing.stores import budget, machine


class Clock:
    """A clock that goes on by a second each time it is read."""

    now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def store(kind=MemoryStore):
    return kind("memory", Section(memory_store_capacity=None))


def test_no_sequence_begins_after_the_time():
    began = []
    short = budget.Budget(100, 5, lambda: began.append(1), Clock())
    machine.compare(store(), MemoryStore.held, short)
    assert short.begun == 5
    assert len(began) == 6


def test_the_number_of_sequences_can_be_set(monkeypatch):
    monkeypatch.setenv(budget.SEQUENCES, "3")
    monkeypatch.setenv(budget.SECONDS, "0")
    few = budget.Budget.of(100, 1, lambda: None)
    machine.compare(store(), MemoryStore.held, few)
    assert 3 <= few.begun < 10  # hypothesis adds some


def test_a_failure_is_reported_after_the_time():
    class Broken(MemoryStore):
        def discard(self, key):
            raise OSError(key)

    short = budget.Budget(100, 1.5, clock=Clock())
    with pytest.raises(OSError, match="aaaa"):
        machine.compare(store(Broken), MemoryStore.held, short)


def test_a_failure_of_a_plain_property_is_reported_after_the_time():
    short = budget.Budget(100, 1.5, clock=Clock())

    @hypothesis.settings(machine.SETTINGS)
    @hypothesis.given(strategies.integers())
    def check(number):
        short.begin()
        short.failed = True
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"), short.spending():
        check()
