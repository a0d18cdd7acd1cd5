"""Checks of attempts that are suspended and resumed. Stores without this ability skip them."""

import contextlib

import pytest

from imsgate import errors
from imsgate.stores.base import Store, Sweeps
from imsgate.testing.stores import cuts
from imsgate.testing.stores.checks import REPORTED, assert_missing, open_descriptors
from imsgate.testing.stores.data import MIB, SIZE, assert_same, body, content, new_key
from imsgate.testing.stores.faults import FaultChecks
from imsgate.testing.stores.suspended import (
    LATE,
    assert_fails_and_keeps,
    assert_nothing_to_resume,
    need_resumable,
    write,
)
from imsgate.testing.stores.takeovers import TakeoverChecks

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


class ResumableChecks(TakeoverChecks):
    """A suspended attempt stays, and continues in another process."""

    # Cuts.

    @_ANNOUNCED
    @pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
    def test_a_suspended_attempt_goes_on_byte_for_byte(
        self, store: Store, cuts: list[tuple[int, int]], known: bool
    ) -> None:
        resumable = need_resumable(store)
        *ends, total = [parts * self.PART + count for parts, count in cuts]
        key, data, size = new_key(), body(total), total if known else None
        at = 0
        sink = resumable.begin(key, size, 1)
        with contextlib.ExitStack() as processes:
            for epoch, end in enumerate(ends, 2):
                with sink:
                    write(sink, data[at:end])
                    kept = sink.suspend()
                assert at <= kept <= end, (
                    f"suspend must return between {at} and {end}, the bytes written; it was {kept}"
                )
                other = processes.enter_context(self.elsewhere(store))
                at = other.durable(key, size, epoch) if epoch % 2 else kept
                assert at == kept, f"durable must return {kept}, as suspend did; it returned {at}"
                sink = other.resume(key, size, at, epoch)
            with sink:
                write(sink, data[at:])
                location = self.keep(store, sink.commit())
        assert store.size(location) == total, "size must return the bytes written"
        assert_same(content(store, location), data, "the object must be what was written")

    def test_random_cuts(self, store: Store) -> None:
        need_resumable(store)
        cuts.compare(store, lambda: self.elsewhere(store), self.PART, self.budget())

    @pytest.mark.parametrize("end", ["fewer", "more"])
    def test_another_size_than_announced_after_a_cut(self, store: Store, end: str) -> None:
        resumable = need_resumable(store)
        key, size = new_key(), SIZE
        data = body(size - 1 if end == "fewer" else size + 1)
        with resumable.begin(key, size, 1) as sink:
            write(sink, data[:MIB])
            at = sink.suspend()
        try:
            with resumable.resume(key, size, at, 2) as sink:
                write(sink, data[at:])
                location = self.keep(store, sink.commit())
        except (*REPORTED, errors.SizeMismatch):
            self.assert_empty(store, "after a failed attempt")
            return
        rule = "commit must fail or store exactly the bytes written, whatever was announced"
        assert_same(content(store, location), data, rule)

    def test_a_suspended_attempt_is_not_visible(self, store: Store) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        location = self.put(store, data, key=key)
        store.delete(location)
        store.discard(key)
        with resumable.begin(key, SIZE, 1) as sink:
            write(sink, data)
            sink.suspend()
        assert_missing(store, location, "the attempt is suspended and not committed")
        store.discard(key)

    # Ends.

    def test_a_suspended_sink_has_ended(self, store: Store) -> None:
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        with resumable.begin(key, None, 1) as sink:
            write(sink, data[:MIB])
            sink.suspend()
            for name, call in LATE.items():
                with pytest.raises(REPORTED):
                    call(sink)
                    pytest.fail(f"{name} must raise StoreUnavailable after suspend")
            sink.abort()
            sink.abort()
        self.finish(store, key, data, 2)

    def test_a_resumed_attempt_that_is_not_committed_leaves_nothing(self, store: Store) -> None:
        resumable = need_resumable(store)
        for written in (0, 5, MIB, self.PART + 1):
            key = new_key()
            with resumable.begin(key, None, 1) as sink:
                write(sink, body(written))
            self.assert_empty(store, "after an attempt that was not committed")
            with resumable.begin(key, None, 1) as sink:
                write(sink, body(written))
                at = sink.suspend()
            with resumable.resume(key, None, at, 2) as sink:
                write(sink, body(MIB))
            self.assert_empty(store, "after a resumed attempt that was not committed")

    def test_discard_removes_a_suspended_attempt(self, store: Store) -> None:
        resumable = need_resumable(store)
        for written in (0, 5, MIB, self.PART + 1):
            key = new_key()
            with resumable.begin(key, None, 1) as sink:
                write(sink, body(written))
                at = sink.suspend()
            with self.elsewhere(store) as other:
                other.discard(key)
            self.assert_empty(store, "after discard of a suspended attempt")
            assert_nothing_to_resume(resumable, key, at)

    def test_a_discarded_attempt_cannot_be_suspended(self, store: Store) -> None:
        resumable, key = need_resumable(store), new_key()
        with resumable.begin(key, None, 1) as sink:
            write(sink, body(self.PART + 1))
            at = sink.suspend()
        with resumable.resume(key, None, at, 2) as sink:
            with self.elsewhere(store) as other:
                other.discard(key)
            with pytest.raises(REPORTED):  # from either call
                write(sink, body(MIB))
                sink.suspend()
                pytest.fail("write or suspend must raise StoreUnavailable after discard")
        store.discard(key)
        self.assert_empty(store, "after a discarded attempt has ended")

    def test_nothing_cannot_be_resumed(self, store: Store) -> None:
        resumable = need_resumable(store)
        assert_nothing_to_resume(resumable, new_key(), 0)
        key = new_key()
        with resumable.begin(key, None, 1) as sink:
            sink.write(b"data")
        assert_nothing_to_resume(resumable, key, 0)

    def test_the_sweep_finds_suspended_attempts(self, store: Store) -> None:
        resumable = need_resumable(store)
        if not isinstance(store, Sweeps):
            pytest.skip("this store does not sweep")
        for written in (0, 5, self.PART + 1):
            key, data = new_key(), body(written + 3)
            with resumable.begin(key, None, 1) as sink:
                write(sink, data[:written])
                at = sink.suspend()
            store.sweep(0, lambda asked, key=key: asked == key)  # type: ignore[misc]
            self.finish_at(store, key, data, at, 2)
            key = new_key()
            with resumable.begin(key, None, 1) as sink:
                write(sink, data[:written])
                sink.suspend()
            swept = store.sweep(0, lambda _: False)
            assert swept.attempts == 1, f"sweep must report one attempt, not {swept.attempts}"
            assert_nothing_to_resume(resumable, key, at)

    def test_a_suspended_sink_holds_nothing(self, store: Store) -> None:
        resumable = need_resumable(store)
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
        resumable, key, data = need_resumable(small_store), new_key(), body(64 * MIB)
        with resumable.begin(key, None, 1) as sink:
            write(sink, data[:100_000])
            at = sink.suspend()
        with resumable.resume(key, None, at, 2) as sink:
            assert_fails_and_keeps(sink, data[at:], at, (errors.StoreFull,))
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
        resumable, key, data = need_resumable(store), new_key(), body(SIZE)
        fault = self.write_fault(store, nth)
        with resumable.begin(key, None, 1) as sink:
            write(sink, data[:MIB])
            least = sink.suspend()
        sink = resumable.resume(key, None, least, 2)
        with fault:
            assert_fails_and_keeps(sink, data[least:], least, REPORTED)
        with self.elsewhere(store) as other:
            count = other.durable(key, None, 3)
            assert count >= least, f"durable must not go down from {least} to {count}"
            self.finish_at(other, key, data, count, 3)
