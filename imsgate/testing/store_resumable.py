"""Checks of attempts that are suspended and resumed. Stores without this ability skip them."""

import concurrent.futures
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imsgate import errors
from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Resumable, ResumableSink, Store, Sweeps
from imsgate.testing import store_cuts
from imsgate.testing.store_checks import REPORTED, StoreChecks, assert_missing, open_descriptors
from imsgate.testing.store_data import (
    MIB,
    SIZE,
    assert_same,
    body,
    content,
    new_key,
    pieces,
)
from imsgate.testing.store_faults import FaultChecks

_CHUNK_BYTES = 300_000

_ANNOUNCED = pytest.mark.parametrize("known", [True, False], ids=["announced", "unknown size"])

#: Where attempts are cut, as (parts, bytes) of each offset; the last one is the size.
CUTS = {
    "an empty object": [(0, 0)],
    "an empty object, cut": [(0, 0), (0, 0)],
    "before the first byte": [(0, 0), (1, 17)],
    "after the last byte": [(1, 17), (1, 17)],
    "within a part": [(0, 5), (0, 99), (0, 100)],
    "around a part": [(1, -1), (1, 0), (1, 1), (1, 2)],
    "at parts": [(1, 0), (2, 0), (3, 0)],
    "across parts": [(1, -1), (2, 1), (2, 7)],
    "often": [(0, 77_777 * number) for number in range(1, 8)],
}


def _write_and_suspend(sink: ResumableSink) -> None:
    sink.write(body(MIB, "late"))  # a driver may collect this much before it notices
    sink.suspend()


#: What a sink that has ended or was overtaken may still try.
LATE: dict[str, Callable[[ResumableSink], Any]] = {
    "write": _write_and_suspend,
    "suspend": lambda sink: sink.suspend(),
    "commit": lambda sink: sink.commit(),
}

#: What another process does with the attempt, at an epoch.
OVERTAKING: dict[str, Callable[[Resumable, str, int, int], Any]] = {
    "durable": lambda store, key, offset, epoch: store.durable(key, None, epoch),
    "resume": lambda store, key, offset, epoch: store.resume(key, None, offset, epoch),
}

_OVERTAKEN = "a sink of a lower epoch must not change the attempt"


class ResumableChecks(StoreChecks):
    """What is suspended stays, goes on in another process, and has one writer at a time."""

    @contextlib.contextmanager
    def _elsewhere(self, store: Store) -> Iterator[Any]:
        """The store in another process."""
        made = self.again(store)
        try:
            yield made
        finally:
            if made is not store and hasattr(made, "close"):
                made.close()

    def _finish(self, store: Any, key: str, data: bytes, epoch: int) -> None:
        """Take the attempt over, check what it has, write the rest and read everything."""
        self._finish_at(store, key, data, store.durable(key, None, epoch), epoch)

    def _finish_at(self, store: Any, key: str, data: bytes, offset: int, epoch: int) -> None:
        with store.resume(key, None, offset, epoch) as sink:
            _write(sink, data[offset:])
            location = self.keep(store, sink.commit())
        assert_same(content(store, location), data, "the object must be what was written")

    # Cuts.

    @_ANNOUNCED
    @pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
    def test_a_suspended_attempt_goes_on_byte_for_byte(
        self, store: Store, cuts: list[tuple[int, int]], known: bool
    ) -> None:
        resumable = _resumable(store)
        *ends, total = [parts * self.PART + count for parts, count in cuts]
        key, data, size = new_key(), body(total), total if known else None
        at = 0
        sink = resumable.begin(key, size, 1)
        with contextlib.ExitStack() as processes:
            for epoch, end in enumerate(ends, 2):
                with sink:
                    _write(sink, data[at:end])
                    kept = sink.suspend()
                assert at <= kept <= end, (
                    f"suspend must return between {at} and {end}, the bytes written; it was {kept}"
                )
                other = processes.enter_context(self._elsewhere(store))
                at = other.durable(key, size, epoch) if epoch % 2 else kept
                assert at == kept, f"durable must return {kept}, as suspend did; it returned {at}"
                sink = other.resume(key, size, at, epoch)
            with sink:
                _write(sink, data[at:])
                location = self.keep(store, sink.commit())
        assert store.size(location) == total, "size must return the bytes written"
        assert_same(content(store, location), data, "the object must be what was written")

    def test_random_cuts(self, store: Store) -> None:
        _resumable(store)
        store_cuts.compare(store, lambda: self._elsewhere(store), self.PART, self.SEQUENCES)

    @pytest.mark.parametrize("end", ["fewer", "more"])
    def test_another_size_than_announced_after_a_cut(self, store: Store, end: str) -> None:
        resumable = _resumable(store)
        key, size = new_key(), SIZE
        data = body(size - 1 if end == "fewer" else size + 1)
        with resumable.begin(key, size, 1) as sink:
            _write(sink, data[:MIB])
            at = sink.suspend()
        try:
            with resumable.resume(key, size, at, 2) as sink:
                _write(sink, data[at:])
                location = self.keep(store, sink.commit())
        except (*REPORTED, errors.SizeMismatch):
            self.assert_empty(store, "after a failed attempt")
            return
        rule = "commit must fail or store exactly the bytes written, whatever was announced"
        assert_same(content(store, location), data, rule)

    def test_a_suspended_attempt_is_not_visible(self, store: Store) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        location = self.put(store, data, key=key)
        store.delete(location)
        store.discard(key)
        with resumable.begin(key, SIZE, 1) as sink:
            _write(sink, data)
            sink.suspend()
        assert_missing(store, location, "the attempt is suspended and not committed")
        store.discard(key)

    # Processes that die.

    @pytest.mark.parametrize("suspended", [0, MIB + 1])
    def test_what_a_killed_process_wrote_is_counted_honestly(
        self, store: Store, suspended: int
    ) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            _write(sink, data[:suspended])
            least = sink.suspend()
        killed = resumable.resume(key, None, least, 2)
        _write(killed, data[least : 2 * MIB])
        with self._elsewhere(store) as other:
            for epoch in (3, 4):
                count = other.durable(key, None, epoch)
                assert least <= count <= 2 * MIB, (
                    f"durable must return between {least}, which was durable, and {2 * MIB}, "
                    f"the bytes written; it returned {count}"
                )
                least = count
            self._finish(other, key, data, 5)
        killed.abort()

    def test_resume_drops_what_lies_beyond(self, store: Store) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            _write(sink, data[: MIB + 7])
            at = sink.suspend()
        killed = resumable.resume(key, None, at, 2)
        _write(killed, body(2 * MIB, "of a process that died"))
        with self._elsewhere(store) as other:
            self._finish_at(other, key, data, at, 3)
        killed.abort()

    def test_a_commit_that_nobody_recorded_can_be_repeated(self, store: Store) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, SIZE, 1) as sink:
            _write(sink, data[:MIB])
            at = sink.suspend()
        with resumable.resume(key, SIZE, at, 2) as sink:
            _write(sink, data[at:])
            location = self.keep(store, sink.commit())
            assert sink.commit() == location, "a second commit must return the same location"
        with self._elsewhere(store) as other:
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
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            _write(sink, data[: MIB + 7])
            at = sink.suspend()
        stale = resumable.resume(key, None, at, 2)
        _write(stale, data[at : 2 * MIB])
        with self._elsewhere(store) as other:
            taken = overtake(other, key, at, 3)
            with pytest.raises(errors.StoreUnavailable):
                late(stale)
                pytest.fail(f"{_OVERTAKEN}; it must raise StoreUnavailable")
            stale.abort()
            self._finish(other, key, data, 4)
            if isinstance(taken, ResumableSink):
                taken.abort()

    def test_a_stale_writer_removes_nothing(self, store: Store) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        stale = resumable.begin(key, None, 1)
        _write(stale, data[:MIB])
        with self._elsewhere(store) as other:
            at = other.durable(key, None, 2)
            sink = other.resume(key, None, at, 2)
            _write(sink, data[at:])
            stale.abort()
            location = self.keep(store, sink.commit())
        assert_same(content(store, location), data, "abort of a stale sink must do nothing")

    def test_many_processes_take_an_attempt_over(self, store: Store) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
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
                _write(sink, data[at : at + 100_000])
                sink.suspend()
            except errors.StoreUnavailable:
                return False
            finally:
                barrier.wait()
                sink.abort()
            return True

        def work(number: int) -> int:
            try:
                with self._elsewhere(store) as other:
                    return sum(take(other) for _ in range(4))
            except BaseException:
                barrier.abort()
                raise

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            counted = sum(pool.map(work, range(4)))
        assert counted == 4, f"{_OVERTAKEN}; of 4 x 4 sinks {counted} instead of 4 counted"
        self._finish(store, key, data, next(epochs))

    # Ends.

    def test_a_suspended_sink_has_ended(self, store: Store) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            _write(sink, data[:MIB])
            sink.suspend()
            for name, call in LATE.items():
                with pytest.raises(REPORTED):
                    call(sink)
                    pytest.fail(f"{name} must raise StoreUnavailable after suspend")
            sink.abort()
            sink.abort()
        self._finish(store, key, data, 2)

    def test_a_resumed_attempt_that_is_not_committed_leaves_nothing(self, store: Store) -> None:
        resumable = _resumable(store)
        for written in (0, 5, MIB, self.PART + 1):
            key = new_key()
            with resumable.begin(key, None, 1) as sink:
                _write(sink, body(written))
            self.assert_empty(store, "after an attempt that was not committed")
            with resumable.begin(key, None, 1) as sink:
                _write(sink, body(written))
                at = sink.suspend()
            with resumable.resume(key, None, at, 2) as sink:
                _write(sink, body(MIB))
            self.assert_empty(store, "after a resumed attempt that was not committed")

    def test_discard_removes_a_suspended_attempt(self, store: Store) -> None:
        resumable = _resumable(store)
        for written in (0, 5, MIB, self.PART + 1):
            key = new_key()
            with resumable.begin(key, None, 1) as sink:
                _write(sink, body(written))
                at = sink.suspend()
            with self._elsewhere(store) as other:
                other.discard(key)
            self.assert_empty(store, "after discard of a suspended attempt")
            _assert_nothing_to_resume(resumable, key, at)

    def test_a_discarded_attempt_cannot_be_suspended(self, store: Store) -> None:
        resumable, key = _resumable(store), new_key()
        with resumable.begin(key, None, 1) as sink:
            _write(sink, body(self.PART + 1))
            at = sink.suspend()
        with resumable.resume(key, None, at, 2) as sink:
            with self._elsewhere(store) as other:
                other.discard(key)
            with pytest.raises(REPORTED):  # from either call
                _write(sink, body(MIB))
                sink.suspend()
                pytest.fail("write or suspend must raise StoreUnavailable after discard")
        store.discard(key)
        self.assert_empty(store, "after a discarded attempt has ended")

    def test_nothing_cannot_be_resumed(self, store: Store) -> None:
        resumable = _resumable(store)
        _assert_nothing_to_resume(resumable, new_key(), 0)
        key = new_key()
        with resumable.begin(key, None, 1) as sink:
            sink.write(b"data")
        _assert_nothing_to_resume(resumable, key, 0)

    def test_the_sweep_finds_suspended_attempts(self, store: Store) -> None:
        resumable = _resumable(store)
        if not isinstance(store, Sweeps):
            pytest.skip("this store does not sweep")
        for written in (0, 5, self.PART + 1):
            key, data = new_key(), body(written + 3)
            with resumable.begin(key, None, 1) as sink:
                _write(sink, data[:written])
                at = sink.suspend()
            store.sweep(0, lambda asked, key=key: asked == key)  # type: ignore[misc]
            self._finish_at(store, key, data, at, 2)
            key = new_key()
            with resumable.begin(key, None, 1) as sink:
                _write(sink, data[:written])
                sink.suspend()
            swept = store.sweep(0, lambda _: False)
            assert swept.attempts == 1, f"sweep must report one attempt, not {swept.attempts}"
            _assert_nothing_to_resume(resumable, key, at)

    def test_a_suspended_sink_holds_nothing(self, store: Store) -> None:
        resumable = _resumable(store)
        keys = [new_key() for _ in range(9)]
        sinks, before = [], 0
        for number, key in enumerate(keys):
            sinks.append(resumable.begin(key, None, 1))
            sinks[-1].write(b"data")
            at = sinks[-1].suspend()
            sinks.append(resumable.resume(key, None, at, 2))
            sinks[-1].suspend()
            resumable.durable(key, None, 3)
            before = before if number else open_descriptors()
        opened = open_descriptors() - before
        assert opened < 8, f"suspend and durable left {opened} descriptors open in 8 attempts"
        for key in keys:
            store.discard(key)

    # A full store.

    def test_an_attempt_survives_a_full_store(self, small_store: Store) -> None:
        resumable, key, data = _resumable(small_store), new_key(), body(64 * MIB)
        with resumable.begin(key, None, 1) as sink:
            _write(sink, data[:100_000])
            at = sink.suspend()
        with resumable.resume(key, None, at, 2) as sink:
            with pytest.raises(errors.StoreFull):
                _write(sink, data[at:], 65_536)
                sink.commit()
                pytest.fail("write or commit must raise StoreFull when the store is full")
            with pytest.raises(REPORTED):
                sink.commit()
                pytest.fail("commit must fail after a failed write; it succeeded")
            with contextlib.suppress(*REPORTED):
                kept = sink.suspend()
                assert kept >= at, f"suspend must not return fewer than {at} bytes, as {kept}"
        count = resumable.durable(key, None, 3)
        assert count >= at, f"durable must not go down from {at} to {count}"
        with resumable.resume(key, None, count, 4) as sink:
            location = sink.commit()
        assert_same(content(small_store, location), data[:count], "what was durable must stay")
        small_store.delete(location)


class ResumableFaultChecks(ResumableChecks, FaultChecks):
    """Checks of resumable attempts that need ``write_fault``."""

    @pytest.mark.parametrize("nth", [1, 2, 3])
    def test_an_attempt_survives_a_write_that_fails(self, store: Store, nth: int) -> None:
        resumable, key, data = _resumable(store), new_key(), body(SIZE)
        fault = self.write_fault(store, nth)
        with resumable.begin(key, None, 1) as sink:
            _write(sink, data[:MIB])
            least = sink.suspend()
        sink = resumable.resume(key, None, least, 2)
        with fault:
            with pytest.raises(REPORTED):
                _write(sink, data[least:])
                sink.commit()
                pytest.fail("write or commit must raise StoreUnavailable for a fault")
            with pytest.raises(REPORTED):
                sink.commit()
                pytest.fail("commit must fail after a failed write; it succeeded")
            with contextlib.suppress(*REPORTED):
                kept = sink.suspend()
                assert kept >= least, f"suspend must return at least {least}, not {kept}"
        with self._elsewhere(store) as other:
            count = other.durable(key, None, 3)
            assert count >= least, f"durable must not go down from {least} to {count}"
            self._finish_at(other, key, data, count, 3)


def _resumable(store: Store) -> Any:
    """The store, if it is Resumable; skips the check if it is not."""
    if not isinstance(store, Resumable):
        pytest.skip("this driver's attempts cannot be suspended")
    return store


def _write(sink: ResumableSink, data: bytes, chunk: int = _CHUNK_BYTES) -> None:
    for piece in pieces(data, chunk):
        sink.write(piece)


def _assert_nothing_to_resume(store: Resumable, key: str, offset: int) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "durable": lambda: store.durable(key, None, 9),
        "resume": lambda: store.resume(key, None, offset, 9),
    }
    for name, call in calls.items():
        with pytest.raises(ObjectNotFound):
            call()
            pytest.fail(f"{name} must raise ObjectNotFound if nothing is left of the attempt")
