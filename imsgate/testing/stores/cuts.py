"""Cuts an attempt at random, lets random processes continue it, and compares the result."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import hypothesis
from hypothesis import strategies

from imsgate.stores.base import Store
from imsgate.testing.stores import machine
from imsgate.testing.stores.budget import Budget
from imsgate.testing.stores.data import assert_same, body, content, new_key, pieces

#: How a process ends its turn.
_SUSPENDS, _DIES, _DIES_AT_ONCE = "suspends", "dies", "dies before it writes"

_ENDS = strategies.sampled_from([_SUSPENDS, _SUSPENDS, _DIES, _DIES_AT_ONCE])

#: The number of parts and bytes that a process writes, the size of its chunks, and its end.
_TURNS = strategies.lists(
    strategies.tuples(
        *(strategies.integers(0, 1), strategies.integers(0, 70_000)),
        *(strategies.integers(9_999, 99_999), _ENDS),
    ),
    max_size=6,
)


def compare(
    store: Any, elsewhere: Callable[[], AbstractContextManager[Any]], part: int, budget: Budget
) -> None:
    """Fails with the shortest sequence of turns after which the object is not what was written.

    ``elsewhere`` builds the store of another process; ``part`` is the size of a part in bytes;
    ``budget`` is how many sequences to try.
    """

    @hypothesis.settings(machine.SETTINGS, max_examples=budget.sequences)
    @hypothesis.given(turns=_TURNS, known=strategies.booleans())
    def check(turns: list[tuple[int, int, int, str]], known: bool) -> None:
        budget.begin()
        with contextlib.ExitStack() as processes:
            others = [store, processes.enter_context(elsewhere())]
            sizes = [parts * part + count for parts, count, _, _ in turns]
            key = new_key()
            try:
                _run(others, key, body(sum(sizes)), sizes, turns, known)
            except BaseException as error:
                budget.note(error)
                raise
            finally:
                store.discard(key)

    with budget.spending():
        check()


def _run(
    others: list[Any],
    key: str,
    data: bytes,
    sizes: list[int],
    turns: list[tuple[int, int, int, str]],
    known: bool,
) -> None:
    size = len(data) if known else None
    store: Store = others[0]
    sink = others[0].begin(key, size, 0)
    least = at = most = 0
    dead = []
    for epoch, (count, (_, _, chunk, end)) in enumerate(zip(sizes, turns, strict=True), 1):
        if end != _DIES_AT_ONCE:
            for piece in pieces(data[at : at + count], chunk):
                sink.write(piece)
            # A part that a dead process has sent may arrive later, so most never goes down.
            most = max(most, min(len(data), at + count))
        if end == _SUSPENDS:
            least = sink.suspend()
        dead.append(sink)
        other = others[epoch % 2]
        at = other.durable(key, size, epoch)
        assert least <= at <= most, (
            f"durable must return between {least}, which was durable, and {most}, "
            f"the bytes written; it returned {at}"
        )
        least = at
        sink = other.resume(key, size, at, epoch)
    with sink:
        for piece in pieces(data[at:], 99_999):
            sink.write(piece)
        location = sink.commit()
    for stale in dead:
        stale.abort()
    assert_same(content(store, location), data, "the object must be what was written")
    store.delete(location)
