"""Checks that nothing stays open, and of what a store reports about itself."""

import json
import re
from collections.abc import Collection
from typing import Any, ClassVar

from imsgate.stores.base import Store
from imsgate.testing.stores.checks import StoreChecks, assert_missing, open_descriptors
from imsgate.testing.stores.data import MIB, SIZE, body, new_key

#: How often an operation is repeated. A leak of one descriptor per operation then shows, while a
#: few connections in a pool do not matter.
_REPETITIONS = 16

#: Options whose values are names of users or accounts.
_NAMES_A_USER = re.compile(r"(^|_)(user|username|login|account|access_key)($|_)")
_USER_INFORMATION = re.compile(r"://[^/\s\"]*@")


class ResourceChecks(StoreChecks):
    """Files and connections are closed; properties, free space and place are valid."""

    #: Whether the driver can tell where its objects are.
    HAS_PLACE: ClassVar[bool] = True

    def test_a_reader_closed_early_holds_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, body(SIZE)))
        readers: list[Any] = [store.read(location)]
        readers[0].close()
        before = open_descriptors()
        for taken in (0, 1):
            # Keep references, so that the garbage collector does not close them.
            readers += (store.read(location) for _ in range(_REPETITIONS))
            for reader in readers[-_REPETITIONS:]:
                for _ in range(taken):
                    next(reader)
                reader.close()
                chunk = next(reader, None)
                assert chunk is None, "a closed reader must not yield chunks"
        _assert_closed(before, "closing a reader early")

    def test_a_reader_at_its_end_holds_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, body(SIZE)))
        readers = [store.read(location)]
        list(readers[0])
        before = open_descriptors()
        for _ in range(_REPETITIONS):
            readers.append(store.read(location, 0, MIB + 1))
            list(readers[-1])
        _assert_closed(before, "reading to the end")

    def test_a_sink_that_ended_holds_nothing(self, store: Store) -> None:
        sinks = [store.create(new_key(), None)]
        sinks[0].abort()
        before = open_descriptors()
        for _ in range(_REPETITIONS):
            sinks.append(store.create(new_key(), None))
            sinks[-1].abort()
        _assert_closed(before, "abort")
        for _ in range(_REPETITIONS):
            sinks.append(store.create(new_key(), None))
            self.keep(store, sinks[-1].commit())
        _assert_closed(before, "commit")

    def test_asking_holds_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, b"data"))

        # With its traceback, each error keeps what the driver has not closed.
        caught: list[BaseException] = []

        def ask() -> None:
            store.check()
            assert store.size(location) == 4, "size must return the size of the object"
            caught.extend(assert_missing(store, new_key(), "there is no such object"))
            store.discard(new_key())

        ask()
        before = open_descriptors()
        for _ in range(_REPETITIONS):
            ask()
        _assert_closed(before, "check, size, discard, and a read of an object that is missing")

    def shown(self, store: Store) -> Collection[str]:
        """Those of the ``private`` texts that ``properties`` shows on purpose."""
        return ()

    def test_properties_can_be_shown(self, store: Store) -> None:
        """Administrators see them in ``/v2/info/stores/detail``."""
        shown = json.dumps(dict(store.properties()))
        for opt in store.OPTS:
            value = getattr(store.settings, opt.dest, None)
            secret = opt.secret or _NAMES_A_USER.search(opt.dest)
            leaked = secret and isinstance(value, str) and len(value) > 1 and f'"{value}"' in shown
            leaked = leaked or (opt.secret and value and str(value) in shown)
            assert not leaked, (
                f"properties must contain no user names and secrets; they contain the value of "
                f"{opt.dest} (Store.properties)"
            )
        assert not _USER_INFORMATION.search(shown), (
            f"properties must contain no user names; they contain a URL with one: {shown} "
            "(Store.properties)"
        )
        private = {*self.private(store)} - {*self.shown(store)}
        for text in self.shown(store):
            shown = shown.replace(text, "")
        found = [text for text in private if text in shown]
        assert not found, (
            f"properties must contain nothing private; they contain {found}. What they show on "
            "purpose belongs into the hook `shown` (Store.properties)"
        )

    def test_free_space_is_a_number_of_bytes_where_known(self, store: Store) -> None:
        free = store.free_space()
        valid = free is None or (isinstance(free, int) and free >= 0)
        assert valid, f"free_space must return a number of bytes or None; it returned {free!r}"

    def test_its_place_can_be_compared(self, store: Store, twin: Store) -> None:
        """Otherwise two enabled stores may be one place, where each deletes what the other has."""
        place = store.place()
        rule = "place must identify the directory, bucket or other place of the objects"
        assert place is not None or not self.HAS_PLACE, f"{rule}; it returned None (Store.place)"
        for other, who in ((store.place(), "a second call"), (twin.place(), "another instance")):
            assert place == other, (
                f"{rule}; it returned {place!r}, and {other!r} to {who} (Store.place)"
            )
        hash(place)


def _assert_closed(before: int, operation: str) -> None:
    opened = open_descriptors() - before
    assert opened < _REPETITIONS, (
        f"{operation} must release all files and connections; "
        f"{_REPETITIONS} repetitions left {opened} descriptors open"
    )
