"""Checks of a store whose medium fails. The driver's author provides the faults."""

import contextlib
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from imsgate import errors
from imsgate.stores.base import Addressed, LocalFiles, Resumable, Sink, Store, Sweeps
from imsgate.testing.stores.checks import REPORTED, StoreChecks
from imsgate.testing.stores.data import (
    MIB,
    assert_prefix,
    assert_same,
    body,
    content,
    new_key,
    pieces,
)
from imsgate.testing.stores.limits import together

_CHUNK_BYTES = 512 * 1024
_SIZE = 5 * _CHUNK_BYTES + 17


class FaultChecks(StoreChecks):
    """Checks that need a hook, ``write_fault`` for example."""

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

    def denied(self, store: Store) -> AbstractContextManager[Any]:
        """A context in which the medium refuses everything: wrong credentials or permissions."""
        raise self.not_given("denied")

    def silent(self, store: Store) -> AbstractContextManager[Any]:
        """A context in which the medium takes requests and never answers.

        The driver's own time limits must be short in ``store``: the check waits for them.
        """
        raise self.not_given("silent")

    def truncate(self, store: Store, location: str, size: int) -> None:
        """Cut the object to ``size`` bytes, without the driver."""
        raise self.not_given("truncate")

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

    @pytest.mark.parametrize("left", [0, _CHUNK_BYTES, MIB, _SIZE - 1])
    def test_an_object_that_was_cut_is_not_read_to_its_end(self, store: Store, left: int) -> None:
        """A server would send a response that is too short, or a copy would be incomplete."""
        if not self.is_given("truncate"):
            raise self.not_given("truncate")
        data, locations = body(_SIZE), list[str]()
        for _ in range(2):
            with store.create(new_key(), _SIZE) as sink:
                for chunk in pieces(data, _CHUNK_BYTES):
                    sink.write(chunk)
                locations.append(self.keep(store, sink.commit()))
        reader = store.read(locations[0])
        chunks = [next(reader)]
        for location in locations:
            self.truncate(store, location, left)
        with contextlib.closing(reader):  # type: ignore[type-var]  # the contract promises close
            self._assert_cut(store, lambda: chunks.extend(reader), chunks, "after the first chunk")
        again: list[bytes] = []

        def read() -> None:
            with contextlib.closing(store.read(locations[1], 0, _SIZE)) as opened:  # type: ignore[type-var]
                again.extend(opened)

        self._assert_cut(store, read, again, "before the call, with the length of all")

    def _assert_cut(
        self, store: Store, read: Callable[[], object], chunks: list[bytes], when: str
    ) -> None:
        try:
            read()
        except errors.StoreUnavailable as error:
            self.check_error(store, error, "read")
        else:
            rule = (
                "the iterator must raise StoreUnavailable rather than end early; the object was "
                f"cut {when} (Store.read)"
            )
            assert_same(b"".join(chunks), body(_SIZE), rule)
        assert_prefix(b"".join(chunks), body(_SIZE), "a read must not return wrong bytes")

    def test_a_refusal_is_reported_as_such(self, store: Store) -> None:
        """An operator looks for permissions, not for an outage."""
        self._assert_unavailable(
            store, self.denied(store), "the medium refuses access", errors.StoreDenied
        )

    def test_a_medium_that_never_answers_is_reported(self, store: Store) -> None:
        """A thread that waits forever is lost for the server."""
        silent = self.silent(store)
        key, location, sink = self._objects(store)
        calls = list(self._calls(store, key, location, sink).items())
        raised: dict[str, BaseException | None] = {}

        def work(number: int) -> None:
            name, call = calls[number]
            try:
                call()
                raised[name] = None
            except errors.StoreUnavailable as error:
                raised[name] = error

        with silent:
            rule = "each call must have a time limit: the medium does not answer (see silent)"
            together(len(calls), work, self.TIMEOUT / 2, rule)
            sink.abort()
        for name, error in raised.items():
            assert error, f"{name} must raise StoreUnavailable if the medium does not answer"
            self.check_error(store, error, name)
        store.discard(key + "0")
        store.delete(location)

    def test_what_cannot_be_asked_is_not_taken_for_missing(self, store: Store) -> None:
        """A caller that gets ObjectNotFound forgets the object, which then stays forever."""
        self._assert_unavailable(store, self.away(store), "the medium is away")

    def test_another_medium_is_not_taken_for_an_empty_store(self, store: Store) -> None:
        """The objects are not gone, and new ones must not be written to the wrong medium."""
        replaced = self.replaced(store)
        store.mark()
        # A request that has begun before may end there.
        self._assert_unavailable(store, replaced, "another medium is in its place", begun=False)

    def _objects(self, store: Store) -> tuple[str, str, Sink]:
        """The key and location of an object, and an attempt that has written something."""
        key = new_key()
        with store.create(key, 4) as sink:
            sink.write(b"data")
            location = sink.commit()
        begun = store.create(key + "0", None)
        begun.write(b"data")
        return key, location, begun

    def _calls(
        self, store: Store, key: str, location: str, sink: Sink
    ) -> dict[str, Callable[[], Any]]:
        """Everything that needs the medium."""
        calls: dict[str, Callable[[], Any]] = {
            "read": lambda: list(store.read(location)),
            "size": lambda: store.size(location),
            "delete": lambda: store.delete(location),
            "discard": lambda: store.discard(key),
            "check": store.check,
            "create": lambda: store.create(new_key(), 4).commit(),
            "commit": sink.commit,
        }
        if isinstance(store, LocalFiles):
            calls["open"] = lambda: store.open(location).close()
        if isinstance(store, Sweeps):
            calls["sweep"] = lambda: store.sweep(0, lambda _: True)
        if isinstance(store, Resumable):
            calls |= {
                "begin": lambda: store.begin(new_key(), 4, 1).commit(),
                "durable": lambda: store.durable(key, 4, 1),
                "resume": lambda: store.resume(key, 4, 4, 1),
            }
        return calls

    def _assert_unavailable(
        self,
        store: Store,
        context: AbstractContextManager[Any],
        when: str,
        kind: type[errors.Error] = errors.StoreUnavailable,
        begun: bool = True,
    ) -> None:
        """``begun`` is whether an attempt that began before fails as well."""
        key, location, sink = self._objects(store)
        calls = self._calls(store, key, location, sink)
        if not begun:
            sink.abort()
            del calls["commit"]
        with context:
            for name, call in calls.items():
                self.check_error(store, _raised(call, kind, f"{name} must", when), name)
            self._assert_describes_itself(store, location, when)
            self._assert_aborts(sink, when)
        store.discard(key + "0")  # the abort could not remove anything
        assert_same(content(store, location), b"data", "the object must survive the outage")
        store.delete(location)

    def _assert_aborts(self, sink: Sink, when: str) -> None:
        for _ in range(2):
            try:
                sink.abort()
            except Exception as error:
                problem = f"abort must never raise, not even if {when}"
                pytest.fail(f"{problem}; it raised {error!r} (Sink.abort)")

    def _assert_describes_itself(self, store: Store, location: str, when: str) -> None:
        """Administrators look at a store when it is away."""
        calls: list[Callable[[], Any]] = [store.free_space, store.room, store.properties]
        if isinstance(store, Addressed):
            calls.append(functools.partial(_lead_back, store, location))
        for call in calls:
            try:
                call()
            except Exception as error:
                name = getattr(call, "__name__", "url or locate")
                pytest.fail(f"{name} must not raise if {when}; it raised {error!r}")


def _lead_back(store: Addressed, location: str) -> None:
    """``url`` and ``locate`` make no request."""
    url = store.url(location)
    assert url is None or store.locate(url) == location, "locate must return the location"


def _raised(call: Callable[[], Any], kind: type[errors.Error], who: str, when: str) -> errors.Error:
    """The error that ``call`` raises. Fails unless it is of ``kind``."""
    rule = f"{who} raise errors.{kind.__name__}(store=self.name, problem=...) if {when}"
    try:
        call()
    except kind as error:
        return error
    except Exception as error:
        pytest.fail(f"{rule}; it raised {error!r}")
    pytest.fail(f"{rule}; it did not fail")
