"""Checks of a store that is, or becomes, full. They need the fixture ``small_store``."""

import pytest

from imsgate import errors
from imsgate.stores.base import Store
from imsgate.testing.stores.checks import REPORTED, StoreChecks, assert_full
from imsgate.testing.stores.data import MIB, assert_same, body, content, new_key

#: More than ``small_store`` can hold.
_TOO_MUCH_BYTES = 64 * MIB
_CHUNK_BYTES = 65_536


class SpaceChecks(StoreChecks):
    """A full store refuses what does not fit and gives space back."""

    def test_what_cannot_fit_is_refused_at_once(self, small_store: Store) -> None:
        free = _free(small_store)
        with pytest.raises(errors.StoreFull) as caught:
            small_store.create(new_key(), free + MIB)
            pytest.fail("create must raise StoreFull if the size exceeds the free space")
        assert_full(caught.value, small_store)
        self.assert_empty(small_store, "after a refused attempt")

    def test_what_one_upload_announced_no_other_gets(self, small_store: Store) -> None:
        size = _free(small_store) * 2 // 3
        with small_store.create(new_key(), size) as sink:
            written = 0
            # Several times: what is used besides, such as the rest of a page, may be enough to
            # refuse the other attempt although nothing is reserved.
            for upto in (0, size // 4, size // 2):
                if upto:
                    sink.write(body(upto - written))
                written = upto
                self._assert_refused(small_store, size, written)
            sink.write(body(size - written))
            location = sink.commit()
        small_store.delete(location)
        with small_store.create(new_key(), size):
            pass
        self.assert_empty(small_store, "after an attempt that was not committed")
        small_store.delete(self.put(small_store, body(size), size=size))

    def _assert_refused(self, store: Store, size: int, written: int) -> None:
        with pytest.raises(errors.StoreFull):
            store.create(new_key(), size).abort()
            pytest.fail(
                "create must raise StoreFull if other attempts announced the space; one had "
                f"announced {size} bytes and written {written}, and {size} bytes were accepted "
                "(Store.create)"
            )

    def test_what_does_not_fit_is_refused_as_such(self, small_store: Store) -> None:
        """By ``create`` or later. A driver that announces the size may get another error then."""
        chunk = body(_CHUNK_BYTES)
        with (
            pytest.raises(errors.StoreFull) as caught,
            small_store.create(new_key(), _TOO_MUCH_BYTES) as sink,
        ):
            for _ in range(_TOO_MUCH_BYTES // len(chunk)):
                sink.write(chunk)
            sink.commit()
            pytest.fail("create, write or commit must raise StoreFull if the data does not fit")
        assert_full(caught.value, small_store)
        self.assert_empty(small_store, "after an attempt that did not fit")

    def test_a_store_that_fills_up_gives_all_of_it_back(self, small_store: Store) -> None:
        chunk = body(_CHUNK_BYTES)
        for _ in range(3):
            with small_store.create(new_key(), None) as sink:
                with pytest.raises(errors.StoreFull) as caught:
                    for _ in range(_TOO_MUCH_BYTES // len(chunk)):
                        sink.write(chunk)
                    sink.commit()
                    pytest.fail("write or commit must raise StoreFull when the store is full")
                assert_full(caught.value, small_store)
                with pytest.raises(REPORTED):
                    sink.commit()
                    pytest.fail("commit must fail after a failed write; it succeeded")
            self.assert_empty(small_store, "after an attempt that did not fit")
        location = self.put(small_store, chunk, size=len(chunk))
        rule = "the space of a failed attempt must be free again"
        assert_same(content(small_store, location), chunk, rule)
        small_store.delete(location)


def _free(store: Store) -> int:
    free = store.free_space()
    if free is None:
        pytest.skip("this store cannot tell its free space")
    return free
