"""Check a store by writing, reading and deleting an object."""

import dataclasses
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterator

from imsgate import errors
from imsgate.stores.base import Store
from imsgate.stores.enabled import Backend

_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step. ``problem`` is empty if it succeeded; ``bytes`` counts the data moved.

    ``reason`` is that of the store's error. It is empty if the store did something else than it
    was asked to do, and "config" if the server would not start with it.
    """

    name: str
    seconds: float
    bytes: int = 0
    problem: str = ""
    reason: str = ""

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds if self.seconds else 0.0


class _Mismatch(Exception):
    """The store did not do what it was asked to do."""


def run(
    backend: Backend, size: int, check_place: Callable[[Store], object] = lambda store: None
) -> Iterator[Step]:
    """Yield each step as it ends, up to the first that fails. The object is removed in any case.

    ``check_place`` is called with the store first; it raises BadConfig if the server would not
    start with it. Nothing is written to a read-only store.
    """
    try:
        check = _Check(backend.store, size, check_place)
    except errors.Error as error:
        yield Step("start", 0.0, problem=str(error), reason=error.reason)
        return
    try:
        yield from check.steps()
    finally:
        check.clear()


class _Check:
    def __init__(self, store: Store, size: int, check_place: Callable[[Store], object]) -> None:
        self._store = store
        self._check_place = check_place
        self._size = size
        self._key = f"{uuid.uuid4()}.{secrets.token_hex(4)}"
        self._block = os.urandom(_BLOCK)
        self._location = ""

    def steps(self) -> Iterator[Step]:
        plan: tuple[tuple[str, Callable[[], int]], ...] = (
            ("check", self._check),
            ("write", self._write),
            ("size", self._measure),
            ("read", self._read),
            ("range", self._range),
            ("delete", self._delete),
            ("gone", self._gone),
        )
        for name, call in plan[:1] if self._store.read_only else plan:
            started = time.perf_counter()
            problem, reason, moved = "", "", 0
            try:
                moved = call()
            except errors.ObjectNotFound:
                problem = "the object is missing"
            except errors.Error as error:
                problem, reason = str(error), error.reason
            except errors.BadConfig as error:
                problem, reason = str(error), "config"
            except _Mismatch as error:
                problem = str(error)
            yield Step(name, time.perf_counter() - started, moved, problem, reason)
            if problem:
                return

    def clear(self) -> None:
        """Remove what a failed check left. The failed step has reported its error."""
        if self._store.read_only:
            return
        try:
            self._store.discard(self._key)
        except errors.Error:
            return

    def _check(self) -> int:
        self._check_place(self._store)
        self._store.check()
        return 0

    def _write(self) -> int:
        with self._store.create(self._key, self._size) as sink:
            for at in range(0, self._size, _BLOCK):
                sink.write(self._expected(at, min(_BLOCK, self._size - at)))
            self._location = sink.commit()
        return self._size

    def _measure(self) -> int:
        size = self._store.size(self._location)
        if size != self._size:
            raise _Mismatch(f"{size} bytes instead of {self._size}")
        return 0

    def _read(self) -> int:
        return self._compare(0, self._size)

    def _range(self) -> int:
        offset = self._size // 3
        return self._compare(offset, self._size // 2)

    def _compare(self, offset: int, length: int) -> int:
        at = offset
        for chunk in self._store.read(self._location, offset, length):
            if chunk != self._expected(at, len(chunk)):
                raise _Mismatch(f"different data than was written, near byte {at}")
            at += len(chunk)
        if at != offset + length:
            raise _Mismatch(f"{at - offset} bytes instead of {length}")
        return length

    def _delete(self) -> int:
        self._store.delete(self._location)
        return 0

    def _gone(self) -> int:
        try:
            self._store.size(self._location)
        except errors.ObjectNotFound:
            return 0
        raise _Mismatch("the deleted object still exists")

    def _expected(self, offset: int, length: int) -> bytes:
        """The object repeats one block."""
        start = offset % _BLOCK
        return (self._block * ((start + length) // _BLOCK + 1))[start : start + length]
