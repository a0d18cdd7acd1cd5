"""Checks of attempts that one process takes over from another, which died or was only paused."""

import concurrent.futures
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from imsgate import errors
from imsgate.stores.base import Resumable, ResumableSink, Store
from imsgate.testing.stores.checks import REPORTED
from imsgate.testing.stores.data import MIB, SIZE, assert_same, body, content, new_key
from imsgate.testing.stores.suspended import LATE, SuspendedAttempts, need_resumable, write

#: What another process does with the attempt, at an epoch.
OVERTAKING: dict[str, Callable[[Resumable, str, int, int], Any]] = {
    "durable": lambda store, key, offset, epoch: store.durable(key, None, epoch),
    "resume": lambda store, key, offset, epoch: store.resume(key, None, offset, epoch),
}

_OVERTAKEN = "a sink of a lower epoch must not change the attempt"


class TakeoverChecks(SuspendedAttempts):
    """An attempt has one writer at a time; what the one before wrote is counted honestly."""

    # Processes that die.

    @pytest.mark.parametrize("suspended", [0, MIB + 1])
    def test_what_a_killed_process_wrote_is_counted_honestly(
        self, store: Store, suspended: int
    ) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            write(sink, data[:suspended])
            least = sink.suspend()
        killed = resumable.resume(key, None, least, 2)
        write(killed, data[least : 2 * MIB])
        with self.elsewhere(store) as other:
            for epoch in (3, 4):
                count = other.durable(key, None, epoch)
                assert least <= count <= 2 * MIB, (
                    f"durable must return between {least}, which was durable, and {2 * MIB}, "
                    f"the bytes written; it returned {count}"
                )
                least = count
            self.finish(other, key, data, 5)
        killed.abort()

    def test_resume_drops_what_lies_beyond(self, store: Store) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            write(sink, data[: MIB + 7])
            at = sink.suspend()
        killed = resumable.resume(key, None, at, 2)
        write(killed, body(2 * MIB, "of a process that died"))
        with self.elsewhere(store) as other:
            self.finish_at(other, key, data, at, 3)
        killed.abort()

    def test_a_commit_that_nobody_recorded_can_be_repeated(self, store: Store) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, SIZE, 1) as sink:
            write(sink, data[:MIB])
            at = sink.suspend()
        with resumable.resume(key, SIZE, at, 2) as sink:
            write(sink, data[at:])
            location = self.keep(store, sink.commit())
            assert sink.commit() == location, "a second commit must return the same location"
        with self.elsewhere(store) as other:
            size = other.durable(key, SIZE, 3)
            assert size == SIZE, f"durable must return the size of a committed object, not {size}"
            with other.resume(key, SIZE, SIZE, 4) as sink:
                assert sink.suspend() == SIZE, "suspend must return the size"
            with other.resume(key, SIZE, SIZE, 4) as sink:
                sink.abort()
                rule = "a committed object must stay as it is, also after resume and abort"
                assert_same(content(store, location), data, rule)
            with other.resume(key, SIZE, SIZE, 5) as sink:
                again = sink.commit()
                assert again == location, f"commit must return {location!r} again, not {again!r}"
                with pytest.raises(REPORTED):
                    sink.write(b"more")
                    pytest.fail("write must fail after the attempt was committed")
        assert_same(content(store, location), data, "a committed object must stay as it is")

    # Two writers.

    @pytest.mark.parametrize("overtake", OVERTAKING.values(), ids=OVERTAKING)
    @pytest.mark.parametrize("late", LATE.values(), ids=LATE)
    def test_a_stale_writer_changes_nothing(
        self,
        store: Store,
        late: Callable[[ResumableSink], Any],
        overtake: Callable[[Resumable, str, int, int], Any],
    ) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            write(sink, data[: MIB + 7])
            at = sink.suspend()
        stale = resumable.resume(key, None, at, 2)
        write(stale, data[at : 2 * MIB])
        with self.elsewhere(store) as other:
            taken = overtake(other, key, at, 3)
            with pytest.raises(errors.StoreUnavailable):
                late(stale)
                pytest.fail(f"{_OVERTAKEN}; it must raise StoreUnavailable")
            stale.abort()
            self.finish(other, key, data, 4)
            if isinstance(taken, ResumableSink):
                taken.abort()

    def test_a_stale_writer_removes_nothing(self, store: Store) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        stale = resumable.begin(key, None, 1)
        write(stale, data[:MIB])
        with self.elsewhere(store) as other:
            at = other.durable(key, None, 2)
            sink = other.resume(key, None, at, 2)
            write(sink, data[at:])
            stale.abort()
            location = self.keep(store, sink.commit())
        assert_same(content(store, location), data, "abort of a stale sink must do nothing")

    def test_many_processes_take_an_attempt_over(self, store: Store) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 0) as sink:
            sink.suspend()
        epochs = itertools.count(1)
        turn, barrier = threading.Lock(), threading.Barrier(4)

        def take(other: Any) -> bool:
            """Take the attempt over with three others, write, and return whether it counted."""
            with turn:
                epoch = next(epochs)
                at = other.durable(key, None, epoch)
                sink = other.resume(key, None, at, epoch)
            barrier.wait()
            try:
                write(sink, data[at : at + 100_000])
                sink.suspend()
            except errors.StoreUnavailable:
                return False
            finally:
                barrier.wait()
                sink.abort()
            return True

        def work(number: int) -> int:
            try:
                with self.elsewhere(store) as other:
                    return sum(take(other) for _ in range(4))
            except BaseException:
                barrier.abort()
                raise

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            counted = sum(pool.map(work, range(4)))
        assert counted == 4, f"{_OVERTAKEN}; of 4 x 4 sinks {counted} instead of 4 counted"
        self.finish(store, key, data, next(epochs))
