"""What a store says and leaves when its medium fails; the kit's author says how to make it fail."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any

import pytest

from imsgate import errors
from imsgate.stores.base import Sink, Store
from imsgate.testing.store_data import body, content, new_key, pieces

_CHUNK = 512 * 1024
_SIZE = 5 * _CHUNK + 17

REPORTED = (errors.StoreFull, errors.StoreUnavailable)


class FaultChecks:
    """The part of StoreContract that needs faults.

    ``write_fault``, ``read_fault`` and ``away`` give them.
    """

    def write_fault(self, store: Store, nth: int) -> AbstractContextManager[Any]:
        """While it is entered, the ``nth`` write to the medium and all after it fail."""
        pytest.skip("this driver's tests have no write_fault")

    def read_fault(self, store: Store, nth: int) -> AbstractContextManager[Any]:
        """While it is entered, the ``nth`` read of the medium and all after it fail."""
        pytest.skip("this driver's tests have no read_fault")

    def away(self, store: Store) -> AbstractContextManager[Any]:
        """While it is entered, the medium is not there at all: it answers nothing."""
        pytest.skip("this driver's tests have no away")

    def private(self, store: Store) -> Collection[str]:
        """Texts that may stand in no error: credentials, directories."""
        return ()

    def leftovers(self, store: Store) -> Collection[Any]:
        raise NotImplementedError

    def _look_at(self, store: Store, error: errors.Error) -> None:
        assert error.details["store"] == store.name
        assert set(error.details) <= {"store", "problem"}
        assert not [text for text in self.private(store) if text in f"{error}{error.details}"]

    @pytest.mark.parametrize("size", [None, _SIZE], ids=["unknown size", "announced"])
    @pytest.mark.parametrize("nth", [1, 2, 4])
    def test_a_write_that_fails_is_reported(self, store: Store, nth: int, size: int | None) -> None:
        data, key = body(_SIZE), new_key()
        with self.write_fault(store, nth):
            try:
                sink = store.create(key, size)
            except REPORTED as error:
                self._look_at(store, error)
            else:
                self._fails(store, sink, data)
                sink.abort()  # which never raises
        store.discard(key)  # where the medium failed for the abort too
        assert not self.leftovers(store)
        with store.create(new_key(), _SIZE) as sink:
            for chunk in pieces(data, _CHUNK):
                sink.write(chunk)
            location = sink.commit()
        assert content(store, location) == data
        store.delete(location)

    def _fails(self, store: Store, sink: Sink, data: bytes) -> None:
        with pytest.raises(REPORTED) as first:
            for chunk in pieces(data, _CHUNK):
                sink.write(chunk)
            sink.commit()
        self._look_at(store, first.value)
        with pytest.raises(REPORTED) as second:
            sink.commit()
        self._look_at(store, second.value)

    @pytest.mark.parametrize("nth", [1, 2, 3])
    def test_a_read_that_fails_gives_no_wrong_bytes(self, store: Store, nth: int) -> None:
        data, fault = body(_SIZE), self.read_fault(store, nth)
        with store.create(new_key(), _SIZE) as sink:
            for chunk in pieces(data, _CHUNK):
                sink.write(chunk)
            location = sink.commit()
        seen: list[bytes] = []
        with fault:
            try:
                seen.extend(store.read(location))
                assert b"".join(seen) == data, "it ends early, and says nothing"
            except errors.StoreUnavailable as error:
                self._look_at(store, error)
        assert data.startswith(b"".join(seen))
        assert content(store, location) == data, "the fault is over, and it still fails"
        store.delete(location)

    def test_what_cannot_be_asked_is_not_taken_for_missing(self, store: Store) -> None:
        """Who hears that nothing is there forgets it, and it stays for good."""
        key, away = new_key(), self.away(store)
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
        with away:
            for name, call in calls.items():
                with pytest.raises(errors.StoreUnavailable) as caught:
                    call()
                    pytest.fail(f"{name} says that all is well")
                self._look_at(store, caught.value)
        assert content(store, location) == b"data"
        store.delete(location)
