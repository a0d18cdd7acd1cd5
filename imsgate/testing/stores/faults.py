"""Checks of a store whose medium fails. The driver's author provides the faults."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from imsgate import errors
from imsgate.stores.base import Resumable, Sink, Store
from imsgate.testing.stores.checks import REPORTED, StoreChecks
from imsgate.testing.stores.data import assert_prefix, assert_same, body, content, new_key, pieces

_CHUNK_BYTES = 512 * 1024
_SIZE = 5 * _CHUNK_BYTES + 17


class FaultChecks(StoreChecks):
    """Checks that need ``write_fault``, ``read_fault``, ``away`` or ``replaced``."""

    def write_fault(self, store: Store, nth: int) -> AbstractContextManager[Any]:
        """A context in which the ``nth`` write to the medium and all later ones fail."""
        raise self.not_given("write_fault")

    def read_fault(self, store: Store, nth: int) -> AbstractContextManager[Any]:
        """A context in which the ``nth`` read of the medium and all later ones fail."""
        raise self.not_given("read_fault")

    def away(self, store: Store) -> AbstractContextManager[Any]:
        """A context in which the medium does not respond at all."""
        raise self.not_given("away")

    def replaced(self, store: Store) -> AbstractContextManager[Any]:
        """A context in which an empty medium is in the place of the store's, such as the mount
        point of a volume that is not mounted. It ends with an error if something is written
        there."""
        raise self.not_given("replaced")

    @pytest.mark.parametrize("size", [None, _SIZE], ids=["unknown size", "announced"])
    @pytest.mark.parametrize("nth", [1, 2, 4])
    def test_a_write_that_fails_is_reported(self, store: Store, nth: int, size: int | None) -> None:
        data, key = body(_SIZE), new_key()
        with self.write_fault(store, nth):
            try:
                sink = store.create(key, size)
            except REPORTED as error:
                self.check_error(store, error, "create")
            else:
                self._assert_fails(store, sink, data)
                sink.abort()  # must not raise
        store.discard(key)  # the abort may have failed too
        self.assert_empty(store, "after discard, once the fault is over,")
        with store.create(new_key(), _SIZE) as sink:
            for chunk in pieces(data, _CHUNK_BYTES):
                sink.write(chunk)
            location = sink.commit()
        assert_same(content(store, location), data, "the store must work when the fault is over")
        store.delete(location)

    def _assert_fails(self, store: Store, sink: Sink, data: bytes) -> None:
        with pytest.raises(REPORTED) as first:
            for chunk in pieces(data, _CHUNK_BYTES):
                sink.write(chunk)
            sink.commit()
            pytest.fail("write or commit must raise StoreUnavailable or StoreFull for a fault")
        self.check_error(store, first.value, "write or commit")
        with pytest.raises(REPORTED) as second:
            sink.commit()
            pytest.fail("commit must fail after a failed write; it succeeded")
        self.check_error(store, second.value, "commit")

    @pytest.mark.parametrize("nth", [1, 2, 3])
    def test_a_read_that_fails_gives_no_wrong_bytes(self, store: Store, nth: int) -> None:
        data, fault = body(_SIZE), self.read_fault(store, nth)
        with store.create(new_key(), _SIZE) as sink:
            for chunk in pieces(data, _CHUNK_BYTES):
                sink.write(chunk)
            location = sink.commit()
        chunks: list[bytes] = []
        with fault:
            try:
                chunks.extend(store.read(location))
                rule = "a read that fails must raise StoreUnavailable rather than end early"
                assert_same(b"".join(chunks), data, rule)
            except errors.StoreUnavailable as error:
                self.check_error(store, error, "read")
        assert_prefix(b"".join(chunks), data, "a read must not return wrong bytes")
        assert_same(content(store, location), data, "reads must work when the fault is over")
        store.delete(location)

    def test_what_cannot_be_asked_is_not_taken_for_missing(self, store: Store) -> None:
        """A caller that gets ObjectNotFound forgets the object, which then stays forever."""
        self._assert_unavailable(store, self.away(store), "the medium is away")

    def test_another_medium_is_not_taken_for_an_empty_store(self, store: Store) -> None:
        """The objects are not gone, and new ones must not be written to the wrong medium."""
        replaced = self.replaced(store)
        store.mark()
        self._assert_unavailable(store, replaced, "another medium is in its place")

    def _assert_unavailable(
        self, store: Store, context: AbstractContextManager[Any], when: str
    ) -> None:
        key = new_key()
        with store.create(key, 4) as sink:
            sink.write(b"data")
            location = sink.commit()
        calls: dict[str, Callable[[], Any]] = {
            "read": lambda: list(store.read(location)),
            "size": lambda: store.size(location),
            "delete": lambda: store.delete(location),
            "discard": lambda: store.discard(key),
            "check": store.check,
            "create": lambda: store.create(new_key(), 4).commit(),
        }
        if isinstance(store, Resumable):
            calls |= {
                "begin": lambda: store.begin(new_key(), 4, 1).commit(),
                "durable": lambda: store.durable(key, 4, 1),
                "resume": lambda: store.resume(key, 4, 4, 1),
            }
        with context:
            for name, call in calls.items():
                with pytest.raises(errors.StoreUnavailable) as caught:
                    call()
                    pytest.fail(f"{name} must raise StoreUnavailable if {when}")
                self.check_error(store, caught.value, name)
        assert_same(content(store, location), b"data", "the object must survive the outage")
        store.delete(location)
