"""Checks that what was committed or suspended is on the medium, not in a cache in front of it."""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import pytest

from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Resumable, Sink, Store
from imsgate.testing.stores.checks import REPORTED, StoreChecks, assert_missing
from imsgate.testing.stores.data import MIB, body, new_key, pieces

_SIZE = MIB + 17

#: What ``before`` gets if the hook cannot tell what is synced.
UNKNOWN = -1

#: The size of what is synced: None for a directory, UNKNOWN if the hook cannot tell.
Before = Callable[..., None]


class DurabilityChecks(StoreChecks):
    """Checks that need ``sync_fault``."""

    #: Whether a new name is durable only after a sync that follows it, as in a directory.
    RENAMES_NEED_SYNC: ClassVar[bool] = True

    def sync_fault(self, store: Store, before: Before) -> AbstractContextManager[Any]:
        """A context in which ``before(size)`` is called before each sync of the medium.

        ``size`` is that of the file in bytes, None for a directory; leave it out if it is
        unknown. The sync fails with the OSError that ``before`` raises.
        ``imsgate.testing.stores.local.syncs(before)`` is such a context for ``os.fsync``.
        """
        raise self.not_given("sync_fault")

    def test_what_is_committed_is_durable(self, store: Store, twin: Store) -> None:
        self._assert_durable(store, twin, lambda key: store.create(key, None), "commit")

    def test_what_is_committed_or_suspended_by_a_resumable_attempt_is_durable(
        self, store: Store, twin: Store
    ) -> None:
        if not isinstance(store, Resumable):
            pytest.skip("this driver's attempts cannot be suspended")
        self._assert_durable(store, twin, lambda key: store.begin(key, None, 1), "commit")
        key, sizes = new_key(), list[int | None]()
        hook = self.sync_fault(store, lambda size=UNKNOWN: sizes.append(size))
        with hook, store.begin(key, None, 1) as sink:
            _write(sink, body(_SIZE))
            kept = sink.suspend()
        store.discard(key)
        assert any(size == UNKNOWN or (size or 0) >= kept for size in sizes), (
            f"suspend must sync the data before it returns; it returned {kept} bytes, "
            f"and the synced files had {sizes} (ResumableSink.suspend)"
        )
        assert not self.RENAMES_NEED_SYNC or {None, UNKNOWN} & {*sizes}, (
            "begin or suspend must sync the directory: otherwise the file of the attempt may be "
            "gone after a power failure (ResumableSink.suspend)"
        )

    def _assert_durable(
        self, store: Store, twin: Store, create: Callable[[str], Sink], step: str
    ) -> None:
        location, calls = self._location(store), list[tuple[bool, int | None]]()
        key, asking = location[0], False

        def before(size: int | None = UNKNOWN) -> None:
            nonlocal asking
            if not asking:  # asking may sync, too
                asking = True
                calls.append((_exists(twin, location[1]), size))
                asking = False

        with self.sync_fault(store, before), create(key) as sink:
            _write(sink, body(_SIZE))
            self.keep(store, sink.commit())
        assert calls, f"{step} must sync the data before it returns; nothing was synced {_RULE}"
        first = next((size for visible, size in calls if not visible and size is not None), None)
        assert not calls[0][0] and first is not None, (
            f"{step} must sync the data before it makes the object visible (before a rename, for "
            f"example); at the first sync, the object was visible already {_RULE}"
        )
        sizes = [size for visible, size in calls if not visible]
        assert {_SIZE, UNKNOWN} & {*sizes}, (
            f"{step} must sync all {_SIZE} bytes before it makes the object visible; the synced "
            f"files had {sizes} {_RULE}"
        )
        named = any(visible and size in (None, UNKNOWN) for visible, size in calls)
        assert named or not self.RENAMES_NEED_SYNC, (
            f"{step} must sync the directory after it has made the object visible: otherwise the "
            f"object may be gone after a power failure; nothing was synced after that {_RULE}"
        )

    def test_a_sync_that_fails_is_reported(self, store: Store) -> None:
        creates: list[Callable[[str], Sink]] = [lambda key: store.create(key, None)]
        if isinstance(store, Resumable):
            creates.append(lambda key: store.begin(key, None, 1))
        for create in creates:
            count = self._syncs(store, create)
            for nth in range(1, count + 1):
                self._assert_reported(store, create, nth, count)

    def _syncs(self, store: Store, create: Callable[[str], Sink]) -> int:
        """How many times a sound attempt syncs something."""
        calls = list[Any]()
        hook = self.sync_fault(store, lambda size=UNKNOWN: calls.append(size))
        with hook, create(new_key()) as sink:
            _write(sink, body(_SIZE))
            location = sink.commit()
        store.delete(location)
        assert calls, f"commit must sync the data before it returns; nothing was synced {_RULE}"
        return len(calls)

    def _assert_reported(
        self, store: Store, create: Callable[[str], Sink], nth: int, count: int
    ) -> None:
        (key, location), calls = self._location(store), 0

        def before(size: int | None = UNKNOWN) -> None:
            nonlocal calls
            calls += 1
            if calls == nth:  # the next one reports success, as that of a kernel does
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        with self.sync_fault(store, before):
            try:
                sink = create(key)
            except REPORTED as error:
                self.check_error(store, error, "create")
            else:
                self._assert_sync_fails(store, sink, f"sync {nth} of {count} failed")
        why = f"commit failed: sync {nth} of {count} did"
        assert_missing(store, location, why)
        store.discard(key)
        self.assert_empty(store, "after an attempt whose sync failed was aborted and discarded")

    def _assert_sync_fails(self, store: Store, sink: Sink, fault: str) -> None:
        with pytest.raises(REPORTED) as first:
            _write(sink, body(_SIZE))
            sink.commit()
            pytest.fail(f"commit must raise StoreUnavailable if a sync fails; {fault}, and commit "
                        f"returned {_RULE}")  # fmt: skip
        self.check_error(store, first.value, "commit")
        with pytest.raises(REPORTED):
            sink.commit()
            pytest.fail(
                "commit must fail again after a sync that failed: the data may be lost although "
                f"the next sync succeeds; {fault}, and the second commit returned {_RULE}"
            )
        sink.abort()

    def _location(self, store: Store) -> tuple[str, str]:
        """A key that is free and the location that its object will have."""
        key = new_key()
        location = self.put(store, b"data", key=key)
        store.delete(location)
        store.discard(key)
        return key, location


_RULE = "(Sink.commit: visible, complete and durable)"


def _write(sink: Sink, data: bytes) -> None:
    for piece in pieces(data, 400_000):
        sink.write(piece)


def _exists(store: Store, location: str) -> bool:
    try:
        store.size(location)
    except ObjectNotFound:
        return False
    return True
