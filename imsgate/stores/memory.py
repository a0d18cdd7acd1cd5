"""Images in the memory of one process: the reference implementation of the store contract.

For tests and demonstrations. Each process of a server has its own objects, which are lost when
it ends.
"""

import threading
from collections.abc import Hashable, Iterator

from oslo_config import cfg

from imsgate import errors
from imsgate.config import Section
from imsgate.settings import Settings
from imsgate.stores.base import LOCATION, Addressed, Resumable, ResumableSink, Sink, Store
from imsgate.stores.committed import CommittedAttempt

_CHUNK_BYTES = 1024 * 1024

OPTS = (
    cfg.IntOpt(
        "memory_store_capacity",
        min=0,
        help="Capacity in bytes, including unfinished uploads. If unset, there is no limit.",
    ),
)


class MemorySettings(Settings, group="memory", opts=OPTS):
    """The options of one memory store."""

    memory_store_capacity: int | None


class MemoryStore(Store, Addressed, Resumable):
    """Objects and the chunks of unfinished attempts, each under its key."""

    OPTS = OPTS

    def __init__(self, name: str, settings: Section) -> None:
        super().__init__(name, settings)
        self._capacity = MemorySettings.of(settings).memory_store_capacity
        self._lock = threading.Lock()
        self._objects: dict[str, bytes] = {}
        self._parts: dict[str, list[bytes]] = {}
        self._announced: dict[str, int] = {}
        #: The newest epoch of each unfinished attempt that can be suspended.
        self._epochs: dict[str, int] = {}

    def create(self, key: str, size: int | None) -> Sink:
        with self._lock:
            self._admit(key, size)
        return _MemorySink(self, key)

    def begin(self, key: str, size: int | None, epoch: int) -> ResumableSink:
        with self._lock:
            self._admit(key, size)
            self._epochs[key] = epoch
        return _ResumableMemorySink(self, key, epoch)

    def durable(self, key: str, size: int | None, epoch: int) -> int:
        with self._lock:
            return len(self._take_over(key, epoch))

    def resume(self, key: str, size: int | None, offset: int, epoch: int) -> ResumableSink:
        with self._lock:
            data = self._take_over(key, epoch)
            if key in self._objects:
                return CommittedAttempt(self.name, key, len(data), offset)
            if offset > len(data):
                problem = f"it has {len(data)} bytes of this attempt instead of {offset}"
                raise errors.StoreUnavailable(store=self.name, problem=problem)
            self._parts[key] = [data[:offset]]
        return _ResumableMemorySink(self, key, epoch)

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        data = self._get(location)
        end = len(data) if length is None else offset + length
        if end > len(data):
            problem = "the object is shorter than its size"
            raise errors.StoreUnavailable(store=self.name, problem=problem)
        starts = range(offset, end, _CHUNK_BYTES)
        return (data[at : min(at + _CHUNK_BYTES, end)] for at in starts)

    def size(self, location: str) -> int:
        return len(self._get(location))

    def delete(self, location: str) -> None:
        with self._lock:
            if self._objects.pop(location, None) is None:
                raise errors.ObjectNotFound(f"store {self.name}")

    def discard(self, key: str) -> None:
        with self._lock:
            self._forget(key)
            self._objects.pop(key, None)

    def free_space(self) -> int | None:
        if self._capacity is None:
            return None
        with self._lock:
            return self._free(self._capacity)

    def place(self) -> Hashable:
        return "memory", id(self._objects)

    def url(self, location: str) -> str:
        return f"memory://{self.name}/{location}"

    def locate(self, url: str) -> str | None:
        place, _, location = url.rpartition("/")
        valid = place == f"memory://{self.name}" and LOCATION.fullmatch(location)
        return location if valid else None

    def held(self) -> list[str]:
        """The keys of all objects and unfinished attempts, for tests."""
        with self._lock:
            return sorted({*self._objects, *self._parts})

    # For the sink of this module.

    def append(self, key: str, chunk: bytes) -> None:
        """Add a chunk to an attempt. Raises StoreFull, or StoreUnavailable if it has ended."""
        with self._lock:
            parts = self._attempt(key)
            parts.append(bytes(chunk))
            if self._capacity is not None and self._remaining(self._capacity) < 0:
                self._forget(key)  # an attempt that lacks a chunk must not be committed
                raise errors.StoreFull(store=self.name)

    def publish(self, key: str) -> None:
        """Make the attempt's chunks an object. Raises StoreUnavailable if it has ended."""
        with self._lock:
            self._objects[key] = b"".join(self._attempt(key))
            self._forget(key)

    def take(self, key: str, epoch: int, chunk: bytes) -> None:
        """Like ``append``, for an attempt that can be suspended; it stays if it does not fit."""
        with self._lock:
            parts = self._owned(key, epoch)
            parts.append(bytes(chunk))
            if self._capacity is not None and self._remaining(self._capacity) < 0:
                parts.pop()
                raise errors.StoreFull(store=self.name)

    def kept(self, key: str, epoch: int) -> int:
        """The number of bytes in an attempt. Raises StoreUnavailable."""
        with self._lock:
            return sum(map(len, self._owned(key, epoch)))

    def publish_owned(self, key: str, epoch: int) -> None:
        """Like ``publish``, unless another epoch has taken over. Raises StoreUnavailable."""
        with self._lock:
            self._objects[key] = b"".join(self._owned(key, epoch))
            self._forget(key)

    def abandon(self, key: str, epoch: int) -> None:
        """Remove an attempt, unless another epoch has taken it over."""
        with self._lock:
            if self._epochs.get(key) == epoch:
                self._forget(key)

    def _admit(self, key: str, size: int | None) -> None:
        if key in self._objects:
            raise errors.StoreUnavailable(store=self.name, problem="the object exists already")
        if size is not None and self._capacity is not None:
            if size > self._free(self._capacity):
                raise errors.StoreFull(store=self.name)
            self._announced[key] = size
        self._parts[key] = []

    def _forget(self, key: str) -> None:
        self._parts.pop(key, None)
        self._announced.pop(key, None)
        self._epochs.pop(key, None)

    def _owned(self, key: str, epoch: int) -> list[bytes]:
        """The chunks of an attempt that ``epoch`` may change. Raises StoreUnavailable."""
        parts = self._attempt(key)
        if self._epochs.get(key) != epoch:
            raise self._fenced()
        return parts

    def _take_over(self, key: str, epoch: int) -> bytes:
        """All bytes of the attempt, committed or not. Raises ObjectNotFound, StoreUnavailable."""
        if key in self._objects:
            return self._objects[key]
        if key not in self._epochs:
            raise errors.ObjectNotFound(f"store {self.name}")
        if epoch < self._epochs[key]:
            raise self._fenced()
        self._epochs[key] = epoch
        return b"".join(self._parts[key])

    def _fenced(self) -> errors.StoreUnavailable:
        problem = "a newer request has taken this upload over"
        return errors.StoreUnavailable(store=self.name, problem=problem)

    def _attempt(self, key: str) -> list[bytes]:
        try:
            return self._parts[key]
        except KeyError:
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self.name, problem=problem) from None

    def _free(self, capacity: int) -> int:
        return max(0, self._remaining(capacity))

    def _remaining(self, capacity: int) -> int:
        """Bytes that are neither used nor promised; negative if there are too many of them."""
        stored = sum(len(data) for data in self._objects.values())
        parts = (
            max(self._announced.get(key, 0), sum(map(len, chunks)))
            for key, chunks in self._parts.items()
        )
        return capacity - stored - sum(parts)

    def _get(self, location: str) -> bytes:
        with self._lock:
            try:
                return self._objects[location]
            except KeyError:
                raise errors.ObjectNotFound(f"store {self.name}") from None


class _MemorySink(Sink):
    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._committed = False

    def write(self, chunk: bytes) -> None:
        self._store.append(self._key, chunk)

    def commit(self) -> str:
        if not self._committed:
            self._store.publish(self._key)
            self._committed = True
        return self._key

    def abort(self) -> None:
        if not self._committed:
            self._store.discard(self._key)


class _ResumableMemorySink(ResumableSink):
    def __init__(self, store: MemoryStore, key: str, epoch: int) -> None:
        self._store = store
        self._key = key
        self._epoch = epoch
        self._committed = self._failed = self._ended = False

    def write(self, chunk: bytes) -> None:
        self._check()
        try:
            self._store.take(self._key, self._epoch, chunk)
        except BaseException:
            self._failed = True
            raise

    def suspend(self) -> int:
        self._check(failed=False)
        self._ended = True
        return self._store.kept(self._key, self._epoch)

    def commit(self) -> str:
        if not self._committed:
            self._check()
            self._store.publish_owned(self._key, self._epoch)
            self._committed = True
        return self._key

    def abort(self) -> None:
        if not self._committed and not self._ended:
            self._ended = True
            self._store.abandon(self._key, self._epoch)

    def _check(self, *, failed: bool = True) -> None:
        if self._committed or self._ended or (failed and self._failed):
            problem = "this attempt was suspended, aborted or committed, or a write failed"
            raise errors.StoreUnavailable(store=self._store.name, problem=problem)
