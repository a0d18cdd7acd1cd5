"""Checks that a store can be used by a process and by the one that it forked."""

import os
import signal
import traceback
import warnings
from collections.abc import Iterator

import pytest

from imsgate.stores.base import Store
from imsgate.testing.stores.checks import StoreChecks
from imsgate.testing.stores.data import MIB, assert_same, body, content, new_key, pieces

_RULE = (
    "a process and the one that it forked must be able to use the store at the same time, as the "
    "workers of a server do; a connection, lock or open file must not be shared across a fork "
    "(imsgate/stores/base.py: all other concurrency is up to the driver)"
)
_STEP, _DONE = b".", b"!"


class ForkChecks(StoreChecks):
    """A server may build its stores before it forks its workers."""

    def test_a_forked_process_uses_the_store(self, store: Store) -> None:
        if not hasattr(os, "fork"):
            pytest.skip("this system has no fork")
        location = self.keep(store, self.put(store, body(MIB, "before")))
        content(store, location)  # connections that a pool keeps are open now
        child = _Child(self._steps(store, location, "child"), self.TIMEOUT)
        try:
            for _ in self._steps(store, location, "parent"):
                child.step()
            child.finish()
        finally:
            child.end()

    def _steps(self, store: Store, location: str, who: str) -> Iterator[None]:
        """Use the store, with pauses in which the other process does."""
        data = body(2 * MIB + 17, who)
        with store.create(new_key(), None) as sink:
            for piece in pieces(data, MIB):
                sink.write(piece)
                yield
            own = sink.commit()
        yield
        reader = store.read(own)
        chunks = [next(reader)]
        yield
        assert_same(b"".join([*chunks, *reader]), data, f"{_RULE} ({who})")
        yield
        assert_same(content(store, location), body(MIB, "before"), f"{_RULE} ({who})")
        store.delete(own)


class _Child:
    """A forked process that does one step at a time."""

    def __init__(self, steps: Iterator[None], seconds: float) -> None:
        (self._orders, orders), (results, self._results) = os.pipe()[::-1], os.pipe()
        with warnings.catch_warnings():
            # Other threads do not matter to a child that only uses the store and then exits.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if not self._pid:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(max(1, int(seconds)))
                os.close(self._orders)
                _work(steps, orders, self._results)
            finally:
                os._exit(0)
        os.close(orders)
        os.close(self._results)
        self._results = results
        self._done = False

    def step(self) -> None:
        if not self._done:
            os.write(self._orders, _STEP)
            answer = os.read(self._results, 1)
            if answer != _STEP:
                self._done = True
                self._report(answer)

    def finish(self) -> None:
        while not self._done:
            self.step()

    def _report(self, answer: bytes) -> None:
        if answer != _DONE:
            rest = b"".join(iter(lambda: os.read(self._results, 1 << 16), b""))
            problem = (answer + rest).decode(errors="replace") or "it did not end in time"
            pytest.fail(f"{_RULE}; in the forked process: {problem}")

    def end(self) -> None:
        os.close(self._orders)
        os.close(self._results)
        if not self._done:
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _work(steps: Iterator[None], orders: int, results: int) -> None:
    try:
        while os.read(orders, 1):
            if next(steps, _DONE) is _DONE:
                os.write(results, _DONE)
                return
            os.write(results, _STEP)
    except BaseException:
        os.write(results, traceback.format_exc(limit=-3).encode(errors="replace"))
