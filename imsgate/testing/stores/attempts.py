"""Checks of attempts: visibility, commit, abort, discard, concurrency and other processes."""

import contextlib
import threading
from collections.abc import Callable

import pytest

from imsgate import errors
from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Resumable, Sink, Store
from imsgate.testing.stores.checks import REPORTED, StoreChecks, assert_missing
from imsgate.testing.stores.data import (
    MIB,
    SIZE,
    assert_prefix,
    assert_same,
    body,
    content,
    new_key,
    pieces,
)
from imsgate.testing.stores.limits import together


class CallerError(Exception):
    """An exception of the caller, raised in a sink's block."""


def _abort(sink: Sink) -> None:
    sink.abort()


def _abort_twice(sink: Sink) -> None:
    sink.abort()
    sink.abort()


def _leave(sink: Sink) -> None:
    with sink:
        pass


def _leave_aborted(sink: Sink) -> None:
    with sink:
        sink.abort()


def _raise(sink: Sink) -> None:
    with pytest.raises(CallerError), sink:
        raise CallerError


ENDINGS = {
    "abort": _abort,
    "two aborts": _abort_twice,
    "leaving the block": _leave,
    "abort in the block": _leave_aborted,
    "an exception": _raise,
}


class AttemptChecks(StoreChecks):
    """Nothing is visible too early, nothing stays behind, and attempts are independent."""

    # One attempt.

    def test_nothing_is_visible_before_commit(self, store: Store) -> None:
        key, data = new_key(), body(SIZE)
        # Store it once and discard it: that is the only way to learn the location in advance.
        location = self.put(store, data, key=key, size=SIZE)
        store.delete(location)
        store.discard(key)
        with store.create(key, SIZE) as sink:
            assert_missing(store, location, "the attempt has just begun")
            for chunk in pieces(data, MIB):
                sink.write(chunk)
                assert_missing(store, location, "the attempt is not yet committed")
            location = self.keep(store, sink.commit())
        assert_same(content(store, location), data, "after commit, read must return the object")

    @pytest.mark.parametrize("size", [None, SIZE])
    @pytest.mark.parametrize("written", [0, 1, SIZE])
    @pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
    def test_nothing_is_left_by_an_attempt_that_ends_with(
        self, store: Store, end: Callable[[Sink], None], written: int, size: int | None
    ) -> None:
        sink = store.create(new_key(), size)
        for chunk in pieces(body(written), MIB):
            sink.write(chunk)
        end(sink)
        ending = end.__name__.strip("_").replace("_", " ")
        self.assert_empty(
            store,
            f"after an attempt of {written} bytes (announced: {size}) that ended with {ending}: "
            "abort must remove everything (Sink.abort)",
        )

    def test_an_aborted_attempt_cannot_be_committed(self, store: Store) -> None:
        with store.create(new_key(), None) as sink:
            sink.write(b"data")
            sink.abort()
            with pytest.raises(REPORTED):
                sink.commit()
                pytest.fail("commit must raise StoreUnavailable after abort; it succeeded")
            self.assert_empty(store, "after an aborted attempt")

    def test_abort_after_commit_does_nothing(self, store: Store) -> None:
        with store.create(new_key(), None) as sink:
            sink.write(b"data")
            location = self.keep(store, sink.commit())
            sink.abort()
            sink.abort()
        assert_same(content(store, location), b"data", "abort after commit must do nothing")

    def test_commit_twice_is_commit_once(self, store: Store) -> None:
        with store.create(new_key(), 4) as sink:
            sink.write(b"data")
            location = self.keep(store, sink.commit())
            again = sink.commit()
            assert again == location, f"a second commit must return {location!r}, not {again!r}"
        again = sink.commit()
        assert again == location, f"commit after the block must return {location!r}, not {again!r}"
        assert_same(content(store, location), b"data", "a second commit must do nothing")

    def test_an_object_is_never_overwritten(self, store: Store) -> None:
        """Its key may be that of an attempt whose process died after it had committed."""
        if self.OVERWRITES:
            pytest.skip("the service behind this store always replaces an existing object")
        creates: dict[str, Callable[[str], Sink]] = {"create": lambda key: store.create(key, None)}
        if isinstance(store, Resumable):
            creates["begin"] = lambda key: store.begin(key, None, 1)
        key = new_key()
        location = self.keep(store, self.put(store, b"data", key=key))
        for name, create in creates.items():
            with pytest.raises(REPORTED) as caught:
                with create(key) as sink:
                    sink.write(b"other data")
                    sink.commit()
                pytest.fail(
                    f"{name}, write or commit must raise StoreUnavailable if the key already has "
                    f"an object; the attempt was committed (Store.create)"
                )
            self.check_error(store, caught.value, name)
            rule = f"an attempt with the key of an object must not touch it ({name})"
            assert_same(content(store, location), b"data", rule)

    # Several attempts.

    def test_two_attempts_for_one_image(self, store: Store) -> None:
        first, second = body(SIZE, "first"), body(SIZE, "second")
        key = new_key()
        with store.create(key, SIZE) as one, store.create(f"{key}0", SIZE) as other:
            for chunk, twin in zip(pieces(first, 99_999), pieces(second, 99_999), strict=True):
                one.write(chunk)
                other.write(twin)
            locations = [self.keep(store, one.commit()), self.keep(store, other.commit())]
        rule = "two attempts for one image must be separate objects"
        assert locations[0] != locations[1], f"{rule}; both have the location {locations[0]!r}"
        assert_same(content(store, locations[0]), first, rule)
        assert_same(content(store, locations[1]), second, rule)

    @pytest.mark.parametrize("loser", ["", "0"], ids=["shorter key", "longer key"])
    def test_the_attempt_that_loses_takes_nothing_along(self, store: Store, loser: str) -> None:
        key = new_key()
        winner = "0" if loser == "" else ""
        with store.create(key + winner, None) as one:
            one.write(b"da")
            with store.create(key + loser, None) as other:
                other.write(b"tum")
            store.discard(key + loser)
            one.write(b"ta")
            location = self.keep(store, one.commit())
        store.discard(key + loser)
        rule = "discard must not touch an attempt whose key only begins the same"
        assert_same(content(store, location), b"data", rule)

    def test_many_threads(self, store: Store) -> None:
        barrier = threading.Barrier(8)

        def work(number: int) -> None:
            data = body(300_000 + number, str(number))
            barrier.wait()
            for _ in range(5):
                location = self.put(store, data, chunk=65_536)
                rule = "eight threads must be able to use the store at the same time"
                assert_same(content(store, location, number), data[number:], rule)
                store.delete(location)
                with store.create(new_key(), None) as sink:
                    sink.write(data)

        rule = "eight threads must be able to use the store at the same time"
        together(8, work, self.TIMEOUT / 2, rule)

    def test_deleting_while_reading_gives_no_wrong_bytes(self, store: Store) -> None:
        data = body(SIZE)
        location = self.put(store, data)
        reader = store.read(location)
        chunks = [next(reader)]
        store.delete(location)
        assert_missing(store, location, "the object was deleted during a read")
        with contextlib.suppress(errors.Error, ObjectNotFound):
            chunks.extend(reader)
            rule = "a read of a deleted object must raise or return all bytes"
            assert_same(b"".join(chunks), data, rule)
        assert_prefix(b"".join(chunks), data, "a read must not return wrong bytes")

    # Attempts of dead processes.

    def test_discarding_nothing_does_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, b"data"))
        store.discard(new_key())
        assert_same(content(store, location), b"data", "discard must not touch other attempts")

    @pytest.mark.parametrize("size", [None, SIZE])
    def test_a_discarded_attempt_cannot_be_committed(self, store: Store, size: int | None) -> None:
        key = new_key()
        with store.create(key, size) as sink:
            sink.write(body(MIB))
            store.discard(key)
            self.assert_empty(store, "after discard of an unfinished attempt")
            with pytest.raises(REPORTED):  # from either call
                sink.write(body(SIZE - MIB))
                sink.commit()
                pytest.fail("write or commit must raise StoreUnavailable after discard")
        self.assert_empty(store, "after a discarded attempt has ended")
        store.discard(key)

    def test_a_committed_attempt_is_discarded_too(self, store: Store) -> None:
        key = new_key()
        location = self.put(store, b"data", key=key)
        store.discard(key)
        assert_missing(store, location, "the committed attempt was discarded")
        self.assert_empty(store, "after discard of a committed attempt")

    # Other processes and other stores.

    def test_another_process_reads_and_deletes(self, store: Store, twin: Store) -> None:
        data = body(SIZE)
        location = self.put(store, data)
        rule = "another process must see the object"
        size = twin.size(location)
        assert size == SIZE, f"{rule}; size returned {size} instead of {SIZE}"
        assert_same(content(twin, location), data, rule)
        twin.delete(location)
        assert_missing(store, location, "another process deleted the object")

    def test_what_another_process_discards_is_gone(self, store: Store, twin: Store) -> None:
        """An attempt in progress, and what a stale one may have committed anyway."""
        key = new_key()
        with store.create(key, None) as sink:
            for chunk in pieces(body(SIZE), MIB):
                sink.write(chunk)
            twin.discard(key)
            self.assert_empty(store, "after another process discarded an attempt")
            with contextlib.suppress(*REPORTED):
                sink.commit()
        twin.discard(key)
        self.assert_empty(store, "after another process discarded an attempt a second time")
        location = self.put(store, b"data", key=key)
        twin.discard(key)
        assert_missing(store, location, "another process discarded the committed attempt")

    def test_two_stores_share_nothing(self, store: Store, small_store: Store) -> None:
        data = body(SIZE)
        location = self.keep(store, self.put(store, data))
        small = self.put(small_store, b"data")
        assert_missing(small_store, location, "the object is in another store")
        assert_missing(store, small, "the object is in another store")
        assert_same(content(store, location), data, "two stores must not affect each other")
        small_store.delete(small)
        place = store.place()
        different = place is None or place != small_store.place()
        assert different, f"place must differ for two stores; both returned {place!r}"
