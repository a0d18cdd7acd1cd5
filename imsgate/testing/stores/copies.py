"""Checks of the ability ``Copies``: the storage service copies an object itself."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from imsgate import errors
from imsgate.stores.base import Copies, CopySource, Sink, Store
from imsgate.testing.stores.checks import REPORTED, StoreChecks, assert_missing
from imsgate.testing.stores.data import SIZE, assert_same, body, content, new_key

_COPY = "(Copies.copy in imsgate/stores/abilities.py)"
_COPY_SOURCE = "(Copies.copy_source in imsgate/stores/abilities.py)"
_COPIES_FROM = "(Copies.copies_from in imsgate/stores/abilities.py)"

#: What a copy raises whose source is not what the caller takes it for.
_REFUSED = (errors.SourceFailed, errors.SizeMismatch, *REPORTED)


def _nothing() -> None:
    """A ``check`` that lets the copy go on."""


class _Steps:
    """A ``check`` that calls ``step`` when it is called for the ``nth`` time."""

    def __init__(self, nth: int, step: Callable[[], object]) -> None:
        self._left = nth
        self._step = step
        self.reached = False

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached = True
            self._step()


@dataclasses.dataclass(frozen=True)
class _Original:
    """A stored object that can be copied."""

    store: Any
    key: str
    location: str
    source: CopySource
    data: bytes

    def assert_unchanged(self, after: str) -> None:
        rule = f"a copy must not change its source; it did so after {after} {_COPY}"
        _assert_content(self.store, self.location, self.data, rule)


class CopyChecks(StoreChecks):
    """A copy is an attempt like any other, and has the bytes of its source or does not exist."""

    #: Whether ``copy`` can copy SIZE bytes in these tests, and not only where the medium can.
    COPIES: ClassVar[bool] = True

    def origin(self, store: Store) -> Store:
        """A store with objects that the service of ``store`` copies: the store itself, or better
        one in another bucket or directory."""
        return store

    def test_a_copy_has_the_bytes_of_its_source(self, store: Store) -> None:
        copies = _need_copies(store)
        for size in (SIZE, 0, 1, self.PART, self.PART + 1):
            original = self._original(store, body(size))
            sink = copies.copy(new_key(), original.source, size, _nothing)
            if sink is None:
                assert size != SIZE or not self.COPIES, _returned_none(size)
                continue  # a driver need not copy small objects
            location = self.keep(store, sink.commit())
            rule = f"a copy must have the bytes of its source {_COPY}"
            assert store.size(location) == size, f"{rule}; its size is not {size}"
            _assert_content(store, location, original.data, rule)
            original.assert_unchanged("commit")
            gone = self._original(store, body(size, "gone"), keep=False)
            sink = self._copied(store, gone)
            location = self.keep(store, sink.commit())
            gone.store.delete(gone.location)
            rule = f"a copy must not need its source, which was deleted after commit {_COPY}"
            _assert_content(store, location, gone.data, rule)
            location = self._copied(store, original).commit()
            store.delete(location)
            original.assert_unchanged("the copy was deleted")

    def test_a_copy_is_not_visible_before_commit(self, store: Store) -> None:
        _need_copies(store)
        original = self._original(store, body(SIZE))
        key = new_key()
        location = self.put(store, b"data", key=key)  # to learn the location in advance
        store.delete(location)
        store.discard(key)

        def check() -> None:
            assert_missing(store, location, f"the copy is in progress {_COPY}")

        with self._copied(store, original, key, check) as sink:
            assert_missing(store, location, f"the copy is not yet committed {_COPY}")
            location = self.keep(store, sink.commit())
            again = sink.commit()
            assert again == location, (
                f"a second commit of a copy must return the same location; it returned {again!r} "
                f"after {location!r} (Sink.commit)"
            )
        rule = "abort must do nothing after the commit of a copy (Sink.abort)"
        _assert_content(store, location, original.data, rule)

    def test_a_copy_that_is_not_committed_leaves_nothing(self, store: Store) -> None:
        _need_copies(store)
        original = self._original(store, body(SIZE))
        for how in ("abort", "discard"):
            key = new_key()
            with self._leaving_nothing(store, f"{how} of a copy"):
                sink = self._copied(store, original, key)
                if how == "abort":
                    sink.abort()
                else:
                    store.discard(key)
                with pytest.raises(REPORTED):
                    sink.commit()
                    pytest.fail(f"commit of a copy must fail after {how}; it succeeded {_COPY}")
                sink.abort()
            original.assert_unchanged(how)
        with (
            self._leaving_nothing(store, "leaving the block of a copy"),
            self._copied(store, original),
        ):
            pass
        original.assert_unchanged("leaving the block")

    def test_a_source_that_was_replaced_is_not_copied(self, store: Store) -> None:
        copies = _need_copies(store)
        original = self._original(store, body(SIZE), keep=False)
        replaced = self._replace(original)
        with self._leaving_nothing(store, "the copy of a source that was replaced"):
            try:
                sink = copies.copy(new_key(), original.source, SIZE, _nothing)
            except errors.SourceFailed:
                return
            gone = sink is None and replaced != original.location
            if sink is not None:
                sink.abort()
            assert gone, (
                f"copy must raise SourceFailed if the source was replaced after copy_source; it "
                f"returned {sink!r} {_COPY}"
            )

    @pytest.mark.parametrize("nth", [1, 2])
    def test_a_source_that_is_replaced_meanwhile_is_not_copied_in_part(
        self, store: Store, nth: int
    ) -> None:
        _need_copies(store)
        original = self._original(store, body(SIZE), keep=False)
        check = _Steps(nth, lambda: self._replace(original))
        location = None
        with contextlib.suppress(*_REFUSED):
            location = self._made(store, new_key(), original, SIZE, check)
        if not check.reached:
            self.keep(original.store, original.location)
        if location is not None:
            rule = (
                "a copy whose source is replaced meanwhile must fail, or have all bytes of the "
                f"object that copy_source returned {_COPY}"
            )
            _assert_content(store, location, original.data, rule)

    def test_a_size_that_is_not_the_sources_is_refused(self, store: Store) -> None:
        _need_copies(store)
        original = self._original(store, body(SIZE))
        for size in (SIZE - 1, SIZE + 1):
            what = f"the copy of {size} of {SIZE} bytes"
            with self._leaving_nothing(store, what), contextlib.suppress(*_REFUSED):
                made = self._made(store, new_key(), original, size)
                assert made is None, (
                    f"copy must refuse a size that is not the source's; asked for {size} bytes of "
                    f"a source of {SIZE}, it made a copy {_COPY}"
                )
        original.assert_unchanged("a copy with another size")

    @pytest.mark.parametrize("nth", [1, 2])
    def test_a_copy_stops_if_its_check_raises(self, store: Store, nth: int) -> None:
        copies = _need_copies(store)
        original = self._original(store, body(SIZE))

        def stop() -> None:
            raise errors.Cancelled(image_id="stopped")

        check = _Steps(nth, stop)
        with self._leaving_nothing(store, "a copy whose check raised"):
            stopped = False
            try:
                sink = copies.copy(new_key(), original.source, SIZE, check)
            except errors.Cancelled:
                stopped = True
            else:
                if sink is not None:
                    sink.abort()
            assert stopped == check.reached, (
                "copy must raise what check raises, and stop; check raised and copy went on "
                f"{_COPY}"
            )
        original.assert_unchanged("a copy that was stopped")

    def test_a_copy_replaces_no_object(self, store: Store) -> None:
        _need_copies(store)
        if self.OVERWRITES:
            pytest.skip("the service behind this store always replaces objects")
        original = self._original(store, body(SIZE))
        key = new_key()
        existing = self.keep(store, self.put(store, b"existing", key=key))
        made = None
        with contextlib.suppress(*REPORTED):
            made = self._made(store, key, original, SIZE)
        rule = (
            "copy or commit must raise StoreUnavailable if the key has an object, as create does, "
            f"and the object must stay {_COPY}"
        )
        _assert_content(store, existing, b"existing", rule)
        assert made is None, f"{rule}; commit returned {made!r}"

    def test_an_object_of_another_service_is_not_copied(self, store: Store, twin: Store) -> None:
        copies = _need_copies(store)
        original = self._original(store, body(SIZE))
        source = original.source
        hash(source.service)
        if original.store is store and isinstance(twin, Copies):
            same = twin.copy_source(original.location)
            assert same == source, (
                "copy_source must return the same for the same object in every process; it "
                f"returned {source} and {same} {_COPY_SOURCE}"
            )
        valid = copies.copies_from(source)
        assert valid, f"copies_from must be true for an object of the same service {_COPIES_FROM}"
        foreign = dataclasses.replace(source, service="another service of imsgate.testing")
        if getattr(type(store), "copies_from", None) is not Copies.copies_from:
            assert not copies.copies_from(foreign), (
                "copies_from must be false for an object of another service; it was true "
                f"{_COPIES_FROM}"
            )
        with self._leaving_nothing(store, "a copy that another service would have to make"):
            sink = copies.copy(new_key(), foreign, SIZE, _nothing)
            if sink is not None:
                sink.abort()
            assert sink is None, (
                "copy must return None if the source belongs to another service; it returned "
                f"{sink!r} {_COPY}"
            )

    def test_what_is_missing_is_no_source(self, store: Store) -> None:
        _need_copies(store)
        original = self._original(store, body(1), keep=False)
        original.store.delete(original.location)
        with pytest.raises(errors.ObjectNotFound):
            found = original.store.copy_source(original.location)
            pytest.fail(
                f"copy_source must raise ObjectNotFound for a deleted object; it returned {found} "
                f"{_COPY_SOURCE}"
            )

    def _original(self, store: Store, data: bytes, *, keep: bool = True) -> _Original:
        origin = self.origin(store)
        key = new_key()
        location = self.put(origin, data, key=key)
        source = origin.copy_source(location) if isinstance(origin, Copies) else None
        if source is None or keep:
            self.keep(origin, location)
        if source is None:
            pytest.skip("copy_source returns None; define origin, with objects that are copied")
        return _Original(origin, key, location, source, data)

    def _replace(self, original: _Original) -> str:
        """Replace the object by another one of the same size and key; returns its location."""
        reader = original.store.read(original.location)
        with contextlib.closing(reader):  # so that a file system does not use the inode again
            next(reader)
            original.store.delete(original.location)
            data = original.data[::-1]
            location = self.put(original.store, data, key=original.key)
        return self.keep(original.store, location)

    def _made(
        self,
        store: Any,
        key: str,
        original: _Original,
        size: int,
        check: Callable[[], object] = _nothing,
    ) -> str | None:
        """The location of a copy, or None if the driver refuses to copy."""
        sink: Sink | None = store.copy(key, original.source, size, check)
        if sink is None:
            return None
        with sink:
            return self.keep(store, sink.commit())

    def _copied(
        self,
        store: Any,
        original: _Original,
        key: str | None = None,
        check: Callable[[], object] = _nothing,
    ) -> Sink:
        """The sink of a copy. Skips the check if the medium of these tests cannot copy."""
        size = len(original.data)
        sink: Sink | None = store.copy(key or new_key(), original.source, size, check)
        if sink is None:
            assert not self.COPIES, _returned_none(size)
            pytest.skip("the medium of these tests does not copy")
        return sink

    @contextlib.contextmanager
    def _leaving_nothing(self, store: Store, what: str) -> Iterator[None]:
        before = Counter(map(repr, self.leftovers(store)))
        yield
        left = [*(Counter(map(repr, self.leftovers(store))) - before)]
        assert not left, f"{what} must leave nothing behind; it left {left[:10]} {_COPY}"


def _assert_content(store: Store, location: str, data: bytes, rule: str) -> None:
    try:
        found = content(store, location)
    except errors.ObjectNotFound:
        pytest.fail(f"{rule}; the object is gone")
    assert_same(found, data, rule)


def _returned_none(size: int) -> str:
    return (
        f"copy must copy an object of its own service; it returned None for {size} bytes. If the "
        f"medium of these tests cannot copy, set COPIES to False {_COPY}"
    )


def _need_copies(store: Store) -> Any:
    if not isinstance(store, Copies):
        pytest.skip("the service behind this store does not copy")
    return store
