"""Checks of what removes attempts of dead processes: ``discard`` and the ability ``Sweeps``."""

import contextlib
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import pytest

from imsgate.stores.base import Resumable, Sink, Store, Sweeps, Swept
from imsgate.testing.stores.checks import REPORTED, StoreChecks, assert_missing
from imsgate.testing.stores.data import MIB, assert_same, body, content, new_key, pieces

#: Seconds after which an attempt is old; no check takes as long.
_OLD = 86_400.0

#: Names that other applications may use in the same place, among them Glance's for its images.
_OTHERS = ("README", "backup.tar.1", ".part-backup", "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a")


class SweepChecks(StoreChecks):
    """The living, the young and the committed stay; everything else goes."""

    #: Whether the service can list objects, finished and unfinished ones.
    LISTS_OBJECTS: ClassVar[bool] = True

    def removals(self, store: Store, before: Callable[[], None]) -> AbstractContextManager[Any]:
        """A context in which ``before()`` is called before each file or object is removed.

        ``imsgate.testing.stores.local.removals(before)`` is such a context for ``os.unlink``.
        """
        raise self.not_given("removals")

    def others(self, store: Store, names: Collection[str]) -> AbstractContextManager[Any]:
        """A context in which another application has files or objects of these names there.

        They are in the place of the store's objects, and are made without the driver.
        """
        raise self.not_given("others")

    def test_the_sweep_spares_data_of_other_applications(self, store: Store) -> None:
        sweeps = _need_sweeps(store)
        with self.others(store, _OTHERS):
            before = sorted(map(repr, self.leftovers(store)))
            for call, swept in (
                ("sweep", sweeps.sweep(0, lambda _: False)),
                ("sweep_objects", sweeps.sweep_objects(lambda _: True)),
            ):
                rule = f"{call} must never remove data of other applications (Sweeps)"
                assert swept == Swept(0, 0), f"{rule}; it returned {swept}"
            left = sorted(map(repr, self.leftovers(store)))
            rule = "sweep and sweep_objects must never remove data of other applications (Sweeps)"
            assert left == before, f"{rule}; of {before}, they left {left}"

    def test_discard_removes_what_is_committed_meanwhile(self, store: Store, twin: Store) -> None:
        """A stale process may commit between two steps of ``discard`` in another one."""
        creates: list[Callable[[str], Sink]] = [lambda key: store.create(key, None)]
        if isinstance(store, Resumable):
            creates.append(lambda key: store.begin(key, None, 1))
        for create in creates:
            for nth in (1, 2, 3):
                self._assert_discarded(store, twin, create, nth)

    def _assert_discarded(
        self, store: Store, twin: Store, create: Callable[[str], Sink], nth: int
    ) -> None:
        key, steps, sink = new_key(), 0, list[Sink]()

        def before() -> None:
            nonlocal steps
            steps += 1
            if steps == nth and sink:
                with contextlib.suppress(*REPORTED):
                    sink.pop().commit()

        hook = self.removals(store, before)
        sink.append(create(key))
        stale = sink[0]
        self._write(stale)
        with hook:
            twin.discard(key)
        stale.abort()
        self.assert_empty(
            store,
            f"after discard, although a stale process committed before its removal {nth} (remove "
            "the unfinished data first, then the object: Store.discard)",
        )

    def test_the_sweep_spares_the_living_the_young_and_the_committed(self, store: Store) -> None:
        sweeps = _need_sweeps(store)
        location = self.keep(store, self.put(store, b"data"))
        living, asked = new_key(), set[str]()

        def lives(key: str) -> bool:
            asked.add(key)
            return key == living

        with store.create(living, None) as sink:
            self._write(sink)
            swept = sweeps.sweep(_OLD, lambda _: False)
            rule = f"sweep must skip attempts that began less than {_OLD:g} seconds ago"
            assert swept == Swept(0, 0), f"{rule}; it returned {swept} (Sweeps.sweep)"
            swept = sweeps.sweep(0, lives)
            rule = "sweep must skip an attempt if living(key) is true"
            assert swept == Swept(0, 0), f"{rule}; it returned {swept} (Sweeps.sweep)"
            try:
                kept = sink.commit()
            except REPORTED as error:
                pytest.fail(
                    "sweep must skip attempts that are young, or for whose key living(key) is "
                    f"true; commit of such a one failed: {error} (Sweeps.sweep)"
                )
        self.keep(store, kept)
        assert asked <= {living}, (
            f"living must be asked for keys of unfinished attempts; it was asked for {asked}, and "
            f"there was only {living} (Sweeps.sweep)"
        )
        swept = sweeps.sweep(0, lambda _: False)
        rule = "sweep must not remove committed objects"
        assert swept == Swept(0, 0), f"{rule}; it returned {swept} (Sweeps.sweep)"
        for each, data in ((location, b"data"), (kept, body(self.PART + MIB))):
            assert_same(content(store, each), data, f"{rule} (Sweeps.sweep)")

    def test_the_sweep_removes_what_dead_processes_left(self, store: Store, twin: Store) -> None:
        sweeps = _need_sweeps(store)
        if not self.LISTS_OBJECTS:
            pytest.skip("the service behind this store does not list objects")
        keys = [new_key(), new_key()]
        dead = [twin.create(key, None) for key in keys]
        for sink in dead:
            self._write(sink)
        count = len(keys) if self.leftovers(store) else 0
        swept = sweeps.sweep(0, lambda _: False)
        self.assert_empty(store, "after a sweep of attempts that no living process has")
        assert swept.attempts == count, (
            f"sweep must return how many attempts it removed; it removed {count} and returned "
            f"{swept.attempts} (Swept)"
        )
        most = count * (self.PART + MIB)
        assert 0 <= swept.bytes <= most, (
            f"sweep must return how many bytes it removed, at most {most}; it returned "
            f"{swept.bytes} (Swept)"
        )
        for sink in dead:
            with contextlib.suppress(*REPORTED):
                sink.commit()
            sink.abort()
        for key in keys:
            twin.discard(key)  # as the caller does if it finds that a dead process was alive

    def test_the_sweep_of_objects_removes_only_orphans(self, store: Store) -> None:
        sweeps = _need_sweeps(store)
        keys = [new_key(), new_key()]
        orphan, other = (self.put(store, body(5000 + n), key=key) for n, key in enumerate(keys))
        self.keep(store, other)
        with store.create(new_key(), None) as sink:
            self._write(sink)
            swept = sweeps.sweep_objects(lambda key: key == keys[0])
            self.keep(store, sink.commit())
        if swept == Swept(0, 0):
            # A driver that cannot list its objects does nothing.
            assert_same(content(store, orphan), body(5000), "sweep_objects removed an object "
                        "and returned that it did not (Sweeps.sweep_objects)")  # fmt: skip
            self.keep(store, orphan)
            inherited = getattr(type(store), "sweep_objects", None) is Sweeps.sweep_objects
            if self.LISTS_OBJECTS and not inherited:
                pytest.fail(
                    "sweep_objects must remove the objects for whose keys orphaned(key) is true; "
                    "it did nothing. If this service cannot list objects, set LISTS_OBJECTS to "
                    "False (Sweeps.sweep_objects)"
                )
            return
        assert_missing(store, orphan, "orphaned(key) was true in sweep_objects")
        assert swept == Swept(1, 5000), (
            f"sweep_objects must return what it removed, one object of 5000 bytes; it returned "
            f"{swept} (Sweeps.sweep_objects)"
        )
        rule = "sweep_objects must keep objects for whose keys orphaned(key) is false"
        assert_same(content(store, other), body(5001), f"{rule} (Sweeps.sweep_objects)")

    def _write(self, sink: Sink) -> None:
        for piece in pieces(body(self.PART + MIB), MIB):
            sink.write(piece)


def _need_sweeps(store: Store) -> Any:
    if not isinstance(store, Sweeps):
        pytest.skip("this store does not sweep")
    return store
